"""What a probe is: prompts of which one thing is varied, a table of what was read, numbers for the report card."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from unveil.diagnostics.context.card import Finding
from unveil.diagnostics.context.cells import Cell, Reading, Record
from unveil.diagnostics.context.few_shot.shots import Arrangement, FewShot
from unveil.diagnostics.context.readings import FirstMask
from unveil.diagnostics.context.tables import Point, Table, answers

FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
GRID = (2, 5, 10, 20, 50, 100, 150, 200)
COARSE = (2, 50, 100, 200)  # the numbers of masks that the paper names


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One experiment of Piskorz et al. 2025, arXiv 2511.21338; fields are its settings.

    `layout` is what all its prompts have in common, such as how many examples there are.
    """

    name: ClassVar[str]  # as typed: "masks"
    title: ClassVar[str]
    source: ClassVar[str]  # where the paper has it: "Fig. 4", "appendix A.3, Fig. 20"
    varied: ClassVar[str]  # one sentence: what is varied
    shows: ClassVar[str]  # one sentence: how to read the picture
    axis: ClassVar[str]  # what x is
    causal: ClassVar[bool] = False  # whether it says anything of a model that reads from left to right
    chat: ClassVar[bool] = True  # whether its prompts can be chats
    quick: ClassVar[bool] = False  # whether it is asked where no probe is named
    own: ClassVar[bool] = False  # whether it has questions of its own: then it must be asked for by name

    layout: Arrangement = Arrangement()

    def quickly(self) -> "Probe":
        """As it is asked where no probe is named."""
        return self

    @property
    def num_questions(self) -> int | None:
        """The most questions of a task that it needs; None for as many as there are."""
        return None

    def sources(self, given: Sequence[FewShot]) -> Sequence[FewShot]:
        """The tasks that it asks: those `given` for all probes, if it has none of its own."""
        return given

    def points(self) -> list[Point]:
        """The cells to measure and where they stand; two points may share a cell."""
        raise NotImplementedError

    def table(self, records: Sequence[Record], labels: Sequence[str]) -> Table:
        """A tidy table whose lines have probe, series and x. Records of other cells are passed over."""
        return answers(self.name, self.points(), records, labels)

    def findings(self, records: Sequence[Record]) -> list[Finding]:
        """What it adds to the report card."""
        return []

    def cell(self, reading: Reading | None = None, **changes: Any) -> Cell:
        """The layout with changes. The answer is read at the first mask after one forward, if not by `reading`."""
        return Cell(arrangement=replace(self.layout, **changes), reading=reading or FirstMask())

    def block(self, series: str, position: float, **changes: Any) -> Point:
        """The relevant examples in one block after that share of the distractors; x is how many these are."""
        return Point(series, position * self.layout.distractors, self.cell(order="block", position=position, **changes))


@dataclass(frozen=True, kw_only=True)
class OverMasks(Probe):
    """A probe of several numbers of masks, `grid`, the answer's included. ValueError unless they increase from 1."""

    grid: tuple[int, ...] = GRID

    def __post_init__(self) -> None:
        if len(self.grid) < 2 or self.grid[0] < 1 or list(self.grid) != sorted(set(self.grid)):
            given = ",".join(map(str, self.grid))
            raise ValueError(f"the numbers of masks are {given}; give two or more, increasing from 1 on: 2,50,200")
