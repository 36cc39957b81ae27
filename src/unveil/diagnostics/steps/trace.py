"""A recorded decode, forward by forward: a table, or a page to scrub through."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unveil.diagnostics.steps.page import forwards, summary, trace_page
from unveil.files import write_text
from unveil.sampling.trajectory import Trajectory
from unveil.terminal import plain, rendered, table

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """What each forward of a decode did."""

    trajectory: Trajectory

    @classmethod
    def load(cls, path: Path) -> "Trace":
        """What `unveil decode --trace FILE` wrote. ValueError as Trajectory.load."""
        return cls(trajectory=Trajectory.load(path))

    def tables(self) -> "list[Table | str]":
        """For each row a line a forward, and one for all of them; then the sampler."""
        shown: list[Table | str] = []
        rows = self.trajectory.fields["done"].shape[1]
        for row in range(rows):
            shown.append(forwards_table(self.trajectory, row, title=f"row {row}" if rows > 1 else None))
            shown.append(summary(self.trajectory, row))
        return [*shown, plain(self.trajectory.sampler)]

    def __str__(self) -> str:
        return rendered(*self.tables())

    def page(self) -> str:
        """One page of HTML with every position at every forward; it loads nothing."""
        return trace_page(self.trajectory)

    def write_page(self, path: Path) -> None:
        """Write the page. Errors: as `write_text`."""
        write_text(path, self.page())


def forwards_table(trajectory: Trajectory, row: int, *, title: str | None = None) -> "Table":
    """A line for each forward of a row; confidence is the mean over all that the forward wrote."""
    shown = table("forward", "unmasked", "revised", "remasked", "tokens per forward", "confidence", title=title)
    unmask, revise, remask = (trajectory.choices[name][:, row] for name in ("unmask", "revise", "remask"))
    start = trajectory.canvas(0).num_undecided[row]
    for step in range(forwards(trajectory, row)):
        canvas = trajectory.canvas(step + 1)
        written = canvas.confidence[row, unmask[step] | revise[step]]
        shown.add_row(
            str(step + 1),
            str(int(unmask[step].sum())),
            str(int(trajectory.revised[step, row].sum())),
            str(int(remask[step].sum())),
            f"{int(start - canvas.num_undecided[row]) / (step + 1):.2f}",
            f"{float(written.mean()):.3f}" if len(written) else "-",
        )
    return shown
