"""A comparison as a picture: accuracies with their intervals, and differences to the first result."""

import re
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from unveil.evaluation.compare import Comparison
from unveil.evaluation.frontier_plot import COLOURS
from unveil.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL = 44  # characters of a label's line


def plot_comparison(found: Comparison, path: Path) -> None:
    """Write a PNG. OSError as `replacing`."""
    figure = draw_comparison(found)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def draw_comparison(found: Comparison) -> "Figure":
    """The picture: a row for each result, the first one on top."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    labels = [_wrapped(line.label) for line in found.lines]
    heights = [0.3 + 0.17 * label.count("\n") for label in labels]
    places = [-sum(heights[: row + 1]) + heights[row] / 2 for row in range(len(heights))]  # inches, downwards
    figure = Figure(figsize=(10, 1.5 + sum(heights)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for row, (line, place) in enumerate(zip(found.lines, places, strict=True)):
        colour = COLOURS[row % len(COLOURS)]
        _bar(left, place, 100 * line.accuracy, 100 * line.ci_low, 100 * line.ci_high, colour)
        if line.behind is not None:
            mean, low, high = (100 * share for share in line.behind.difference)
            _bar(right, place, mean, low, high, colour)
    left.set_yticks(places, labels, fontsize=8)
    left.set_ylim(-sum(heights), 0)
    left.set_xlabel("accuracy, %\n(bars: 95 % interval)")
    right.set_xlabel("difference to the first, points\n(bars: paired 95 % interval)")
    right.axvline(0, color="black", linewidth=0.8)
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.25, linewidth=0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    grader = {"strict": "strict grader", "compat": "published rule"}[found.grader]
    figure.suptitle(f"{found.task}: {found.n} problems, {grader}", x=0.01, ha="left", fontsize=11)
    return figure


def _bar(axes: "Axes", place: float, value: float, low: float, high: float, colour: str) -> None:
    # A bootstrap's interval need not hold the value itself.
    error = [[max(0.0, value - low)], [max(0.0, high - value)]]
    axes.errorbar(
        [value], [place], xerr=error, color=colour, marker="o", markersize=6, markerfacecolor="white",
        markeredgewidth=1.6, elinewidth=1.6, capsize=3, linestyle="none",
    )  # fmt: skip


def _wrapped(label: str) -> str:
    """In several lines, also within a spec, after its commas."""
    return fill(re.sub(", *", ", ", label), LABEL)
