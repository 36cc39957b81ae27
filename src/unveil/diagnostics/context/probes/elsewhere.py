"""Probes with questions of their own: points to classify, and texts to read."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import ClassVar, get_args

from unveil.diagnostics.context.cells import Cell, Record
from unveil.diagnostics.context.few_shot.classification import NUM_SEEDS, Classification, Kind
from unveil.diagnostics.context.few_shot.hotpot import HotpotQA
from unveil.diagnostics.context.few_shot.shots import Arrangement, FewShot, Order, Place
from unveil.diagnostics.context.probes import Probe
from unveil.diagnostics.context.tables import Finding, Point, by_series, finding, first_minus_last

SHARES = (0.0, 0.05, 0.1, 0.15, 0.2)
ORDERS: dict[Order, str] = {"mixed": "any order", "nearest_last": "nearest last", "nearest_first": "nearest first"}


@cache
def of_points() -> Sequence[FewShot]:
    """All kinds of boundaries, each with all its seeds."""
    return [Classification(kind=kind, seed=seed) for kind in get_args(Kind) for seed in range(NUM_SEEDS)]


@dataclass(frozen=True, kw_only=True)
class Points(Probe):
    """In which order labelled points stand, and where the question; `examples`: how many."""

    name: ClassVar[str] = "points"
    title: ClassVar[str] = "Points to classify: which examples stand near the question"
    source: ClassVar[str] = "appendix A.8, Fig. 26"
    varied: ClassVar[str] = (
        "Points of three numbers are labelled by the side of a boundary; they stand in any order, or sorted by their "
        "distance to the point that is asked for, which comes last or first."
    )
    shows: ClassVar[str] = (
        "All examples are of use, the nearest most: where a model gains from those next to the question, and loses "
        "from those far off, it reads what is near."
    )
    axis: ClassVar[str] = "labelled points"
    chat: ClassVar[bool] = False
    own: ClassVar[bool] = True

    layout: Arrangement = Arrangement(relevant=30, distractors=0)
    examples: tuple[int, ...] = (10, 30, 50, 80)
    places: tuple[Place, ...] = ("left", "right")

    def sources(self, given: Sequence[FewShot]) -> Sequence[FewShot]:
        """Classifications."""
        return of_points()

    def points(self) -> list[Point]:
        """Infilling: one mask, in the place of the answer."""
        return [
            Point(f"question {place}, {text}", n, self._at(place, o, n))
            for place in self.places
            for o, text in ORDERS.items()
            for n in self.examples
        ]

    def _at(self, place: Place, order: Order, examples: int) -> Cell:
        return self.cell(form="infill", masks=1, question=place, order=order, relevant=examples)

    def findings(self, records: Sequence[Record]) -> list[Finding]:
        """What it gains where the nearest points stand next to the question, against the other way round."""
        lines, found = by_series(self.points()), []
        for place in self.places:
            near, far = (ORDERS[o] for o in _near_far(place))
            ends = [lines[f"question {place}, {near}"][-1], lines[f"question {place}, {far}"][-1]]
            meaning = f"Accuracy with the nearest of {self.examples[-1]} points next to the question; less: farthest."
            found.append(finding(f"gain by near points, {place}", meaning, first_minus_last, ends, records))
        return found


def _near_far(place: Place) -> tuple[Order, Order]:
    """The order that brings the nearest examples next to a question there, and its reverse."""
    return ("nearest_first", "nearest_last") if place == "left" else ("nearest_last", "nearest_first")


@dataclass(frozen=True, kw_only=True)
class Shares(Probe):
    """Masks as a share of the input, `shares`, in the generation format."""

    axis: ClassVar[str] = "masks, % of the other tokens"
    own: ClassVar[bool] = True

    shares: tuple[float, ...] = SHARES

    def points(self) -> list[Point]:
        """Two masks, or as many as make the share."""
        return [Point("one forward", 100 * share, self.cell(masks=2, share=share)) for share in self.shares]

    def findings(self, records: Sequence[Record]) -> list[Finding]:
        """What the masks cost."""
        meaning = f"Accuracy with 2 masks minus accuracy with {100 * self.shares[-1]:g} % of the input as masks."
        return [finding(f"cost of masks, {self.name}", meaning, first_minus_last, self.points(), records)]


@dataclass(frozen=True, kw_only=True)
class PointsMasks(Shares):
    """How many masks follow labelled points."""

    name: ClassVar[str] = "points-masks"
    title: ClassVar[str] = "Points to classify: what masks cost"
    source: ClassVar[str] = "appendix A.8, Fig. 27"
    varied: ClassVar[str] = "Thirty labelled points, then the question, then more and more masks."
    shows: ClassVar[str] = "The masks say nothing about the point: a line that falls is a model that they distract."

    layout: Arrangement = Arrangement(relevant=30, distractors=0)

    def sources(self, given: Sequence[FewShot]) -> Sequence[FewShot]:
        """Classifications."""
        return of_points()


@dataclass(frozen=True, kw_only=True)
class Texts(Shares):
    """How many masks follow HotpotQA's questions with two options, from the file `path`, or from the hub."""

    name: ClassVar[str] = "hotpotqa"
    title: ClassVar[str] = "Texts to read: what masks cost"
    source: ClassVar[str] = "appendix A.7, Fig. 25"
    varied: ClassVar[str] = "Ten articles, a question about them with two options, then more and more masks."
    shows: ClassVar[str] = "The masks say nothing about the articles: a line that falls is a model that they distract."

    layout: Arrangement = Arrangement(relevant=1, distractors=0)
    path: str | None = None

    def sources(self, given: Sequence[FewShot]) -> Sequence[FewShot]:
        """HotpotQA."""
        return self._texts

    @cached_property
    def _texts(self) -> Sequence[FewShot]:
        """One reader, which reads once."""
        return [HotpotQA(path=self.path)]
