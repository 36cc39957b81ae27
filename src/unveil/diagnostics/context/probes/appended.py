"""Probes of what is appended to the prompt: masks, and what might do the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from unveil.diagnostics.context.cells import Record
from unveil.diagnostics.context.probes import COARSE, OverMasks
from unveil.diagnostics.context.readings import Decoded
from unveil.diagnostics.context.tables import (
    Finding,
    Point,
    Table,
    by_series,
    correct,
    correlation,
    finding,
    first_minus_last,
    found,
    largest_loss,
    level,
    mean_relative_loss,
    of_cells,
    of_values,
    paired,
    quantity,
    relative_loss,
)


@dataclass(frozen=True, kw_only=True)
class Masks(OverMasks):
    """How many masks follow the question."""

    name: ClassVar[str] = "masks"
    quick: ClassVar[bool] = True
    title: ClassVar[str] = "What appended masks cost"
    source: ClassVar[str] = "Fig. 4"
    varied: ClassVar[str] = (
        "The same prompts, useful and distracting examples mixed, are followed by more and more masks; the answer is "
        "always read at the first one, after one forward."
    )
    shows: ClassVar[str] = (
        "The masks say nothing about the question, so a line that falls is a model that they distract; where one "
        "letter's rate grows as it falls, the model retreats to that letter."
    )
    axis: ClassVar[str] = "masks after the question, the answer's included"

    def points(self) -> list[Point]:
        """Examples mixed, masks at the end."""
        return [Point("one forward", n, self.cell(masks=n)) for n in self.grid]

    def findings(self, records: Sequence[Record]) -> list[Finding]:
        """Accuracy at the ends and at the numbers that the paper names; mask sensitivity."""
        points, few, many = self.points(), self.grid[0], self.grid[-1]
        levels = [
            finding(f"accuracy with {point.x:g} masks", "Right answers.", level, [point], records, "%")
            for point in points
            if point.x in (few, *COARSE, many)
        ]
        spread = "Highest minus lowest accuracy over the numbers of masks; chance alone makes it larger than 0."
        cost = f"Accuracy with {few} masks minus accuracy with {many}; 0 on average where masks cost nothing."
        return [
            *levels,
            finding("mask sensitivity, max - min", spread, largest_loss, points, records),
            finding("mask sensitivity, (max - min) / max", "The same, relative.", relative_loss, points, records, "%"),
            finding(f"cost of masks, {few} to {many}", cost, first_minus_last, points, records),
        ]


@dataclass(frozen=True, kw_only=True)
class Confidence(Masks):
    """How many masks follow the question: the answers of Masks, read for how sure the model is."""

    name: ClassVar[str] = "confidence"
    title: ClassVar[str] = "How sure the model is"
    source: ClassVar[str] = "appendix A.6, Fig. 24"
    varied: ClassVar[str] = (
        "The prompts are those of the probe of masks; confidence is the probability of the answer given, entropy that "
        "of all tokens but [MASK] at the first mask, in nats."
    )
    shows: ClassVar[str] = (
        "Confidence that falls, or entropy that rises, with the number of masks is a model that they make less sure, "
        "whether or not its answers change."
    )
    quick: ClassVar[bool] = False

    def table(self, records: Sequence[Record], labels: Sequence[str]) -> Table:
        """A line for each quantity and each number of masks."""
        cells = of_cells(records)
        return [
            quantity(self.name, name, point.x, cells[point.cell.key], found(name))
            for name in ("confidence", "entropy")
            for point in self.points()
        ]

    def findings(self, records: Sequence[Record]) -> list[Finding]:
        """The changes from the fewest masks to the most."""
        ends, few, many = [self.points()[0], self.points()[-1]], self.grid[0], self.grid[-1]
        meaning = f"With {few} masks minus with {many}."
        return [
            finding("confidence lost", meaning, first_minus_last, ends, records, "points", found("confidence")),
            finding("entropy lost", meaning, first_minus_last, ends, records, "nats", found("entropy")),
        ]


@dataclass(frozen=True, kw_only=True)
class Dots(OverMasks):
    """What is appended: in the place of all masks of the `grid` but the fewest as many dots or EOS.

    The paper's dots follow infilling, another format than its masks have; dots and EOS in the generation format are
    ours.
    """

    name: ClassVar[str] = "dots"
    quick: ClassVar[bool] = True
    title: ClassVar[str] = "Is it the masks, or only the length?"
    source: ClassVar[str] = "Fig. 6 (dots after infilling; the others are controls of our own)"
    varied: ClassVar[str] = (
        "Dots or EOS tokens take the place of the masks that are added: the prompt becomes as long without them."
    )
    shows: ClassVar[str] = (
        "If only the line of the masks falls, it is the masks that distract; if all fall, it is the length or the "
        "distance to the end."
    )
    axis: ClassVar[str] = "tokens added after the question"

    grid: tuple[int, ...] = COARSE

    def points(self) -> list[Point]:
        """x counts from the fewest masks; infilling has one."""
        few = self.grid[0]
        added = [n - few for n in self.grid]
        dots, ends = (
            [{"filler": kind, "fillers": n} if n else dict[str, Any]() for n in added] for kind in ("dots", "ends")
        )
        series = {
            "masks": [self.cell(masks=n) for n in self.grid],
            f"dots after {few} masks": [self.cell(masks=few, **more) for more in dots],
            f"EOS after {few} masks": [self.cell(masks=few, **more) for more in ends],
            "dots after infilling": [self.cell(form="infill", masks=1, **more) for more in dots],
        }
        return [Point(name, x, c) for name, cells in series.items() for x, c in zip(added, cells, strict=True)]

    def findings(self, records: Sequence[Record]) -> list[Finding]:
        """What each kind costs."""
        meaning = f"Accuracy lost by {self.grid[-1] - self.grid[0]} more of them."
        lines = by_series(self.points()).items()
        return [finding(f"cost of {name}", meaning, first_minus_last, line, records) for name, line in lines]


@dataclass(frozen=True, kw_only=True)
class Steps(OverMasks):
    """How the masks are opened: `steps` of LLaDA's sampler, or one a mask if that is fewer, against one forward."""

    name: ClassVar[str] = "steps"
    title: ClassVar[str] = "One forward, or many steps"
    source: ClassVar[str] = "Fig. 7"
    varied: ClassVar[str] = (
        "The masks are answered at once in one forward, or opened over many steps, either in random order or the most "
        "confident first."
    )
    shows: ClassVar[str] = (
        "Where the lines of many steps stay above that of one forward, decoding step by step wins back what the masks "
        "cost."
    )
    axis: ClassVar[str] = Masks.axis

    grid: tuple[int, ...] = COARSE
    steps: int = 40

    def points(self) -> list[Point]:
        """Examples mixed; all masks are one block."""
        readings = {
            "one forward": None,
            f"{self.steps} steps, confident first": Decoded(steps=self.steps, remasking="low_confidence"),
            f"{self.steps} steps, random order": Decoded(steps=self.steps, remasking="random"),
        }
        return [Point(name, n, self.cell(reading, masks=n)) for name, reading in readings.items() for n in self.grid]

    def findings(self, records: Sequence[Record]) -> list[Finding]:
        """What masks cost, read at once and step by step."""
        meaning = f"Accuracy with {self.grid[0]} masks minus accuracy with {self.grid[-1]}."
        lines = by_series(self.points()).items()
        return [finding(f"cost of masks, {name}", meaning, first_minus_last, line, records) for name, line in lines]


