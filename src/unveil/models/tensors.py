"""Tensors on disk and on devices: files that a crash cannot harm, where weights go and in which dtype."""

import errno
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unveil.files import replacing


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, wholly or not at all. OSError, as of `replacing`, where the disk refuses."""
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=metadata)
        except SafetensorError as error:  # it hides the system's error in its text
            code = re.search(r"os error (\d+)", str(error))
            raise OSError(int(code.group(1)) if code else errno.EIO, str(error)) from None


def open_tensors(path: Path, device: str = "cpu") -> Any:
    """A safetensors file, whose weights are read one by one; ValueError for one that is missing or broken."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist: the checkpoint is incomplete, download it again")
    try:
        return safe_open(path, framework="pt", device=device)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): download it again") from None


DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


def dtype_of(name: str) -> torch.dtype:
    """torch's dtype of that name; ValueError for others."""
    if name not in DTYPES:
        raise ValueError(f"dtype {name!r} is unknown: choose one of {', '.join(DTYPES)}")
    return DTYPES[name]


def place(device: str | None = None, dtype: str | None = None) -> tuple[torch.device, torch.dtype | None]:
    """Device and dtype: a GPU if there is one, float32 on a CPU, else as stored (None). ValueError for other names."""
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    kind = None if dtype is None else dtype_of(dtype)
    try:
        where = torch.device(chosen)
    except RuntimeError:
        raise ValueError(f"device {chosen!r} is unknown: use cpu, cuda, cuda:1 or mps") from None
    if where.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {chosen!r} asks for a GPU and torch sees none: use cpu, or install torch for CUDA")
    if where.type not in ("cpu", "meta"):
        try:
            torch.empty(1, device=where)
        except Exception as error:  # torch lists all that it has where a kind of device is missing, on a page
            said = (str(error) or type(error).__name__).splitlines()[0].partition(". ")[0]
            raise ValueError(
                f"device {chosen!r} cannot be used by this torch ({said[:120]}): use cpu, cuda, cuda:1 or mps"
            ) from None
    if where.type == "cpu":
        where = torch.device("cpu")  # safetensors knows no cpu:0, as torch calls it among processes
    return where, kind or (torch.float32 if where.type == "cpu" else None)
