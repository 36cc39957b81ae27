"""What a probe is: prompts of which one thing is varied, a table of what was read, numbers; and probes by name."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from unveil import catalogue
from unveil.diagnostics.context.cells import Cell, Reading, Record
from unveil.diagnostics.context.few_shot.shots import Arrangement, FewShot
from unveil.diagnostics.context.readings import FirstMask
from unveil.diagnostics.context.tables import Finding, Point, Table, answers
from unveil.settings import nearest

FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
GRID = (2, 5, 10, 20, 50, 100, 150, 200)
COARSE = (2, 50, 100, 200)  # the numbers of masks that the paper names


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One experiment: cells (a layout of prompts, and how the answer is read), a table of them, numbers for the card.

    Fields are settings. `layout`, an `Arrangement`, is what all its prompts have in common; `cell(**changes)` and
    `block(...)` replace fields of it. A subclass has the constants below that have no value here, and `points()`; for
    the report card `findings()`, too. Most are of Piskorz et al. 2025, arXiv 2511.21338: `source` says where.
    """

    name: ClassVar[str]  # as typed: "masks"
    title: ClassVar[str]
    source: ClassVar[str] = ""  # where the paper has it: "Fig. 4", "appendix A.3, Fig. 20"; empty: it is our own
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
        """The layout with changes of its fields, which are those of `few_shot.shots.Arrangement`.

        The answer is read at the first mask after one forward, if not by `reading`.
        """
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


def kinds() -> dict[str, type[Probe]]:
    """The class of every probe, by name. ImportError for one that lacks what its report shows."""
    found = {name: entry.load() for name, entry in catalogue.probes().items()}
    for name, kind in found.items():
        if lacking := [one for one in ("title", "varied", "shows", "axis") if not hasattr(kind, one)]:
            raise ImportError(f"probe {name} has no {', '.join(lacking)}: give it these constants")
    return found


def probe(name: str, grid: Sequence[int] | None = None) -> Probe:
    """The probe of that name, over the numbers of masks `grid` if it varies them. ValueError for an unknown name."""
    if name not in catalogue.probes():
        raise ValueError(f"unknown probe {name!r}: {nearest(name, catalogue.probes())}")
    return _over(kinds()[name](), grid)


def quick() -> list[Probe]:
    """The probes that are asked where none is named."""
    return [kind().quickly() for kind in kinds().values() if kind.quick]


def _over(found: Probe, grid: Sequence[int] | None) -> Probe:
    """The same, over these numbers of masks if it varies them."""
    return replace(found, grid=tuple(grid)) if grid is not None and isinstance(found, OverMasks) else found


def chosen(
    names: Sequence[str] | None, grid: Sequence[int] | None = None, *, causal: bool = False, chat: bool = False
) -> list[Probe]:
    """These probes, each once; "all" is all without questions of their own, None the quick ones, with their settings;
    of these two, those that fit a causal model or a chat.

    ValueError for an unknown name, for one that is named and does not fit, and for a `grid` that none of them uses.
    """
    every = [name for name, kind in kinds().items() if not kind.own]
    named = [] if names is None else [one for name in names for one in (every if name == "all" else [name])]
    probes = (
        [_over(found, grid) for found in quick()] if names is None else [probe(n, grid) for n in dict.fromkeys(named)]
    )
    fit = [found for found in probes if (found.causal or not causal) and (found.chat or not chat)]
    if len(fit) < len(probes) and names is not None and "all" not in names:
        unfit = next(found.name for found in probes if found not in fit)
        legal = ", ".join(
            name for name, kind in kinds().items() if (kind.causal or not causal) and (kind.chat or not chat)
        )
        raise ValueError(f"probe {unfit!r} does not fit {'a causal model' if causal else 'a chat'}; take of {legal}")
    if grid is not None and not any(isinstance(found, OverMasks) for found in fit):
        raise ValueError(f"no probe varies the number of masks: {', '.join(found.name for found in fit)}")
    return fit
