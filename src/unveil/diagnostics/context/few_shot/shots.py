"""Examples and a question, and the order they stand in: text only, no tokens.

Source: Piskorz et al. 2025, "Masks Can Be Distracting", arXiv 2511.21338 (sections 3 and 4, appendix C).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import dist
from random import Random
from typing import Literal, NamedTuple, Protocol, get_args, runtime_checkable

Order = Literal["mixed", "block", "nearest_last", "nearest_first"]
Place = Literal["right", "middle", "left"]
Form = Literal["generation", "infill"]
Filler = Literal["none", "dots", "ends"]
Kind = Literal["relevant", "distractor", "question", "masks", "filler"]


@dataclass(frozen=True, kw_only=True)
class Shot:
    r"""One question with its answer: an example, or the one to be answered.

    In a base model's prompt it reads `{ask}\n{opening}{answer}{closing}\n\n`; in a chat `ask` is the user's message and
    the rest the assistant's.
    """

    ask: str  # "Options: (A) knit, (B) quirky, (C) persuade"
    opening: str  # "Answer:["
    answer: str  # "B"
    closing: str  # "]."
    point: tuple[float, ...] = ()  # where it lies, for orders by distance

    @property
    def question(self) -> str:
        """What stands before the answer."""
        return f"{self.ask}\n{self.opening}"

    @property
    def ending(self) -> str:
        """What stands after the answer."""
        return f"{self.closing}\n\n"


class Shots(NamedTuple):
    """The examples of a draw: those whose rule the question follows, and others."""

    relevant: Sequence[Shot]
    distractors: Sequence[Shot]


@runtime_checkable
class FewShot(Protocol):
    """Where examples and questions come from. A frozen dataclass; no example is ever a question."""

    @property
    def name(self) -> str:
        """A short name, unique in a report: "T05"."""
        ...

    @property
    def describe(self) -> str:
        """One sentence for a stranger: what is asked."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The answers that can be right."""
        ...

    @property
    def system(self) -> str:
        """What is said before all examples, empty for nothing."""
        ...

    def shots(self, relevant: int, distractors: int, draw: int) -> Shots:
        """So many examples; fewer of a draw are the first ones of more. ValueError if there are not so many."""
        ...

    def questions(self, count: int) -> list[Shot]:
        """The first `count` test points, the same in every draw."""
        ...


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """How a prompt is laid out.

    `form`: "generation" ends with `masks` masks after the question's opening, the first of which is read; "infill" has
    one mask between opening and closing. `share`: as many masks as make this share of the other tokens, if that is more
    than `masks`. `filler`: as many dots or EOS as `fillers` come last, after the masks or after the closing.
    ValueError for what does not exist.
    """

    relevant: int = 10
    distractors: int = 40
    order: Order = "mixed"
    position: float = 0.0  # order "block": the share of the distractors that stand before the relevant examples
    question: Place = "right"
    form: Form = "generation"
    masks: int = 2
    share: float = 0.0
    filler: Filler = "none"
    fillers: int = 0
    shuffle: int = 0  # order "mixed": which of the random orders of these examples

    def __post_init__(self) -> None:
        for name, kind in (("order", Order), ("question", Place), ("form", Form), ("filler", Filler)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(get_args(kind))}")
        for name in ("relevant", "distractors", "fillers", "shuffle"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        if self.masks < 1:
            raise ValueError(f"masks is {self.masks}; it must be at least 1, the answer is one")
        for name in ("position", "share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a share from 0 to 1")
        if self.form == "generation" and self.question != "right":
            raise ValueError(f"question is {self.question!r}; masks to generate come last, so it must be right: infill")
        if self.form == "infill" and (self.masks > 1 or self.share):
            raise ValueError("form 'infill' has one mask, in the place of the answer: set masks=1 and share=0")
        if (self.filler == "none") != (self.fillers == 0):
            raise ValueError(f"filler is {self.filler!r} and fillers is {self.fillers}; give both or neither")


class Piece(NamedTuple):
    """A part of a prompt. A question is followed by its masks (and in infill by its closing, a part of no kind)."""

    kind: Kind
    shot: Shot | None  # None for masks and fillers


def arrange(shots: Shots, question: Shot, arrangement: Arrangement) -> list[Piece]:
    """The pieces of a prompt in their order; masks and fillers are one piece each."""
    examples = _ordered(shots, question, arrangement)
    asked = [Piece("question", question), Piece("masks", None)]
    at = {"left": 0, "middle": len(examples) // 2, "right": len(examples)}[arrangement.question]
    fillers = [Piece("filler", None)] if arrangement.fillers else []
    return [*examples[:at], *asked, *examples[at:], *fillers]


def _ordered(shots: Shots, question: Shot, arrangement: Arrangement) -> list[Piece]:
    relevant = [Piece("relevant", shot) for shot in shots.relevant]
    others = [Piece("distractor", shot) for shot in shots.distractors]
    if arrangement.order == "block":
        before = round(arrangement.position * len(others))
        return [*others[:before], *relevant, *others[before:]]
    pieces = [*relevant, *others]
    Random(f"{arrangement.shuffle} {[piece.shot for piece in pieces]}").shuffle(pieces)  # other examples, other places
    if arrangement.order != "mixed":
        far_first = arrangement.order == "nearest_last"
        pieces.sort(key=lambda piece: dist(piece.shot.point, question.point) if piece.shot else 0.0, reverse=far_first)
    return pieces
