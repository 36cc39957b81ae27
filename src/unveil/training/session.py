"""What a run has in memory: the prepared model, its optimisers, the moving average, and one update of them.

`accelerate launch` decides about processes, DDP and FSDP; nothing here asks. A step takes this process's rows of the
global example, sorts them by length into micro-batches and adds up their losses, so that the gradient is that of the
global batch whatever the number of processes or micro-batches.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from unveil.checkpoints.quantise import check_whole
from unveil.objectives.loss import E, Objective
from unveil.training.settings import Training

FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)
TRAINED = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class Session:
    """A run in memory."""

    accelerator: Accelerator
    model: nn.Module  # as prepared for this process
    optimisers: tuple[Optimizer, ...]
    average: AveragedModel | None
    shell: nn.Module | None  # where FSDP shards the model: its structure, without weights
    training: Training

    @classmethod
    def open(cls, model: nn.Module, training: Training, out: Path) -> "Session":
        """Prepare a model, whose trainable parameters are those that require gradients (all, if none does).

        Raises ValueError for settings that exclude each other, and for weights in 8 or 4 bits.
        """
        check_whole(model, "training")
        accelerator = _accelerator(training, out)
        sharded = accelerator.distributed_type.value == "FSDP"
        for name, value, none in (("ema", training.ema, 0.0), ("optimiser", training.optimiser, "adamw")):
            if sharded and value != none:
                raise ValueError(f"{name}={value} needs whole weights on every process: use {none} with FSDP, or DDP")
        if not any(x.requires_grad for x in model.parameters()):
            model.requires_grad_(True)
        model.train()
        if training.checkpointing:
            cast(Any, model).gradient_checkpointing_enable()
        average = _average(model, training, accelerator)
        shell = deepcopy(model).to("meta") if sharded else None
        prepared, *optimisers = accelerator.prepare(model, *_optimisers(model, training))
        return cls(
            accelerator=accelerator,
            model=prepared,
            optimisers=tuple(x.optimizer for x in optimisers),
            average=average,
            shell=shell,
            training=training,
        )

    @classmethod
    def small(cls, model: nn.Module, training: Training, out: Path) -> "Session":
        """A model so small that every process has all of it, and adds up gradients itself with `summed`."""
        accelerator = _accelerator(training, out)
        model.requires_grad_(True).train().to(accelerator.device)
        average = _average(model, training, accelerator)
        return cls(
            accelerator=accelerator,
            model=model,
            optimisers=tuple(_optimisers(model, training)),
            average=average,
            shell=None,
            training=training,
        )

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return bool(self.accelerator.is_main_process)

    @property
    def plain(self) -> nn.Module:
        """The model without what prepares it for several processes."""
        return cast(nn.Module, self.accelerator.unwrap_model(self.model))

    @property
    def chosen(self) -> nn.Module:
        """What is validated and kept: the moving average, if there is one."""
        return self.plain if self.average is None else self.average.module

    def update(self, objective: Objective[E], example: E, step: int) -> dict[str, float]:
        """One step of the optimisers; what to log. FloatingPointError, with nothing changed, if it is not finite."""
        # Dropout too follows from the step and the process: there is no random state to save.
        torch.manual_seed(self.training.loss_seed(step) * 4096 + self.accelerator.process_index)
        losses, shares = torch.zeros((), device=self.accelerator.device), self._shares(example)
        for number, share in enumerate(shares):
            for value in self._losses(objective, share, last=number + 1 == len(shares)):
                # Processes average their gradients; the weights of the example ask for their sum.
                self.accelerator.backward(value * self.accelerator.num_processes)
                losses += value.detach()  # read once a step: a device need not wait for the host in between
        total = float(self.accelerator.reduce(losses, "sum"))
        masked = float(example.canvas.num_undecided.float().mean())
        return {"loss": total, **self.applied(total, step), "masked": masked}

    def total(self, values: Sequence[int | float]) -> list[float]:
        """The sums of these numbers over all processes."""
        own = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        return cast(Tensor, self.accelerator.reduce(own, "sum")).tolist()

    def summed(self) -> None:
        """Add up the gradients of all processes, in one exchange whatever each of them has learned from."""
        weights = list(self.model.parameters())
        own = torch.cat([(torch.zeros_like(x) if x.grad is None else x.grad).flatten() for x in weights])
        parts = cast(Tensor, self.accelerator.reduce(own, "sum")).split([x.numel() for x in weights])
        for weight, grad in zip(weights, parts, strict=True):
            weight.grad = grad.view_as(weight)

    def applied(self, total: float, step: int) -> dict[str, float]:
        """Give the gradients of a loss to the optimisers. FloatingPointError, with nothing changed, if not finite."""
        norm = float(self.accelerator.clip_grad_norm_(self.model.parameters(), self.training.clip))
        if not math.isfinite(total) or not math.isfinite(norm):
            self.model.zero_grad()
            raise FloatingPointError(
                f"step {step + 1}: the loss of its batch (seed {self.training.loss_seed(step)}) is {total}, its "
                f"gradient {norm}; nothing was changed. Look at the data of that step, or lower lr={self.training.lr}"
            )
        rate = self.training.rate(step)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
        self.model.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.plain)
        return {"norm": norm, "lr": rate}

    def _shares(self, example: E) -> list[E]:
        """This process's micro-batches."""
        at = self.accelerator
        shares = deal(example, at.num_processes, at.process_index, self.training.micro_rows)
        return [share.to(at.device) for share in shares]

    def _losses(self, objective: Objective[E], share: E, *, last: bool) -> Iterator[Tensor]:
        """The losses of a micro-batch; gradients travel between processes with its last one."""
        with nullcontext() if last else self.accelerator.no_sync(self.model), self.accelerator.autocast():
            yield from objective.losses(cast(Any, self.model), share)

    def validated(self, validate: Callable[[nn.Module], dict[str, float]]) -> dict[str, float]:
        """What `validate` says of the chosen weights."""
        self.chosen.eval()
        with torch.no_grad():
            numbers = validate(self.chosen)
        self.model.train()
        return numbers

    def kept(self, keep: Callable[[nn.Module], None]) -> None:
        """Give the chosen weights, whole, to `keep` in the main process. Every process takes part."""
        model = self.chosen
        if self.shell is not None:
            weights = get_model_state_dict(self.model, options=FULL)
            model = self.shell
            if self.main:
                model.load_state_dict(weights, assign=True)
        if self.main:
            keep(model)
        self.accelerator.wait_for_everyone()

    def curves(self, first: int) -> None:
        """Open the curves (TensorBoard, where it is installed); what was drawn beyond `first` is dropped."""
        self.accelerator.init_trackers("curves", init_kwargs={"tensorboard": {"purge_step": first + 1}})

    def plot(self, record: dict[str, Any]) -> None:
        """Add a point to every curve."""
        self.accelerator.log({name: value for name, value in record.items() if name != "step"}, step=record["step"])

    def close(self) -> None:
        """Close the curves."""
        self.accelerator.end_training()


