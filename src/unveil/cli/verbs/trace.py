"""unveil trace: what each forward of a recorded decode did, as a table or as a page to scrub through."""

from pathlib import Path
from typing import Annotated

import typer

from unveil.terminal import err, out, plain

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
    Example: unveil decode lab-sudoku $'1000\\n0002\\n4003\\n0000\\n=\\n' --trace a
    Example: unveil trace a --html a.html
    """
    from unveil import api

    if html is not None and html.resolve() == file.resolve():
        raise ValueError(f"--html {html} is the trace itself: name another file")
    found = api.trace(file, html=html)
    if html is not None:
        err().print(f"{len(found.trajectory)} forwards in {plain(str(html))}", style="dim", soft_wrap=True)
        return
    *rows, sampler = found.tables()
    for number, shown in enumerate(rows):
        out().print(f"\n{shown}\n" if number % 2 else shown, soft_wrap=bool(number % 2))
    out().print(sampler, soft_wrap=True, style="dim")
