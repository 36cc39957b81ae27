"""Which files hold a checkpoint's weights, and which of them a tensor is taken from."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unveil.fields import is_text, shown
from unveil.files import read_json
from unveil.models.tensors import open_tensors

INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")  # to read such files is to run a program that is in them
NAME = 200  # characters of a file's name
DTYPES = ("F64", "F32", "F16", "BF16")
REAL = "float32, float64, bfloat16 or float16"
BUFFERS = ("rotary_emb.inv_freq", "position_ids", "masked_bias")  # that older programs saved with the weights
PACKED = (  # what lies beside quantised weights
    "qweight", "qzeros", "g_idx", "SCB", "absmax", "quant_map", "weight_scale", "weight_scale_inv", "weight_packed",
)  # fmt: skip


@dataclass(frozen=True)
class Shards:
    """The files of weights, which need not be there, and the file's name for each tensor that the index lists."""

    files: tuple[Path, ...]
    allotted: Mapping[str, str]

    @classmethod
    def of(cls, folder: Path) -> "Shards":
        """Those that the index names, else model.safetensors.

        A model.safetensors beside an index whose files are gone is taken, with a warning. ValueError for an index that
        is broken or names files outside the folder, and for two sets of weights.
        """
        index = folder / INDEX
        if not index.is_file():
            return cls((folder / WHOLE,), {})
        mapping = read_json(index).get("weight_map")
        if not isinstance(mapping, dict) or not mapping or not all(map(is_text, mapping.values())):
            raise ValueError(f"{index} has no weight_map: download it again")
        names = sorted(set(mapping.values()))
        for name in names:
            _check_name(index, name)
        if WHOLE not in names and (folder / WHOLE).is_file():
            if there := [name for name in names if (folder / name).is_file()]:
                raise ValueError(
                    f"{folder} holds two sets of weights, {WHOLE} and {few(there)} of {INDEX}: delete the older one, "
                    "an index with its files"
                )
            gone = f"{index} names files that are gone, {few(names)}"
            warnings.warn(f"{gone}: {WHOLE} is read; delete the index", stacklevel=2)
            return cls((folder / WHOLE,), {})
        return cls(tuple(folder / name for name in names), mapping)

    def tensors(self) -> dict[str, Path]:
        """Every tensor but buffers, and the file that it is taken from. No weights are read.

        ValueError for files that are missing or broken, tensors in two files, and dtypes that are no real numbers.
        """
        found: dict[str, Path] = {}
        for path in self.files:
            with open_weights(path) as file:
                for name in file.keys():
                    given = Path(self.allotted.get(name, path.name))  # may be in a folder inside
                    if name.endswith(BUFFERS) or path.parts[-len(given.parts) :] != given.parts:
                        continue
                    if name in found:
                        raise ValueError(
                            f"{path.parent}: {name} is in {found[name].name} and in {path.name}, and {INDEX} does not "
                            "say which counts: download it again"
                        )
                    _check_dtype(path, name, file.get_slice(name).get_dtype())
                    found[name] = path
        return found


def _check_name(index: Path, name: str) -> None:
    """ValueError for a name that is no safetensors file inside the folder, links followed."""
    folder = index.parent
    if name.endswith(tuple(kind[1:] for kind in PICKLED)):
        raise ValueError(f"{index} names {shown(name)}: {_pickled()}")
    plain = len(name) <= NAME and name.isprintable() and "\\" not in name and name.endswith(".safetensors")
    if not plain or os.path.isabs(name) or ".." in name.split("/"):
        raise ValueError(f"{index}: weight_map names {shown(name)}, no safetensors file in the folder: correct it")
    target, inside = os.path.realpath(folder / name), [os.path.realpath(folder)]
    if folder.parent.name == "snapshots":  # the hub's cache, whose files are links into one folder for all commits
        inside.append(os.path.realpath(folder.parent.parent / "blobs"))
    if not any(target.startswith(home + os.sep) for home in inside):
        raise ValueError(f"{index}: {name} is a link out of the folder, to {target}: put the file itself there")


def _check_dtype(path: Path, name: str, dtype: str) -> None:
    if name.rpartition(".")[2] in PACKED:
        raise ValueError(
            f"{path}: {name} belongs to quantised weights (GPTQ, AWQ, bitsandbytes or FP8 with scales), which are not "
            f"supported: give the checkpoint in {REAL}, which --bits 8 or 4 can round here"
        )
    if dtype not in DTYPES:
        raise ValueError(
            f"{path}: {name} has dtype {dtype}, which is not supported: give the checkpoint in {REAL}, which "
            "--bits 8 or 4 can round here"
        )


def open_weights(path: Path, device: str = "cpu") -> Any:
    """A safetensors file; ValueError for one that is broken or missing, saying what lies there in its place."""
    if path.is_file():
        return open_tensors(path, device)
    pickled = sorted(file.name for kind in PICKLED for file in path.parent.glob(kind))
    others = sorted(file.name for file in path.parent.glob("*-of-*.safetensors"))
    if path.name == WHOLE and others:
        raise ValueError(f"{path.parent} holds {few(others)} and no {INDEX} of them: download it again")
    if pickled:
        raise ValueError(f"{path.parent} holds its weights only as {few(pickled)}: {_pickled()}")
    if path.parent.parent.name == "snapshots":
        raise ValueError(
            f"{path} does not exist: the repository has no weights as safetensors (.bin files are never read), or its "
            "download is incomplete"
        )
    return open_tensors(path, device)


def _pickled() -> str:
    return (
        "such files are never read, for that runs a program in them; where you trust it, load it once with "
        "transformers and save it with save_pretrained, which writes safetensors"
    )


def few(names: list[str]) -> str:
    """Some of the names, in words."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
