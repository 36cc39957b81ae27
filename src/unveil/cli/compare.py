"""unveil compare: results on the same problems, item by item: differences with intervals and tests."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unveil.cli import options
from unveil.cli.show import busy, check_output, err, out, plain, spaced, table

if TYPE_CHECKING:
    from rich.table import Table

    from unveil.evaluation.compare import Behind, Comparison


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
    from unveil.evaluation import compare as comparison
    from unveil.evaluation.compare_plot import plot_comparison
    from unveil.files import write_json

    check_output(json)
    check_output(plot)
    with busy("comparing"):
        judged = [one for file in files for one in comparison.read_judged(file)]
        found = comparison.compare(judged, grader.value)
    out().print(comparison_table(found))
    if json is not None:
        write_json(json, found.to_json())
    if plot is not None:
        plot_comparison(found, plot)
    written = " and ".join(plain(str(path)) for path in (json, plot) if path is not None)
    if written:
        err().print(f"written: {written}", style="dim", soft_wrap=True)


def comparison_table(found: "Comparison") -> "Table":
    """A line per result."""
    corrected = "p (McNemar,\nHolm)" if len(found.lines) > 2 else "p\n(McNemar)"
    by = {"strict": "the strict grader", "compat": "the published rule"}[found.grader]
    shown = table(
        "result", "correct", "95 %\ninterval", "to the first, points\n(paired 95 %)", "only this/\nonly first",
        corrected, title=plain(f"{found.task}: {found.n} problems by {by}"),
    )  # fmt: skip
    for line in found.lines:
        interval = f"{100 * line.ci_low:.1f}-{100 * line.ci_high:.1f}"
        shown.add_row(spaced(line.label), f"{line.accuracy:.1%}", interval, *_against(line.behind))
    return shown


def _against(behind: "Behind | None") -> tuple[str, str, str]:
    if behind is None:
        return "-", "-", "-"
    mean, low, high = (round(100 * share, 1) + 0.0 for share in behind.difference)  # no -0.0
    p = f"{behind.p_holm:.4f}" if behind.p_holm >= 0.0001 else "<0.0001"
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})", f"{behind.only_this}/{behind.only_first}", p
