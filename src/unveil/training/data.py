"""Instruction data: lines of prompts and answers, or of chats, to ids, and ids to the batch of a step."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int32, Int64
from torch import Tensor

from unveil.checkpoints.folder import Folder
from unveil.files import StrPath
from unveil.objectives.loss import Batch
from unveil.training.instructions import PAIRS, Layout, LeftOut, read_items
from unveil.training.shapes import SHAPE, is_bad

LONG = ("refuse", "skip", "cut")  # what becomes of a line that is longer than the canvas
MARKED = ("refuse", "skip", "take")  # and of one that is marked bad
GROUP = 16  # batches whose rows are sorted by length together


class Pair(NamedTuple):
    """One line of data as ids; the answer is without its EOS."""

    prompt: list[int]
    answer: list[int]


class Reading(NamedTuple):
    """The pairs of the data, and how many lines were left out, by reason."""

    pairs: list[Pair]
    left_out: dict[str, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class LineForm:
    """How a line becomes ids, and what must fit: the answer with an EOS the canvas, all of it the context."""

    folder: Folder  # of the model: its tokenizer and chat template
    canvas: int | None  # None: lines of any length are read
    context: int
    mask_id: int
    eos: int
    layout: Layout = PAIRS
    long: str = "refuse"  # LONG
    bad: str = "refuse"  # MARKED

    def __call__(self, item: Mapping[str, Any]) -> Pair:
        """The ids of a line. ValueError says what is wrong with it, LeftOut why it is not taken."""
        if self.bad != "take" and is_bad(item):
            if self.bad == "skip":
                raise LeftOut("marked bad")
            raise ValueError(
                f"label={item['label']!r} marks its answer as bad: remove the line, or set bad=skip or bad=take"
            )
        line = self.layout.line(item, self.folder.chat is not None)
        chat = "messages" in line
        prompt, answer = self._chat(line["messages"]) if chat else (line["prompt"], line["answer"])
        front = [] if chat else self.folder.tokenizer.front  # as Model.ids has it
        pair = Pair([*front, *self.folder.tokenizer.encode(prompt)], self.folder.tokenizer.encode(answer))
        while pair.answer and pair.answer[-1] == self.eos:  # templates write it; it is added to every answer
            pair.answer.pop()
        for name, ids in zip(Pair._fields, pair, strict=True):
            if not ids:
                raise ValueError(f"the {name} has no tokens: write at least one character, or remove the line")
            if self.mask_id in ids:
                raise ValueError(f"the {name} holds the mask token (id {self.mask_id}): remove it from the text")
        self.layout.check(len(pair.prompt), len(pair.answer))
        return pair if self.canvas is None else self._fitted(pair, self.canvas)

    def _fitted(self, pair: Pair, canvas: int) -> Pair:
        """A pair that fits: an answer that was cut has no EOS, since it goes on. ValueError or LeftOut where none does.

        Prompts are never cut.
        """
        if (more := len(pair.prompt) + canvas - self.context) > 0:
            if self.long != "refuse":
                raise LeftOut(f"with a prompt beyond the context of {self.context}, less the canvas of {canvas}")
            raise ValueError(
                f"the prompt has {len(pair.prompt)} tokens, with a canvas of {canvas} that is {more} beyond the "
                f"model's context of {self.context}: shorten the prompt, set a smaller canvas, or set long=skip"
            )
        if len(pair.answer) < canvas:
            return pair
        if self.long == "skip":
            raise LeftOut(f"longer than the canvas of {canvas}")
        if self.long == "cut":
            return Pair(pair.prompt, pair.answer[:canvas])
        raise ValueError(
            f"the answer has {len(pair.answer)} tokens and EOS is one more, the canvas holds {canvas}: "
            f"set canvas={len(pair.answer) + 1} or more, set long=skip or long=cut, or remove the line"
        )

    def _chat(self, messages: list[dict[str, str]]) -> tuple[str, str]:
        """Everything up to the last answer, and that answer, as the model's template writes them."""
        template = self.folder.asked_in_chat()
        prompt, whole = template(messages[:-1], True), template(messages, False)
        if not whole.startswith(prompt):
            raise ValueError("the model's chat template rewrites the prompt once it is answered: use prompt and answer")
        return prompt, whole[len(prompt) :]


