"""How a model is loaded: one value, whichever verb or function asks for it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from os import PathLike, fspath
from typing import Any

import torch

from unveil.checkpoints.adapters import adapter_folder, adapter_mark, read_adapter
from unveil.checkpoints.families import check_apart
from unveil.checkpoints.folder import GENERATION, Folder, changed
from unveil.checkpoints.hf import load_denoiser
from unveil.checkpoints.quantise import packing
from unveil.checkpoints.weights import Change
from unveil.decoding.model import Model
from unveil.legal import OPTIONS, check
from unveil.models.tensors import place
from unveil.terminal import busy

MEMORY = ("out of memory", "memory allocation", "can't allocate", "not enough memory")  # how torch says it
MOST = 200  # characters of torch's errors
SMALL = 50_000_000  # parameters up to which one thread is fastest: sharing the work costs more than it saves


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a model is loaded.

    Default device: a GPU if there is one; default dtype: float32 on a CPU, else as stored. `attention`: causal or
    bidirectional, where a model leaves the choice. A folder's own code runs only with `trust_remote_code`. `adapter`, a
    folder or a hub repository in PEFT's format, is added to the weights as they are read; `bits` (8 or 4) then rounds
    the layers' weights, all else stays in `dtype`. `threads` are torch's CPU threads from then on; by default one for a
    model of up to 50 M parameters on a CPU, which is fastest so, and all cores for larger ones. `exact`: in float64,
    where no row depends on its batch, not even by rounding; a large model takes twice the memory of float32.
    """

    revision: str | None = None  # branch, tag or commit of a hub repository
    device: str | None = None
    dtype: str | None = None
    attention: str | None = None
    trust_remote_code: bool = False
    adapter: str | PathLike[str] | None = None
    bits: int | None = None
    threads: int | None = None
    exact: bool = False

    def __post_init__(self) -> None:
        check(OPTIONS, threads=self.threads)
        if self.exact and self.dtype not in (None, "float64"):
            raise ValueError(f"exact means float64 and dtype={self.dtype} is another: give one of the two")
        if self.exact and self.bits is not None:
            raise ValueError(f"exact means float64 and bits={self.bits} rounds the weights: give one of the two")

    def model(self, name: str | PathLike[str]) -> Model:
        """A shipped model, a folder with its tokenizer, or a hub repository.

        Layouts: those of LLaDA, Dream, Llama, Qwen2 and Qwen3; others run through transformers, without a cache.
        Chats need jinja2.
        Raises ValueError for whatever is missing or broken, saying which file, and for a device that refuses.
        """
        folder = Folder.named(name, self.revision, code=self.trust_remote_code)
        where, kind = place(self.device, "float64" if self.exact else self.dtype)
        if where.type == "meta":
            raise ValueError("device 'meta' holds no numbers, so no model can run there: use cpu, cuda, cuda:1 or mps")
        added = None if self.adapter is None else adapter_folder(fspath(self.adapter))
        tokenizer, chat, new_tokens, ends = folder.tokenizer, folder.chat, folder.new_tokens, folder.end_ids
        changes: list[Change] = [] if added is None else [read_adapter(added, folder).merge]
        changes += [] if self.bits is None else [packing(self.bits)]
        try:
            with busy(f"loading {fspath(name)}"):
                denoiser = load_denoiser(
                    folder, device=where, dtype=kind, attention=self.attention, changes=changes,
                    trust_remote_code=self.trust_remote_code,
                )  # fmt: skip
        except (RuntimeError, MemoryError) as error:
            raise ValueError(f"{fspath(name)} {_why(error, where)}") from error
        outline = denoiser.outline
        check_apart(outline.mask_id, ends, str(folder.path / GENERATION))
        mark = None if added is None else adapter_mark(added)
        self._set_threads(denoiser)
        return Model(
            name=fspath(name),
            denoiser=denoiser,
            tokenizer=replace(tokenizer, room=outline.vocabulary),
            new_tokens=new_tokens,
            revision=changed(folder.fingerprint, mark, self.bits),
            end_ids=tuple(dict.fromkeys([*ends, *outline.end_ids])),
            chat=chat,
            commit=folder.commit,
            adapter=mark,
            bits=self.bits,
        )

    def _set_threads(self, denoiser: torch.nn.Module) -> None:
        small = sum(weight.numel() for weight in denoiser.parameters()) <= SMALL
        threads = 1 if self.threads is None and small else self.threads
        if threads is not None:
            torch.set_num_threads(threads)


def _why(error: RuntimeError | MemoryError, where: torch.device) -> str:
    """What went wrong and what helps; torch says by RuntimeError all that can."""
    reason = (str(error) or type(error).__name__).splitlines()[0][:MOST]
    if isinstance(error, RecursionError):
        return f"cannot be loaded, for something in its files is nested too deeply ({reason}): download it again"
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in MEMORY):
        return f"cannot be put on device {where} ({reason}): name another one, or a smaller dtype or bits"
    return f"cannot be loaded on device {where} ({reason}): name another device or dtype, or download it again"


def with_loading(function: Callable[..., Any]) -> Callable[..., Any]:
    """The fields of Loading in the signature of a function that takes them as **options; no others are taken.

    Numbers are checked by `legal.OPTIONS` before any work.
    """
    own = inspect.signature(function)
    fields = inspect.signature(Loading).parameters.values()
    kept = [one for one in own.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    shown = own.replace(parameters=[*kept, *fields])

    @wraps(function)
    def checked(*values: Any, **named: Any) -> Any:
        shown.bind(*values, **named)  # TypeError, before any work
        check(OPTIONS, **named)
        return function(*values, **named)

    checked.__signature__ = shown  # type: ignore[attr-defined]
    return checked


@with_loading
def load(name: str | PathLike[str], **options: Any) -> Model:
    """A model by name, a folder or a hub repository; options and errors are those of Loading."""
    return Loading(**options).model(name)