@dataclass(frozen=True, kw_only=True)
class Degradation(OverMasks):
    """How many masks there are, opened in so many `steps` in random order: the relative loss over the `grid`."""

    name: ClassVar[str] = "degradation"
    title: ClassVar[str] = "What masks cost in few steps"
    source: ClassVar[str] = "Figs. 21 and 22"
    varied: ClassVar[str] = "The masks are opened in random order over a few steps, under several numbers of masks."
    shows: ClassVar[str] = (
        "The more a line falls from its highest point, the more the masks cost in as many steps; the report card has "
        "(max - min) / max."
    )
    axis: ClassVar[str] = Masks.axis

    grid: tuple[int, ...] = COARSE
    steps: tuple[int, ...] = (2, 4, 6)

    def points(self) -> list[Point]:
        """Examples mixed; all masks are one block."""
        readings = {f"{steps} steps": Decoded(steps=steps, remasking="random") for steps in self.steps}
        return [
            Point(name, n, self.cell(reading, masks=n))
            for name, reading in {"one forward": None, **readings}.items()
            for n in self.grid
        ]

    def findings(self, records: Sequence[Record]) -> list[Finding]:
        """(max - min) / max for each number of steps, and the mean of those with more than one."""
        points, several = self.points(), len(self.steps)
        meaning = "(Max - min) / max of accuracy over the numbers of masks."
        lines = by_series(points).items()
        losses = [finding(f"loss, {name}", meaning, relative_loss, line, records, "%") for name, line in lines]
        name = f"loss, mean of {', '.join(map(str, self.steps))} steps"
        together = points[len(self.grid) :]
        return [*losses, finding(name, meaning, mean_relative_loss(several), together, records, "%")]


