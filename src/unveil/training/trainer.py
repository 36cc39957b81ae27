"""A small trainer: one objective, batches that are a function of the step, exact resumption.

Everything random is a function of (seed, step), so the state is the weights, the optimiser and a step number. It is
saved whole and renamed into place: a run that is killed goes on as if nothing had happened.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from unveil.objectives.masked import Batch, Loss
from unveil.training.run import Run


@runtime_checkable
class Objective(Protocol):
    """What to minimise."""

    def __call__(self, denoiser: nn.Module, batch: Batch, seed: int) -> Loss:
        """The loss of one batch; everything random comes from `seed`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Training:
    """AdamW with linear warm-up and a cosine to zero."""

    steps: int
    lr: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    seed: int = 0
    validate_every: int = 500
    save_every: int = 100

    def __post_init__(self) -> None:
        for name in ("steps", "validate_every", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is not positive: give at least 1")
        if self.lr <= 0:
            raise ValueError(f"lr={self.lr} is not positive: give a learning rate above 0")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * progress))

    def due(self, step: int, every: int) -> bool:
        """Whether something done every so many steps, and at the end, is due after this step."""
        return (step + 1) % every == 0 or step + 1 == self.steps

    def loss_seed(self, step: int) -> int:
        """The seed of a step's masks and times."""
        return self.seed * 1_000_003 + step


def train(
    model: nn.Module,
    objective: Objective,
    batch: Callable[[int], Batch],
    training: Training,
    *,
    out: Path,
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    keep: Callable[[nn.Module], None] | None = None,
    resume: bool = False,
) -> nn.Module:
    """Run `training.steps` updates on `batch(step)`; metrics and state are kept in the folder `out`.

    One process. `validate` gives numbers to log, among them "score"; whenever the score is the best so far, `keep` is
    called to save the weights. Raises ValueError if `out` holds a run and `resume` is not set, and FloatingPointError
    for a loss or gradient that is not finite (the state before it stays on disk).
    """
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    if accelerator.num_processes > 1:
        count = accelerator.num_processes
        raise ValueError(f"this trainer runs in one process and was launched in {count}: start it without a launcher")
    model.requires_grad_(True).train()
    adam = torch.optim.AdamW(model.parameters(), training.lr, training.betas, weight_decay=training.weight_decay)
    model, optimiser = accelerator.prepare(model, adam)
    run = Run(folder=out, model=accelerator.unwrap_model(model), optimiser=optimiser.optimizer)
    first = run.open(resume)
    best, began = run.best(), time.perf_counter()
    with _progress() as progress:
        bar = progress.add_task("training", total=training.steps, completed=first, note="")
        for step in range(first, training.steps):
            rows = Batch(*(x.to(accelerator.device) for x in batch(step)))
            loss = objective(model, rows, training.loss_seed(step))
            record = {"step": step + 1} | _update(accelerator, model, optimiser, loss, training, step)
            record |= {"seconds": time.perf_counter() - began}
            if validate is not None and training.due(step, training.validate_every):
                record |= validate(run.model)
                model.train()
            run.log(record)
            if keep is not None and record.get("score", -math.inf) > best:
                best = record["score"]
                keep(run.model)
            if training.due(step, training.save_every):
                run.save(step + 1)
            progress.update(bar, completed=step + 1, note=f"loss {record['loss']:.3f}")
    return run.model


def _update(
    accelerator: Accelerator,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    loss: Loss,
    training: Training,
    step: int,
) -> dict[str, float]:
    """One step of the optimiser, and what to log; FloatingPointError, with nothing changed, if it is not finite."""
    accelerator.backward(loss.value)
    value, norm = float(loss.value.detach()), float(accelerator.clip_grad_norm_(model.parameters(), training.clip))
    if not math.isfinite(value) or not math.isfinite(norm):
        raise FloatingPointError(f"step {step}: loss {value}, gradient norm {norm}: lower lr={training.lr}")
    for group in optimiser.param_groups:
        group["lr"] = training.rate(step)
    optimiser.step()
    optimiser.zero_grad()
    return {"loss": value, "norm": norm, "lr": training.rate(step)} | loss.parts


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(), speed_estimate_period=120,
    )  # fmt: skip
