"""Trajectories: the steps of a decode, light, on the host; saved, loaded and replayed."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unveil.canvas import Canvas
from unveil.models.checkpoint import write_tensors
from unveil.sampling.sampler import Step

CHOICES = ("unmask", "revise", "remask")


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """T forwards: T + 1 canvases, and which columns each forward unmasked, revised and remasked."""

    fields: dict[str, Tensor]  # every tensor of the canvas, with T + 1 in front
    choices: dict[str, Tensor]  # unmask, revise, remask: (T, B, L)
    mask_id: int
    end_ids: tuple[int, ...]
    sampler: str = ""  # its repr

    @classmethod
    def record(cls, steps: Iterable[Step], sampler: object = "") -> "Trajectory":
        """Collect the steps of `Sampler.stream`. ValueError if there are none."""
        canvases: list[Canvas] = []
        choices: dict[str, list[Tensor]] = {name: [] for name in CHOICES}
        for step in steps:
            if not canvases:
                canvases.append(step.before.to("cpu"))
            canvases.append(step.after.to("cpu"))
            for name in CHOICES:
                choices[name].append(getattr(step, name).chosen.cpu())
        if not canvases:
            raise ValueError("no steps to record: the canvas was done before the first forward")
        names = canvases[0].tensors()
        return cls(
            fields={name: torch.stack([canvas.tensors()[name] for canvas in canvases]) for name in names},
            choices={name: torch.stack(values) for name, values in choices.items()},
            mask_id=canvases[0].mask_id,
            end_ids=canvases[0].end_ids,
            sampler=sampler if isinstance(sampler, str) else repr(sampler),
        )

    def __len__(self) -> int:
        """Forwards."""
        return len(self.choices["unmask"])

    def canvas(self, step: int) -> Canvas:
        """The canvas after `step` forwards; 0 is before the first, -1 after the last."""
        values = {name: value[step] for name, value in self.fields.items()}
        return Canvas(**values, mask_id=self.mask_id, end_ids=self.end_ids)

    def replay(self) -> Iterator[Canvas]:
        """All canvases, from before the first forward to after the last."""
        return (self.canvas(step) for step in range(len(self) + 1))

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        tensors = {f"canvas.{name}": value.contiguous() for name, value in self.fields.items()}
        tensors |= {f"choice.{name}": value.contiguous() for name, value in self.choices.items()}
        about = {"mask_id": str(self.mask_id), "end_ids": json.dumps(self.end_ids), "sampler": self.sampler}
        write_tensors(path, tensors, about)

    @classmethod
    def load(cls, path: Path) -> "Trajectory":
        """Read what `save` wrote. ValueError for another kind of file."""
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} is not a whole trajectory file ({error}): record it again") from None
        if "mask_id" not in about:
            raise ValueError(f"{path} is a safetensors file but no trajectory: give one that Trajectory.save wrote")
        parts: dict[str, dict[str, Tensor]] = {"canvas": {}, "choice": {}}
        for key, value in tensors.items():
            kind, _, name = key.partition(".")
            parts[kind][name] = value
        return cls(
            fields=parts["canvas"],
            choices=parts["choice"],
            mask_id=int(about["mask_id"]),
            end_ids=tuple(json.loads(about["end_ids"])),
            sampler=about["sampler"],
        )
