"""unveil compare: results on the same problems, item by item: differences with intervals and tests."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from unveil.cli import options
from unveil.terminal import busy, err, out, plain


class Grader(StrEnum):
    """Who says what is right."""

    STRICT = "strict"
    COMPAT = "compat"


Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...",
        exists=True,
        dir_okay=False,
        help="What unveil evaluate --json wrote, with the items beside it. The first result is what the others are "
        "compared to.",
        show_default=False,
    ),
]
By = Annotated[
    Grader, typer.Option("--grader", help="The task's strict grader, or (compat) the published rule where it has one.")
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Also draw the comparison there, a PNG.", show_default=False),
]


def compare(files: Files, grader: By = Grader.STRICT, json: options.JsonFile = None, plot: Plot = None) -> None:
    """Compare results on the same problems with the first of them: paired differences, McNemar's test.

    Intervals are 95 %: Wilson's for accuracies, the paired bootstrap's for differences, which is too narrow where few
    problems make the difference (go by p there). p is McNemar's exact test, for several comparisons with Holm's
    correction. The problems that only one of the two has right are counted as `only this/only first`.

    Example: unveil compare before.json after.json --plot difference.png
    """
    from unveil import api
    from unveil.evaluation.compare import comparison_table

    with busy("comparing"):
        found = api.compare(files, grader=grader.value, json=json, plot=plot)
    out().print(comparison_table(found))
    written = " and ".join(plain(str(path)) for path in (json, plot) if path is not None)
    if written:
        err().print(f"written: {written}", style="dim", soft_wrap=True)
