"""A training run on disk: state.safetensors, from which it goes on exactly, metrics.jsonl and settings.json.

The state holds the trained weights, their moving average, the optimisers and the step. Data, masks, dropout and the
learning rate are functions of the seed and the step, so the step is their position too. torch.distributed's state
dicts give the same file for one process, DDP and FSDP.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from unveil.files import append_line, read_json, read_jsonl, write_json, write_text
from unveil.models.tensors import write_tensors
from unveil.terminal import plain, rendered, table
from unveil.training.session import TRAINED, Session

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """The folder of a run. Only the main process writes; `settings` are what the run must be resumed with."""

    folder: Path
    main: bool = True
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """Everything that is needed to go on."""
        return self.folder / "state.safetensors"

    @property
    def metrics(self) -> Path:
        """One line a step."""
        return self.folder / "metrics.jsonl"

    def check(self, resume: bool) -> None:
        """ValueError if there is a run and `resume` is not set, or one with other settings."""
        if self.state.exists() and not resume:
            raise ValueError(f"{self.folder} already holds a run: go on with --resume, or choose another folder")
        stored = self.folder / "settings.json"
        now = json.loads(json.dumps(self.settings))  # tuples become lists, as on disk
        if not (self.state.exists() and stored.exists()):
            return
        before = read_json(stored)
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                raise ValueError(
                    f"{self.folder} was started with {name}={before.get(name)!r} and is resumed with "
                    f"{name}={now.get(name)!r}: give the same settings, or choose another folder"
                )

    def restore(self, session: Session) -> int:
        """Load the state if there is one; the step to go on from. Metrics beyond it are dropped."""
        step = self._load(session) if self.state.exists() else 0
        session.accelerator.wait_for_everyone()
        if self.main:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "settings.json", self.settings)
            kept = [record for record in self.records() if record["step"] <= step]
            write_text(self.metrics, "".join(json.dumps(record) + "\n" for record in kept))
        session.accelerator.wait_for_everyone()
        return step

    def records(self) -> list[dict[str, Any]]:
        """What was logged so far."""
        return read_jsonl(self.metrics, drop_incomplete=True) if self.metrics.exists() else []

    def log(self, record: dict[str, Any]) -> None:
        """Add a line to the metrics."""
        if self.main:
            append_line(self.metrics, json.dumps(record))

    def save(self, step: int, session: Session) -> None:
        """Replace the state at once. Every process takes part in collecting it."""
        weights, slots = _collected(session, TRAINED)
        tensors = {f"model.{name}": x for name, x in weights.items()}
        for name, values in slots.get("state", {}).items():
            tensors |= {f"{slot}.{name}": torch.as_tensor(x) for slot, x in values.items()}
        if session.average is not None:
            trained = {f"module.{name}" for name in weights} | {"n_averaged"}
            mean = session.average.state_dict()
            tensors |= {f"average.{name}": x for name, x in mean.items() if name in trained}
        if self.main:
            whole = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
            write_tensors(self.state, _unshared(whole), {"step": str(step)})

    def _load(self, session: Session) -> int:
        parts: dict[str, dict[str, Tensor]] = {}
        with safe_open(self.state, framework="pt") as file:
            step = int(file.metadata()["step"])
            for key in file.keys():
                kind, _, name = key.partition(".")
                parts.setdefault(kind, {})[name] = file.get_tensor(key)
        weights, mean = parts.pop("model"), parts.pop("average", None)
        present, slots = _collected(session, StateDictOptions(ignore_frozen_params=True))
        if {name: x.shape for name, x in present.items()} != {name: x.shape for name, x in weights.items()}:
            raise ValueError(f"{self.state} is of another model: use its own recipe, or a new folder")
        slots["state"] = {
            name: {slot: values[name] for slot, values in parts.items() if name in values} for name in weights
        }
        states: dict[str, Any] = {"model_state_dict": weights, "optim_state_dict": slots}
        options = StateDictOptions(full_state_dict=True, ignore_frozen_params=True, strict=False)
        set_state_dict(session.model, session.optimisers, options=options, **states)
        if session.average is not None and mean is not None:
            session.average.load_state_dict(mean, strict=False)
        return step


def _collected(session: Session, options: StateDictOptions) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Trained weights and the optimisers' state by parameter name."""
    return cast(Any, get_state_dict(session.model, session.optimisers, options=options))


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tied weights are one storage, which the file format refuses: copy the second."""
    seen: set[int] = set()
    out = {}
    for name, x in tensors.items():
        out[name] = x.clone() if x.numel() and x.data_ptr() in seen else x
        seen.add(x.data_ptr())
    return out


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A training that has ended."""

    folder: Path  # of the run
    best: Path  # the folder with the best weights: `unveil.load` takes it, or for a policy the sampler does
    sampler: str = ""  # of a policy: the sampler that decodes with it

    @property
    def records(self) -> list[dict[str, Any]]:
        """What was logged, a step each."""
        return Run(folder=self.folder).records()

    def tables(self) -> "list[Table]":
        """The best score, and where it came."""
        records = self.records
        top = max((record for record in records if "score" in record), key=lambda record: record["score"])
        last = "loss" if "loss" in records[-1] else "reward"
        shown = table("steps", "best\nscore", "at\nstep", f"last\n{last}", "<kept in")
        shown.add_row(
            f"{records[-1]['step']:,}", f"{top['score']:.4f}", f"{top['step']:,}", f"{records[-1][last]:.4f}",
            plain(str(self.best)),
        )  # fmt: skip
        return [shown]

    def __str__(self) -> str:
        return rendered(*self.tables())
