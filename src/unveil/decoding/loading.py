"""How a model is loaded: one value, whichever verb or function asks for it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any

import torch

from unveil.checkpoints.adapters import adapter_folder, adapter_mark, read_adapter
from unveil.checkpoints.chat import ChatTemplate
from unveil.checkpoints.folder import Folder, changed
from unveil.checkpoints.hf import load_denoiser
from unveil.checkpoints.quantise import packing
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.checkpoints.weights import Change
from unveil.decoding.model import Model
from unveil.models.tensors import place
from unveil.terminal import busy

SMALL = 50_000_000  # parameters up to which one thread is fastest: sharing the work costs more than it saves


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a model is loaded.

    Default device: a GPU if there is one; default dtype: float32 on a CPU, else as stored. `attention`: causal or
    bidirectional, where a model leaves the choice. A folder's own code runs only with `trust_remote_code`. `adapter`, a
    folder or a hub repository in PEFT's format, is added to the weights as they are read; `bits` (8 or 4) then rounds
    the layers' weights, all else stays in `dtype`. `threads` are torch's CPU threads from then on; by default one for a
    model of up to 50 M parameters on a CPU, which is fastest so, and all cores for larger ones.
    """

    revision: str | None = None  # branch, tag or commit of a hub repository
    device: str | None = None
    dtype: str | None = None
    attention: str | None = None
    trust_remote_code: bool = False
    adapter: str | PathLike[str] | None = None
    bits: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads={self.threads} is not positive: give at least 1, or leave it out")

    def model(self, name: str | PathLike[str]) -> Model:
        """A shipped model, a folder with its tokenizer, or a hub repository.

        Layouts: those of LLaDA, Dream, Llama, Qwen2 and Qwen3; others run through transformers, without a cache.
        Chats need transformers. Without it rows do not end with what a chat template writes after an answer, either.
        Raises ValueError for whatever is missing or broken, saying which file, and for a device that refuses.
        """
        folder = Folder.named(name, self.revision, code=self.trust_remote_code)
        where, kind = place(self.device, self.dtype)
        added = None if self.adapter is None else adapter_folder(fspath(self.adapter))
        tokenizer, chat = folder.tokenizer, folder.chat
        turn_end = _turn_end(chat, tokenizer)  # before large weights are read
        changes: list[Change] = [] if added is None else [read_adapter(added, folder).merge]
        changes += [] if self.bits is None else [packing(self.bits)]
        try:
            with busy(f"loading {fspath(name)}"):
                denoiser = load_denoiser(
                    folder, device=where, dtype=kind, attention=self.attention, changes=changes,
                    trust_remote_code=self.trust_remote_code,
                )  # fmt: skip
        except RuntimeError as error:  # torch: no such device, or not enough memory on it
            reason, device = str(error).splitlines()[0], self.device or "auto"
            raise ValueError(f"{fspath(name)} cannot be put on device {device} ({reason}): name another one") from error
        mark = None if added is None else adapter_mark(added)
        self._set_threads(denoiser)
        return Model(
            name=fspath(name),
            denoiser=denoiser,
            tokenizer=tokenizer,
            new_tokens=folder.new_tokens,
            revision=changed(folder.fingerprint, mark, self.bits),
            end_ids=tuple(dict.fromkeys([*folder.end_ids, *denoiser.outline.end_ids, *turn_end])),
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


def _turn_end(chat: ChatTemplate | None, tokenizer: FileTokenizer) -> list[int]:
    """The special token that ends an answer in a chat: EoT where LLaDA-8B-Instruct's settings name only EOS."""
    ids = [] if chat is None else tokenizer.encode(chat.turn_end.lstrip())
    return [token for token in ids[:1] if tokenizer.is_special(token)]


def with_loading(function: Callable[..., Any]) -> Callable[..., Any]:
    """Show the fields of Loading in the signature of a function that takes them as **options."""
    own = inspect.signature(function)
    fields = inspect.signature(Loading).parameters.values()
    kept = [one for one in own.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    function.__signature__ = own.replace(parameters=[*kept, *fields])  # type: ignore[attr-defined]
    return function


@with_loading
def load(name: str | PathLike[str], **options: Any) -> Model:
    """A model by name, a folder or a hub repository; options and errors are those of Loading."""
    return Loading(**options).model(name)
