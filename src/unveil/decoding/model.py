"""Text in, text out: a denoiser with its tokenizer."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import NamedTuple

import torch

from unveil.canvas import Canvas
from unveil.checkpoints.locate import fingerprint, locate, place
from unveil.checkpoints.tokenizer import Codec, FileTokenizer
from unveil.checkpoints.weights import load_checkpoint
from unveil.decoding.spec import parse_sampler
from unveil.files import read_json
from unveil.models.denoiser import Denoiser
from unveil.models.guidance import Guided
from unveil.models.transformer import Transformer
from unveil.sampling.queue import steps_queue
from unveil.sampling.sampler import Sampler, Step

HOLE = re.compile(r"\[MASK(?::(\d+))?\]")


class Answer(NamedTuple):
    """What a row became."""

    text: str
    tokens: list[int]
    nfe: int  # forwards spent on this row
    complete: bool  # False: a step limit left masks


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A loaded model. `denoiser` is all that samplers, objectives and diagnostics need."""

    name: str
    denoiser: Transformer
    tokenizer: Codec
    new_tokens: int  # how many masks a prompt gets where nothing is said
    revision: str  # a fingerprint of the weights
    end_ids: tuple[int, ...] = ()  # a row ends after a block with one of them

    @classmethod
    def load(
        cls,
        name: str | PathLike[str],
        *,
        revision: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ) -> "Model":
        """A shipped model, a folder of LLaDA's or Dream's layout with a tokenizer.json, or a hub repository.

        Default device: a GPU if there is one; default dtype: float32 on a CPU, else as stored. No remote code runs.
        Raises ValueError for whatever is missing or broken, saying which file.
        """
        folder = locate(fspath(name), revision)
        where, kind = place(device, dtype)
        denoiser = load_checkpoint(folder, device=where, dtype=kind)
        if not (folder / "tokenizer.json").is_file():
            raise ValueError(f"{folder} has no tokenizer.json: text needs one; token ids can use load_checkpoint")
        tokenizer = FileTokenizer.load(folder / "tokenizer.json")
        settings = read_json(folder / "generation_config.json") if _has_settings(folder) else {}
        return cls(
            name=fspath(name),
            denoiser=denoiser,
            tokenizer=tokenizer,
            new_tokens=int(settings.get("max_new_tokens", 128)),
            revision=fingerprint(folder),
            end_ids=_ends(settings.get("eos_token_id")) or denoiser.architecture.end_ids,
        )

    def canvas(self, prompt: str, *, new_tokens: int | None = None, seed: int = 0) -> Canvas:
        """A prompt and its masks. ValueError if it is empty, holds the mask token or does not fit the context."""
        a = self.denoiser.architecture
        count = self.new_tokens if new_tokens is None else new_tokens
        ids = self.tokenizer.encode(prompt)
        self._fits(len(ids), count)
        return Canvas.blank(
            [ids], count, mask_id=a.mask_id, end_ids=self.end_ids, seed=seed, device=self._device
        )

    def template(self, text: str, *, seed: int = 0) -> Canvas:
        """Infilling: `[MASK]` in the text is one hole, `[MASK:5]` five. Everything else stays as it is."""
        a = self.denoiser.architecture
        ids: list[int] = []
        last = 0
        for hole in HOLE.finditer(text):
            count = int(hole.group(1) or 1)
            if count < 1:
                raise ValueError(f"the template has a hole of no tokens, {hole.group()}: write [MASK] or [MASK:5]")
            self._fits(len(ids), count)
            ids += self.tokenizer.encode(text[last : hole.start()]) + [a.mask_id] * count
            last = hole.end()
        ids += self.tokenizer.encode(text[last:])
        if a.mask_id not in ids:
            raise ValueError(f"the template {text!r} has no hole: write [MASK] (or [MASK:5]) where tokens are wanted")
        self._fits(len(ids), 0)
        return Canvas.template([ids], mask_id=a.mask_id, seed=seed, device=self._device)

    def sampler(self, sampler: Sampler | str | None, canvas: Canvas) -> Sampler:
        """A sampler from a value, a spec such as "fast_dllm:threshold=0.9", or LLaDA's one token a forward."""
        if isinstance(sampler, Sampler):
            return sampler
        return parse_sampler(sampler or "llada", int(canvas.num_undecided.max()))

    @torch.inference_mode()  # only text and ids leave
    def decode(
        self,
        prompts: Sequence[str],
        sampler: Sampler | str | None = None,
        *,
        new_tokens: int | None = None,
        batch: int = 16,
        seed: int = 0,
        guidance: float = 0.0,
    ) -> list[Answer]:
        """Answers in the order of the prompts, each as if it were alone; `batch` rows are decoded at a time."""
        if isinstance(prompts, str):
            raise ValueError("prompts is one text: give a list, for example [text]")
        rows = []
        for number, prompt in enumerate(prompts):
            try:
                rows.append(self.canvas(prompt, new_tokens=new_tokens, seed=seed + number))
            except ValueError as error:  # each row is built alone and calls itself the first
                raise ValueError(str(error).replace("prompt 0", f"prompt {number}", 1)) from None
        answers: dict[int, Answer] = {}
        for _, finished in self.stream(rows, sampler, batch=batch, guidance=guidance):
            answers.update({number: self.answer(row) for number, row in finished})
        return [answers[number] for number in range(len(rows))]

    def stream(
        self, rows: Sequence[Canvas], sampler: Sampler | str | None = None, *, batch: int = 16, guidance: float = 0.0
    ) -> Iterator[tuple[Step, list[tuple[int, Canvas]]]]:
        """The steps as they happen, each with the (number, row) pairs that it finished."""
        if rows:
            widest = max(rows, key=lambda row: int(row.end - row.start))
            yield from steps_queue(self.sampler(sampler, widest), self.guided(guidance), rows, batch=batch)

    def guided(self, scale: float) -> Denoiser:
        """The denoiser, under classifier-free guidance where `scale` is not 0."""
        return Guided(inner=self.denoiser, scale=scale) if scale else self.denoiser

    def answer(self, row: Canvas) -> Answer:
        """The text of a finished one-row canvas."""
        tokens = row.answer(0)
        masks = tokens.count(self.denoiser.mask_id)
        return Answer(self.tokenizer.decode(tokens), tokens, int(row.nfe), masks == 0)

    @property
    def _device(self) -> str:
        return str(self.denoiser.embed.weight.device)

    def _fits(self, given: int, new: int) -> None:
        room = self.denoiser.architecture.max_columns
        if given + new > room:
            raise ValueError(
                f"{given} tokens and {new} new ones exceed the model's context of {room}: "
                f"shorten the prompt by {given + new - room} tokens or ask for fewer new tokens"
            )


def _ends(ids: int | list[int] | None) -> tuple[int, ...]:
    """generation_config.json's eos_token_id: LLaDA's EOS and EoT, for example."""
    return () if ids is None else tuple(ids) if isinstance(ids, list) else (ids,)


def _has_settings(folder: Path) -> bool:
    return (folder / "generation_config.json").is_file()