def read_pairs(data: StrPath, form: Callable[[Mapping[str, Any]], Pair]) -> Reading:
    """All lines of a file, or of a set of the hub (see read_items).

    ValueError names the file, the line and what is wrong; so where there is no line, or all are left out.
    """
    pairs, left_out = list[Pair](), Counter[str]()
    for item in read_items(data):
        try:
            pairs.append(form(item.fields))
        except LeftOut as reason:
            left_out[str(reason)] += 1
        except ValueError as error:
            raise ValueError(f"{item.place}: {error}") from None
    if left_out and not pairs:
        told = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise ValueError(
            f"{data}: every line is left out ({told}): give other data, another layout or a larger canvas, or, where "
            "answers may be cut, long=cut"
        )
    if not pairs:
        raise ValueError(f"{data} is empty: {SHAPE}")
    return Reading(pairs, dict(left_out))


def hold_out(pairs: Sequence[Pair], share: float, most: int, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs to learn and pairs to validate on: about `share` of the different ones, one to `most`, drawn by the seed.

    Equal pairs are never on both sides. ValueError for fewer than two different pairs.
    """
    kinds = {_kind(pair): number for number, pair in enumerate(pairs)}
    if len(kinds) < 2:
        raise ValueError("all pairs are the same one: give a different one too, to validate on")
    count = min(max(1, round(share * len(kinds))), len(kinds) - 1, most)
    held = set(np.random.default_rng(seed).permutation(list(kinds.values()))[:count].tolist())
    learn = [pair for pair in pairs if kinds[_kind(pair)] not in held]
    return learn, [pairs[number] for number in sorted(held)]


def _kind(pair: Pair) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(pair.prompt), tuple(pair.answer)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Pairs as one run of ids, so that a batch of any of them is one gather.

    `canvas` columns follow each prompt. With padding "canvas" all are learned, the answer and EOS to the end (LLaDA's
    recipe, Nie et al. 2025, section 2.3: so the model knows where to stop); with "first" the row ends at its first EOS.
    An answer that was cut fills the canvas, without an EOS.
    """

    ids: Int32[Tensor, " N"]
    first: Int64[Tensor, " n"]  # where each pair begins
    start: Int64[Tensor, " n"]  # tokens of its prompt
    length: Int64[Tensor, " n"]  # tokens of prompt and answer
    canvas: int
    eos: int
    padding: str = "canvas"

    @classmethod
    def of(cls, pairs: Sequence[Pair], *, canvas: int, eos: int, padding: str = "canvas") -> "Rows":
        """The pairs in their order."""
        start = torch.tensor([len(prompt) for prompt, _ in pairs])
        length = start + torch.tensor([len(answer) for _, answer in pairs])
        ids = np.concatenate([np.asarray(ids, np.int32) for pair in pairs for ids in pair])
        return cls(
            ids=torch.from_numpy(ids), first=length.cumsum(0) - length, start=start, length=length,
            canvas=canvas, eos=eos, padding=padding,
        )  # fmt: skip

    @property
    def end(self) -> Int64[Tensor, " n"]:
        """One past the last column of each row."""
        full = self.start + self.canvas
        return full if self.padding == "canvas" else torch.minimum(self.length + 1, full)

    def batch(self, index: Int64[Tensor, " B"]) -> Batch:
        """The rows at `index`."""
        start, end = self.start[index], self.end[index]
        column = torch.arange(int(end.max()))
        place = (self.first[index][:, None] + column).clamp(max=len(self.ids) - 1)
        text = column < self.length[index][:, None]
        return Batch(torch.where(text, self.ids[place].long(), self.eos), start, end)

    def index(self, step: int, rows: int, seed: int, group: str = "length") -> Int64[Tensor, " B"]:
        """The rows of a step's batch: every row once an epoch, a function of the step.

        In groups by length the steps of a group share out its rows, rows of like length together; which step gets which
        lengths is drawn. With group "none" a batch is drawn whatever the lengths.
        """
        number = len(self.first)
        most = GROUP if group == "length" else 1
        size = max(1, min(most, number // rows))  # a group within an epoch, or a batch repeats its rows
        turns, turn = divmod(step, size)
        begin, count = turns * size * rows, size * rows
        epochs = range(begin // number, (begin + count - 1) // number + 1)
        orders = [np.random.default_rng([seed, 0, epoch]).permutation(number) for epoch in epochs]
        chosen = np.concatenate(orders)[begin % number :][:count]
        chosen = chosen[np.argsort(self.end.numpy()[chosen], kind="stable")]
        place = int(np.random.default_rng([seed, 1, turns]).permutation(size)[turn])
        return torch.from_numpy(chosen[place * rows :][:rows])
