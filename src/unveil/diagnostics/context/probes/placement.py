"""Probes of where things stand in the prompt: useful examples, the question, and what the answer hangs on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from unveil.diagnostics.context.attribution import Attribution
from unveil.diagnostics.context.cells import Cell, Record
from unveil.diagnostics.context.few_shot.shots import Place
from unveil.diagnostics.context.probes import COARSE, FRACTIONS, OverMasks, Probe
from unveil.diagnostics.context.tables import (
    Finding,
    Point,
    Table,
    Value,
    by_series,
    finding,
    first_minus_last,
    found,
    level,
    of_cells,
    quantity,
    slope_at,
)

GROUPS = {  # of tokens, as a reading calls them and as a reader does
    "masks": "masks after the answer's",
    "answer_mask": "the answer's mask",
    "last": "50 tokens before it",
    "rest": "all tokens but masks",
}


@dataclass(frozen=True, kw_only=True)
class Position(Probe):
    """Where the relevant examples stand: `fractions` are the shares of the distractors that stand before them."""

    name: ClassVar[str] = "position"
    quick: ClassVar[bool] = True
    title: ClassVar[str] = "Where the useful examples stand"
    source: ClassVar[str] = "section 4, Fig. 1"
    varied: ClassVar[str] = (
        "Ten examples that show the rule stand together; they move through forty examples of another rule, from the "
        "beginning of the prompt to its end, right before the question."
    )
    shows: ClassVar[str] = (
        "A flat line is a model that reads its whole prompt; a line that rises to the right is one that reads best "
        "what stands near the question."
    )
    axis: ClassVar[str] = "distracting examples before the useful ones (right: next to the question)"
    causal: ClassVar[bool] = True

    fractions: tuple[float, ...] = FRACTIONS

    def points(self) -> list[Point]:
        """Infilling: one mask, in the place of the answer."""
        return [self.block("one mask", f, form="infill", masks=1) for f in self.fractions]

    def findings(self, records: Sequence[Record]) -> list[Finding]:
        """The locality slope."""
        meaning = (
            "Accuracy gained when the useful examples move from the far end of the prompt to the question (by the line "
            "of least squares): 0 without a bias to what is near."
        )
        return [finding("locality slope", meaning, slope_at(self.fractions), self.points(), records)]


@dataclass(frozen=True, kw_only=True)
class Question(Probe):
    """Where the question stands, left of all examples, in the middle of them or right; `fractions` as in Position."""

    name: ClassVar[str] = "question"
    title: ClassVar[str] = "Where the question stands"
    source: ClassVar[str] = "section 4, Fig. 2"
    varied: ClassVar[str] = (
        "The question, with its mask, stands before all examples, in the middle of them, or after them, while the "
        "useful examples move from the beginning to the end."
    )
    shows: ClassVar[str] = (
        "If each line is highest where the useful examples are next to the question, the model reads what is near; if "
        "all are highest at the right, it reads what comes last."
    )
    axis: ClassVar[str] = "distracting examples before the useful ones"
    chat: ClassVar[bool] = False  # the question is the last message

    fractions: tuple[float, ...] = FRACTIONS

    def points(self) -> list[Point]:
        """Infilling: one mask, in the place of the answer."""
        return [
            self.block(f"question {place}", f, form="infill", masks=1, question=place)
            for place in ("left", "middle", "right")
            for f in self.fractions
        ]


@dataclass(frozen=True, kw_only=True)
class Length(Probe):
    """How many `distractors` there are, once with `masks`, once with a `share` of the other tokens as masks."""

    name: ClassVar[str] = "length"
    title: ClassVar[str] = "Longer prompts with more masks"
    source: ClassVar[str] = "Fig. 5"
    varied: ClassVar[str] = (
        "Distracting examples are added to ten useful ones, once with few masks after the question and once with many: "
        "a fixed share of the input's length."
    )
    shows: ClassVar[str] = (
        "The distance between the lines is what the masks cost; where it grows, long prompts suffer more from them."
    )
    axis: ClassVar[str] = "distracting examples"

    distractors: tuple[int, ...] = (0, 10, 20, 30, 40)
    masks: int = 2
    share: float = 0.2

    def points(self) -> list[Point]:
        """Examples mixed, masks at the end."""
        shares = {f"{self.masks} masks": 0.0, f"{100 * self.share:g} % of the input": self.share}
        return [
            Point(name, d, self.cell(distractors=d, masks=self.masks, share=share))
            for name, share in shares.items()
            for d in self.distractors
        ]

    def findings(self, records: Sequence[Record]) -> list[Finding]:
        """The gap in the longest prompt."""
        points, most = self.points(), self.distractors[-1]
        ends = [points[len(self.distractors) - 1], points[-1]]
        meaning = f"Accuracy with {self.masks} masks minus accuracy with {100 * self.share:g} % of the input as masks."
        return [finding(f"cost of masks among {most} distractors", meaning, first_minus_last, ends, records)]


@dataclass(frozen=True, kw_only=True)
class Orders(Probe):
    """In which order the examples stand: so many `orders` for each question; `questions`: the most of each task."""

    orders: int = 30
    questions: int = 20

    @property
    def num_questions(self) -> int | None:
        """As the paper."""
        return self.questions


@dataclass(frozen=True, kw_only=True)
class Gradients(Orders):
    """In which order the examples stand, with `masks` at the end."""

    name: ClassVar[str] = "gradients"
    quick: ClassVar[bool] = True
    title: ClassVar[str] = "What the answer hangs on"
    source: ClassVar[str] = "Table 1"
    varied: ClassVar[str] = (
        "The examples stand in random orders; for each the gradient of the answer's logit is taken with respect to "
        "every token's embedding."
    )
    shows: ClassVar[str] = (
        "A large norm is a token that the answer depends on: on the left by the place of the example, on the right for "
        "the masks and the other tokens (1 is the prompt's largest)."
    )
    axis: ClassVar[str] = "place of the example (right: next to the question)"
    causal: ClassVar[bool] = True

    masks: int = 50

    def quickly(self) -> "Gradients":
        """With one order of a question's examples: gradients take long."""
        return replace(self, orders=1)

    def points(self) -> list[Point]:
        """A point for each order; the table joins them."""
        return [
            Point("orders", shuffle, self.cell(Attribution(), masks=self.masks, shuffle=shuffle))
            for shuffle in range(self.orders)
        ]

    def table(self, records: Sequence[Record], labels: Sequence[str]) -> Table:
        """A line for each place of an example (norms over the largest example's) and for each group of tokens."""
        mine = _at(self.points(), records)
        lines = _curve(self.name, "all examples", mine)
        lines += _curve(self.name, "useful ones", mine, "relevant")
        lines += _curve(self.name, "distracting ones", mine, "distractor")
        told = [name for name in GROUPS if all(record.found[name] is not None for record in mine)]
        return lines + [quantity(self.name, GROUPS[name], None, mine, found(name)) for name in told]

    def findings(self, records: Sequence[Record]) -> list[Finding]:
        """The masks' share of the gradient, and of the tokens."""
        share = (
            f"Of the sum of the gradient's norms over all tokens, what the {self.masks - 1} masks after the answer's "
            f"have (orders of the examples for each question: {self.orders})."
        )
        return [
            finding("masks' share of attribution", share, level, self.points(), records, "%", found("mask_share")),
            finding("masks' share of tokens", "To compare with.", level, self.points(), records, "%", _share),
        ]