def deal(example: E, processes: int, rank: int, micro_rows: int) -> list[E]:
    """The rows of one process, longest first, at most `micro_rows` (0: all) at a time, cut to their longest.

    As many parts for every process, since what they do together must pair. ValueError for fewer rows than processes.
    """
    rows = example.canvas.end.argsort(descending=True, stable=True)
    if len(rows) < processes:
        raise ValueError(f"{len(rows)} rows for {processes} processes: give every process at least one row")
    most = -(-len(rows) // processes)
    parts = min(-(-most // (micro_rows or most)), len(rows) // processes)
    some = [example.rows(index) for index in rows[rank::processes].tensor_split(parts)]
    return [part.narrow(int(part.canvas.end.max())) for part in some]


def _accelerator(training: Training, out: Path) -> Accelerator:
    """Accelerate's own state is one for a process; a second training there may have another precision."""
    AcceleratorState._reset_state()
    return Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision=training.precision,
        log_with="tensorboard" if find_spec("tensorboard") else None,
        project_dir=out,
    )


def _average(model: nn.Module, training: Training, accelerator: Accelerator) -> AveragedModel | None:
    if not training.ema:
        return None
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(training.ema), device=accelerator.device)
    return average.requires_grad_(False)


def _optimisers(model: nn.Module, training: Training) -> list[Optimizer]:
    """AdamW, or Muon for the matrices inside the layers and AdamW for embeddings, head and vectors."""
    named = [(name, x) for name, x in model.named_parameters() if x.requires_grad]
    inner = [x for name, x in named if training.optimiser == "muon" and x.ndim == 2 and ".layers." in f".{name}"]
    chosen = {id(x) for x in inner}
    rest = [x for _, x in named if id(x) not in chosen]
    decay = training.weight_decay
    found: list[Optimizer] = [AdamW(rest, training.lr, training.betas, weight_decay=decay)]
    if inner:
        found.append(Muon(inner, training.lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    return found
