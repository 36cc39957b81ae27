"""Trajectories: the steps of a decode, light, on the host; saved and loaded."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Bool
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unveil.canvas import PAD, Canvas
from unveil.models.tensors import write_tensors
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
    texts: Mapping[int, str] = field(default_factory=dict)  # of the ids in it, where a tokenizer was at hand

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

    def worded(self, decode: Callable[[list[int]], str]) -> "Trajectory":
        """The same with the text of every id that occurs, from a tokenizer's `decode`."""
        ids = torch.cat([self.fields["tokens"].flatten(), self.fields["soft_ids"].flatten()]).unique()
        return replace(self, texts={token: decode([token]) for token in ids.tolist()})

    def __len__(self) -> int:
        """Forwards."""
        return len(self.choices["unmask"])

    @property
    def revised(self) -> Bool[Tensor, "T B L"]:
        """Where a forward put another token in the place of one; to write the same again is no revision."""
        tokens = self.fields["tokens"]
        return self.choices["revise"] & ~self.choices["remask"] & (tokens[1:] != tokens[:-1])

    def canvas(self, step: int) -> Canvas:
        """The canvas after `step` forwards; 0 is before the first, -1 after the last."""
        values = {name: value[step] for name, value in self.fields.items()}
        return Canvas(**values, mask_id=self.mask_id, end_ids=self.end_ids)

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        tensors = {f"canvas.{name}": value.contiguous() for name, value in self.fields.items()}
        tensors |= {f"choice.{name}": value.contiguous() for name, value in self.choices.items()}
        about = {"mask_id": str(self.mask_id), "end_ids": json.dumps(self.end_ids), "sampler": self.sampler}
        write_tensors(path, tensors, about | {"texts": json.dumps(dict(self.texts))})

    @classmethod
    def load(cls, path: Path) -> "Trajectory":
        """Read what `save` wrote. ValueError for another kind of file, and for one whose parts do not fit together."""
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} is not a whole trajectory file ({error}): record it again") from None
        if "mask_id" not in about:
            raise ValueError(f"{path} is a safetensors file but no trajectory: give one that Trajectory.save wrote")
        parts: dict[str, dict[str, Tensor]] = {"canvas": {}, "choice": {}}
        try:
            for key, value in tensors.items():
                kind, _, name = key.partition(".")
                parts[kind][name] = value
            _check(parts["canvas"], parts["choice"])
            return cls(
                fields=parts["canvas"],
                choices=parts["choice"],
                mask_id=int(about["mask_id"]),
                end_ids=tuple(int(token) for token in json.loads(about["end_ids"])),
                sampler=about["sampler"],
                texts={int(token): str(text) for token, text in json.loads(about.get("texts", "{}")).items()},
            )
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError):
            fault = "its parts do not fit together"
            raise ValueError(f"{path} is not a whole trajectory file ({fault}): record it again") from None


def _check(fields: dict[str, Tensor], choices: dict[str, Tensor]) -> None:
    """ValueError or KeyError unless these are all tensors of T + 1 canvases and of the T forwards between them."""
    T, B, L = choices["unmask"].shape
    canvas = Canvas.template([[0] * L] * B, mask_id=0, num_soft=fields["soft_ids"].shape[-1])
    wanted = {name: ((T + 1, *value.shape), value.dtype) for name, value in canvas.tensors().items()}
    wanted |= {name: ((T, B, L), torch.bool) for name in CHOICES}
    if {name: (tuple(value.shape), value.dtype) for name, value in (fields | choices).items()} != wanted:
        raise ValueError
    if ((fields["stage"] < 0) | (fields["stage"] > PAD)).any():
        raise ValueError
