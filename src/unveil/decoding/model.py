"""Text in, text out: a denoiser with its tokenizer."""

import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch

from unveil.canvas import Canvas
from unveil.checkpoints.chat import ChatTemplate
from unveil.checkpoints.hf import Borrowed
from unveil.checkpoints.tokenizer import Codec, FileTokenizer
from unveil.decoding.prompt import Prompt, question, rendered, tokens_until, until
from unveil.decoding.spec import parse_sampler
from unveil.models.denoiser import Denoiser, Guided
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
    denoiser: Transformer | Borrowed
    tokenizer: Codec
    new_tokens: int  # how many masks a prompt gets where nothing is said
    revision: str  # a fingerprint of the weights, adapter and bits included
    end_ids: tuple[int, ...] = ()  # that the settings name; see `ends`
    chat: ChatTemplate | None = None  # None: prompts are raw text
    commit: str | None = None  # of the hub repository that it is from
    adapter: str | None = None  # a fingerprint of the adapter that was added
    bits: int | None = None  # of the layers' weights, None: as loaded

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights that are not rounded."""
        return self.denoiser.embed.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are, and canvases are made."""
        return self.denoiser.embed.weight.device

    @property
    def chats(self) -> bool:
        """Whether prompts can be chats."""
        return self.chat is not None

    def raw(self) -> "Model":
        """The same for raw text alone: its chat template is never rendered, and ends no rows."""
        return replace(self, chat=None)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """A row ends after a block with one of these: `end_ids`, and the special token that ends an answer in a chat.

        That is EoT where LLaDA-8B-Instruct's settings name only EOS. With a warning none where the vocabulary lacks it.
        """
        if self.chat is None or not isinstance(self.tokenizer, FileTokenizer):
            return self.end_ids
        try:
            ids = self.tokenizer.encode(self.chat.turn_end.lstrip())
        except ValueError as error:
            warnings.warn(f"no row ends with what the chat template writes after an answer: {error}", stacklevel=2)
            return self.end_ids
        special = [token for token in ids[:1] if self.tokenizer.is_special(token)]
        return tuple(dict.fromkeys([*self.end_ids, *special]))

    @property
    def chat_hash(self) -> str | None:
        """Twelve hexadecimal digits of the chat template."""
        return None if self.chat is None else self.chat.hash

    def asked(self, prompt: str, prefix: str = "", *, chat: bool | None = None) -> Prompt:
        """What to give for a question whose answer begins with `prefix`: a chat, or both as one raw text.

        Default: a chat where the model has a template. ValueError for a chat where it has none.
        """
        if self.chats if chat is None else chat:
            if self.chat is None:
                raise ValueError(f"{self.name} has no chat template: ask with raw text")
            return question(prompt, prefix)
        return prompt + prefix

    def ids(self, prompt: Prompt) -> list[int]:
        """The tokens of a prompt: raw text after what the tokenizer itself puts in front of it, a chat as rendered.

        ValueError for what the vocabulary cannot write, and as `rendered`.
        """
        if isinstance(prompt, str):
            return [*self.tokenizer.front, *self.tokenizer.encode(prompt)]
        return self.tokenizer.encode(rendered(prompt, self.chat))

    def canvas(self, prompt: Prompt, *, new_tokens: int | None = None, seed: int = 0) -> Canvas:
        """A prompt and its masks. ValueError as `ids` and `blank`."""
        return self.blank(self.ids(prompt), new_tokens=new_tokens, seed=seed)

    def canvases(
        self, prompts: Sequence[Prompt], *, new_tokens: int | None = None, seed: int = 0, first: int = 0
    ) -> list[Canvas]:
        """A canvas for each prompt; prompt i draws its noise from seed + i.

        ValueError as `canvas`, naming the number of the prompt, counted from `first`.
        """
        rows = []
        for number, prompt in enumerate(prompts):
            with _named(f"prompt {first + number}"):
                ids = self.ids(prompt)
                self._fits(len(ids), self.new_tokens if new_tokens is None else new_tokens)
            rows.append(self.blank(ids, new_tokens=new_tokens, seed=seed + number, number=first + number))
        return rows

    def blank(self, ids: Sequence[int], *, new_tokens: int | None = None, seed: int = 0, number: int = 0) -> Canvas:
        """The tokens of a prompt and masks.

        ValueError, calling it by its `number`, for no tokens, for [MASK] among them, and for more than the context.
        """
        count = self.new_tokens if new_tokens is None else new_tokens
        self._fits(len(ids), count)
        return Canvas.blank(
            [ids], count, mask_id=self.denoiser.outline.blank_id, end_ids=self.ends, seed=seed, device=self.device,
            first=number,
        )  # fmt: skip

    def template(self, text: str, *, seed: int = 0) -> Canvas:
        """Infilling: `[MASK]` in the text is one hole, `[MASK:5]` five. Everything else stays as it is."""
        mask_id = self.denoiser.outline.blank_id
        ids = list(self.tokenizer.front)
        last = 0
        for hole in HOLE.finditer(text):
            count = int(hole.group(1) or 1)
            if count < 1:
                raise ValueError(f"the template has a hole of no tokens, {hole.group()}: write [MASK] or [MASK:5]")
            self._fits(len(ids), count)
            ids += self.tokenizer.encode(text[last : hole.start()]) + [mask_id] * count
            last = hole.end()
        ids += self.tokenizer.encode(text[last:])
        if mask_id not in ids:
            raise ValueError(f"the template {text!r} has no hole: write [MASK] (or [MASK:5]) where tokens are wanted")
        self._fits(len(ids), 0)
        return Canvas.template([ids], mask_id=mask_id, seed=seed, device=self.device)

    def sampler(self, sampler: Sampler | str | None, canvas: Canvas) -> Sampler:
        """A sampler from a value, a spec such as "fast_dllm:threshold=0.9", or one token a forward.

        ValueError for a causal model without a mask token and a sampler that opens any but the leftmost mask.
        """
        outline = self.denoiser.outline
        blind = outline.mask_id is None
        if not isinstance(sampler, Sampler):
            left = "left_to_right:cache=block" if outline.caches else "left_to_right"
            sampler = parse_sampler(sampler or (left if blind else "llada"), int(canvas.num_undecided.max()))
        if blind and sampler.blocks.size != 1:
            raise ValueError(f"{self.name} is causal and predicts only the token after what it sees: use left_to_right")
        return sampler

    @torch.inference_mode()  # only text and ids leave
    def decode(
        self,
        prompts: Sequence[Prompt],
        sampler: Sampler | str | None = None,
        *,
        new_tokens: int | None = None,
        batch: int = 16,
        seed: int = 0,
        guidance: float = 0.0,
        stop: Sequence[str] = (),
    ) -> list[Answer]:
        """Answers in the order of the prompts, each as if it were alone; `batch` rows are decoded at a time.

        An answer ends before the first of the `stop` texts in it.
        """
        if isinstance(prompts, str):
            raise ValueError("prompts is one text: give a list, for example [text]")
        until("", stop)  # refused now, not after the first row
        rows = self.canvases(prompts, new_tokens=new_tokens, seed=seed)
        answers: dict[int, Answer] = {}
        for _, finished in self.stream(rows, sampler, batch=batch, guidance=guidance):
            answers.update({number: self.answer(row, stop) for number, row in finished})
        return [answers[number] for number in range(len(rows))]

    def stream(
        self, rows: Sequence[Canvas], sampler: Sampler | str | None = None, *, batch: int = 16, guidance: float = 0.0
    ) -> Iterator[tuple[Step, list[tuple[int, Canvas]]]]:
        """The steps as they happen, each with the (number, row) pairs that it finished."""
        if rows:
            widest = max(rows, key=lambda row: int(row.end - row.start))
            yield from steps_queue(self.sampler(sampler, widest), self.guided(guidance), rows, batch=batch)

    def in_order(
        self,
        rows: Sequence[Canvas],
        sampler: Sampler | str | None = None,
        *,
        batch: int = 16,
        guidance: float = 0.0,
        see: Sequence[Callable[[Step], object]] = (),
    ) -> Iterator[tuple[Canvas, float]]:
        """The finished rows in the order given, each with the seconds from the start to its end.

        Each of `see` is called with every step, as it happens.
        """
        waiting: dict[int, tuple[Canvas, float]] = {}
        began, following = time.perf_counter(), 0
        for step, ended in self.stream(rows, sampler, batch=batch, guidance=guidance):
            for look in see:
                look(step)
            seconds = time.perf_counter() - began
            waiting.update({number: (row, seconds) for number, row in ended})
            while following in waiting:
                yield waiting.pop(following)
                following += 1

    def text(self, row: Canvas) -> str:
        """The text of all columns of a one-row canvas, given and filled."""
        return self.tokenizer.decode(row.tokens[0, : int(row.end[0])].tolist())

    def guided(self, scale: float) -> Denoiser:
        """The denoiser, under classifier-free guidance where `scale` is not 0."""
        return Guided(inner=self.denoiser, scale=scale) if scale else self.denoiser

    def answer(self, row: Canvas, stop: Sequence[str] = ()) -> Answer:
        """The text of a finished one-row canvas, up to its first end id and before the first of the `stop` texts.

        A token in which a stop text begins counts where it also writes text before it.
        """
        tokens = row.answer(0)
        complete = self.denoiser.outline.blank_id not in tokens
        whole = self.tokenizer.decode(tokens)
        text = until(whole, stop)
        if text != whole:
            tokens = tokens_until(text, tokens, self.tokenizer.decode)
        return Answer(text, tokens, int(row.nfe), complete)

    def _fits(self, given: int, new: int) -> None:
        room = self.denoiser.outline.context
        if given + new > room:
            raise ValueError(
                f"{given} tokens and {new} new ones exceed the model's context of {room}: "
                f"shorten the prompt by {given + new - room} tokens or ask for fewer new tokens"
            )


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Errors inside say what they are about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