@dataclass(frozen=True, kw_only=True)
class Need(OverMasks):
    """How many examples a task has: what it gains from more of them, against its loss by masks, the `grid`'s ends.

    The paper compares 25 with 5 examples that are all relevant. Here the mixture stays one to four: 10 + 40 examples,
    as in the probe of masks, against a fifth of them, 2 + 8. R takes the gain from every other question and the change
    from those between: from the same ones, both would share the errors of one accuracy, and R be negative by itself.
    """

    name: ClassVar[str] = "need"
    title: ClassVar[str] = "Do tasks that need their examples suffer more?"
    source: ClassVar[str] = "appendix A.3, Fig. 20"
    varied: ClassVar[str] = (
        "Each dot is a task: to the right is what it gains from fifty examples instead of ten, upwards is how its "
        "accuracy changes when masks are added."
    )
    shows: ClassVar[str] = (
        "Dots that fall to the right (R near -1) are masks that cost most where the prompt matters most; a cloud (R "
        "near 0) is no such relation."
    )
    axis: ClassVar[str] = "gained from 10 + 40 examples instead of 2 + 8, points"

    grid: tuple[int, ...] = (2, 200)
    few: tuple[int, int] = (2, 8)  # relevant, distractors

    def points(self) -> list[Point]:
        """Few examples with the fewest masks, then all examples with the fewest and with the most."""
        relevant, distractors = self.few
        ends = [Point("all examples", n, self.cell(masks=n)) for n in (self.grid[0], self.grid[-1])]
        few = self.cell(relevant=relevant, distractors=distractors, masks=self.grid[0])
        return [Point("few examples", self.grid[0], few), *ends]

    def table(self, records: Sequence[Record], labels: Sequence[str]) -> Table:
        """A line for each task: x is the gain, "change" what masks do to its accuracy, both shares of 1."""
        return [
            {
                "probe": self.name, "series": name, "x": many - few, "change": crowded - many,
                "accuracy_few": few, "accuracy": many, "accuracy_masks": crowded, "test_points": len(values),
            }
            for name, values in paired(self.points(), records, correct).items()
            for few, many, crowded in [values.mean(axis=0).tolist()]
        ]  # fmt: skip

    def findings(self, records: Sequence[Record]) -> list[Finding]:
        """Pearson's R."""
        meaning = (
            f"Over tasks: gain from more examples with change from {self.grid[0]} to {self.grid[-1]} masks, each from "
            "half of the questions."
        )
        halves = [
            np.column_stack([values[0::2][: len(values) // 2, :2], values[1::2][:, 1:]])
            for values in paired(self.points(), records, correct).values()
            if len(values) > 1
        ]
        return [of_values("need and masks, R", meaning, correlation, halves, "")] if halves else []