@dataclass(frozen=True, kw_only=True)
class GradientsInfill(Orders):
    """In which order the examples stand, and where the question, with one mask, in infilling."""

    name: ClassVar[str] = "gradients-infill"
    title: ClassVar[str] = "What the answer hangs on, by the place of the question"
    source: ClassVar[str] = "section 4, Fig. 3"
    varied: ClassVar[str] = (
        "The question, with its mask, stands after all examples, in the middle of them, or before them; these stand in "
        "random orders, and for each the gradient of the answer's logit is taken with respect to every token's "
        "embedding."
    )
    shows: ClassVar[str] = (
        "A large norm is an example that the answer depends on: a line that is high where the question stands is a "
        "model that reads what is near."
    )
    axis: ClassVar[str] = "place of the example among all examples"
    chat: ClassVar[bool] = False  # the question is the last message

    def points(self) -> list[Point]:
        """A point for each place of the question and each order; the table joins orders."""
        return [
            Point(f"question {place}", shuffle, self._cell(place, shuffle))
            for place in ("right", "middle", "left")
            for shuffle in range(self.orders)
        ]

    def _cell(self, place: Place, shuffle: int) -> Cell:
        return self.cell(Attribution(), form="infill", masks=1, question=place, shuffle=shuffle)

    def table(self, records: Sequence[Record], labels: Sequence[str]) -> Table:
        """A line for each place of the question and of an example (norms over the largest example's)."""
        series = by_series(self.points())
        return [line for name, points in series.items() for line in _curve(self.name, name, _at(points, records))]


def _at(points: Sequence[Point], records: Sequence[Record]) -> list[Record]:
    """The records of these points."""
    cells = of_cells(records)
    return [record for point in points for record in cells.get(point.cell.key, [])]


def _curve(probe: str, series: str, records: Sequence[Record], kind: str | None = None) -> Table:
    """A line for each place of an example; with `kind` of such examples only."""
    lines = []
    for place in range(min(len(record.found["examples"]) for record in records)):
        there = [record for record in records if kind in (None, record.found["kinds"][place])]
        lines += [quantity(probe, series, place, there, _example(place))] if there else []
    return lines


def _example(place: int) -> Value:
    return lambda record: float(record.found["examples"][place])


def _share(record: Record) -> float:
    return (record.masks - 1) / record.columns


@dataclass(frozen=True, kw_only=True)
class MasksPosition(OverMasks):
    """Where the relevant examples stand, as in Position, in the generation format with each number of masks."""

    name: ClassVar[str] = "masks-position"
    title: ClassVar[str] = "Masks, by where the useful examples stand"
    source: ClassVar[str] = "Fig. 8"
    varied: ClassVar[str] = (
        "The useful examples move from the beginning of the prompt to the question, under several numbers of masks."
    )
    shows: ClassVar[str] = (
        "The distance between two lines is what masks cost when the useful examples stand there, far from the question "
        "or near."
    )
    axis: ClassVar[str] = "distracting examples before the useful ones (right: next to the question)"

    grid: tuple[int, ...] = COARSE
    fractions: tuple[float, ...] = FRACTIONS

    def points(self) -> list[Point]:
        """The examples in a block, masks at the end."""
        return [self.block(f"{n} masks", f, masks=n) for n in self.grid for f in self.fractions]
