"""A training run on disk: state.safetensors, from which it goes on exactly, and metrics.jsonl."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from unveil.files import append_line, read_jsonl, write_text
from unveil.models.checkpoint import write_tensors


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """The folder of a run, with the weights and the optimiser that it saves and restores."""

    folder: Path
    model: nn.Module
    optimiser: torch.optim.Optimizer

    @property
    def state(self) -> Path:
        """Weights, optimiser and step."""
        return self.folder / "state.safetensors"

    @property
    def metrics(self) -> Path:
        """One line a step."""
        return self.folder / "metrics.jsonl"

    def open(self, resume: bool) -> int:
        """The step to go on from, 0 for a new run; metrics beyond it are dropped, they will be written again.

        Raises ValueError if there is a run and `resume` is not set.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.state.exists() and not resume:
            raise ValueError(f"{self.folder} already holds a run: resume it, or choose another folder")
        step = self._restore() if self.state.exists() else 0
        kept = [record for record in self.records() if record["step"] <= step]
        write_text(self.metrics, "".join(json.dumps(record) + "\n" for record in kept))
        return step

    def records(self) -> list[dict[str, Any]]:
        """What was logged so far."""
        return read_jsonl(self.metrics, drop_incomplete=True) if self.metrics.exists() else []

    def best(self) -> float:
        """The highest score so far."""
        return max((record["score"] for record in self.records() if "score" in record), default=float("-inf"))

    def log(self, record: dict[str, Any]) -> None:
        """Add a line to the metrics."""
        append_line(self.metrics, json.dumps(record))

    def save(self, step: int) -> None:
        """Replace the state at once."""
        tensors = {f"model.{name}": x.detach() for name, x in self.model.named_parameters()}
        for name, parameter in self.model.named_parameters():
            slots = self.optimiser.state[parameter]
            tensors |= {f"{slot}.{name}": torch.as_tensor(x) for slot, x in slots.items()}
        contiguous = {name: x.contiguous() for name, x in tensors.items()}
        write_tensors(self.state, contiguous, {"step": str(step)})

    def _restore(self) -> int:
        names = dict(self.model.named_parameters())
        with safe_open(self.state, framework="pt") as file:
            stored = {key.removeprefix("model.") for key in file.keys() if key.startswith("model.")}
            shapes = {key: tuple(file.get_slice(f"model.{key}").get_shape()) for key in stored}
            if shapes != {name: tuple(x.shape) for name, x in names.items()}:
                raise ValueError(f"{self.state} is of another model: use its own recipe, or a new folder")
            step = int(file.metadata()["step"])
            for key in file.keys():
                slot, _, name = key.partition(".")
                value = file.get_tensor(key)
                if slot == "model":
                    names[name].data.copy_(value)
                else:
                    self.optimiser.state[names[name]][slot] = value.to(_place(slot, names[name]))
        return step


def _place(slot: str, parameter: Tensor) -> torch.device:
    return torch.device("cpu") if slot == "step" else parameter.device  # AdamW keeps its counter on the host
