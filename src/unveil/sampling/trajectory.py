"""Trajectories: the steps of a decode, light, on the host; saved and loaded."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unveil.canvas import PAD, Canvas
from unveil.fields import LARGEST, is_whole, shown
from unveil.models.tensors import write_tensors
from unveil.sampling.sampler import Step

CHOICES = ("unmask", "revise", "remask")
MOST_ID = 2**31 - 1  # of a token: no vocabulary is larger
KINDS = {torch.int64: "I64", torch.int32: "I32", torch.int8: "I8", torch.float32: "F32", torch.bool: "BOOL"}


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
                if "mask_id" not in about:
                    fault = "is a safetensors file but no trajectory: give one that Trajectory.save wrote"
                    raise ValueError(f"{path} {fault}")
                _check_shapes(path, {name: file.get_slice(name) for name in file.keys()})
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, OSError) as error:
            raise _broken(path, str(error)) from None
        fields, choices = (
            {name.removeprefix(kind): value for name, value in tensors.items() if name.startswith(kind)}
            for kind in ("canvas.", "choice.")
        )
        _check_values(path, fields)
        return cls(fields=fields, choices=choices, **_about(path, about))


def _broken(path: Path, fault: str) -> ValueError:
    return ValueError(f"{path} is not a whole trajectory file ({fault}): record it again")


def _check_shapes(path: Path, slices: Mapping[str, Any]) -> None:
    """ValueError unless these are all tensors of T + 1 canvases and of the T forwards between them. Reads none."""
    if not {"choice.unmask", "canvas.soft_ids"} <= slices.keys():
        raise _broken(path, "it lacks choice.unmask or canvas.soft_ids")
    sizes, soft = slices["choice.unmask"].get_shape(), slices["canvas.soft_ids"].get_shape()
    if len(sizes) != 3 or min(sizes) < 1:
        raise _broken(path, f"choice.unmask has shape {shown(sizes)}, not forwards, rows and columns")
    T, room = sizes[0], [*sizes[1:], soft[-1] if soft else 0]
    one = Canvas.template([[0]], mask_id=0, num_soft=1).tensors()
    wanted = {f"canvas.{name}": ([T + 1, *room[: value.ndim]], KINDS[value.dtype]) for name, value in one.items()}
    wanted |= {f"choice.{name}": (sizes, KINDS[torch.bool]) for name in CHOICES}
    if strange := sorted(slices.keys() ^ wanted.keys()):
        raise _broken(path, f"{shown(strange[0])} is {'one too many' if strange[0] in slices else 'absent'}")
    for name, (shape, kind) in wanted.items():
        found, dtype = slices[name].get_shape(), slices[name].get_dtype()
        if (found, dtype) != (shape, kind):
            raise _broken(path, f"{name} is {dtype} of shape {shown(found)}, not {kind} of {shape}")


def _check_values(path: Path, fields: Mapping[str, Tensor]) -> None:
    """ValueError for a number that none of a canvas can be."""
    columns = fields["tokens"].shape[-1]
    most = {"tokens": MOST_ID, "soft_ids": MOST_ID, "stage": PAD, "start": columns, "end": columns}
    for name in (*most, "block", "step", "nfe"):
        value, high = fields[name], most.get(name, LARGEST)
        if value.numel() and not 0 <= int(value.min()) <= int(value.max()) <= high:
            fault = int(value.min()) if value.min() < 0 else int(value.max())
            raise _broken(path, f"canvas.{name} holds {fault}, no whole number from 0 to {high}")


def _about(path: Path, about: Mapping[str, str]) -> dict[str, Any]:
    """mask_id, end_ids, sampler and texts as the metadata have them. ValueError for what is of another kind."""
    values: dict[str, Any] = {}
    for name, kind in (("mask_id", "a token"), ("end_ids", "a list of tokens"), ("texts", "a text for each token")):
        try:
            values[name] = json.loads(about.get(name, "{}" if name == "texts" else ""))
            fits = FITS[name](values[name])
        except (ValueError, RecursionError):
            fits = False
        if not fits:
            raise _broken(path, f"{name} is {shown(about.get(name))}, not {kind}")
    texts = {int(token): text for token, text in values["texts"].items()}
    return values | {"end_ids": tuple(values["end_ids"]), "texts": texts, "sampler": about.get("sampler", "")}


def _is_id(value: Any) -> bool:
    return is_whole(value, 0, MOST_ID)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_id, value))


def _are_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(
        len(token) <= 18 and token.isdecimal() and isinstance(text, str) for token, text in value.items()
    )


FITS = {"mask_id": _is_id, "end_ids": _are_ids, "texts": _are_texts}
