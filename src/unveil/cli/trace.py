"""unveil trace: what each forward of a recorded decode did, as a table or as a page to scrub through."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unveil.cli.show import check_output, err, out, plain, table

if TYPE_CHECKING:
    from rich.table import Table

    from unveil.sampling.trajectory import Trajectory

File = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="What `unveil decode --trace FILE` has written.", show_default=False),
]
Html = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Write a page there instead of printing the table: every position at every forward. It needs no network.",
        show_default=False,
    ),
]


def trace(file: File, html: Html = None) -> None:
    """See how a decode went, forward by forward: a line for each, or a page to scrub through.

    \b
    Example: unveil decode lab-sudoku "1000\\n0002\\n4003\\n0000\\n=\\n" --trace a
    Example: unveil trace a --html a.html
    """
    from unveil.cli.trace_page import summary, trace_page
    from unveil.files import write_text
    from unveil.sampling.trajectory import Trajectory

    check_output(html)
    if html is not None and html.resolve() == file.resolve():
        raise ValueError(f"--html {html} is the trace itself: name another file")
    trajectory = Trajectory.load(file)
    if html is not None:
        write_text(html, trace_page(trajectory))
        err().print(f"{len(trajectory)} forwards in {plain(str(html))}", style="dim", soft_wrap=True)
        return
    rows = trajectory.fields["done"].shape[1]
    for row in range(rows):
        out().print(forwards_table(trajectory, row, title=f"row {row}" if rows > 1 else None))
        out().print(f"\n{summary(trajectory, row)}\n", soft_wrap=True)
    out().print(plain(trajectory.sampler), soft_wrap=True, style="dim")


def forwards_table(trajectory: "Trajectory", row: int, *, title: str | None = None) -> "Table":
    """A line for each forward of a row; confidence is the mean over all that the forward wrote."""
    from unveil.cli.trace_page import forwards

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
