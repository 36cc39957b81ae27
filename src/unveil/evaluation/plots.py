"""Pictures: accuracy against forwards, one line for each sampler whose grid was walked; and comparisons."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from unveil.evaluation.compare import Comparison
from unveil.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

Drawn = TypeVar("Drawn", bound=Callable[..., Any])

GRID = ("steps", "threshold", "factor", "gamma", "eta", "scale", "alpha")  # settings that move a sampler along its line
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#aa3377", "#66ccee", "#bbbbbb")  # Tol's bright scheme
MARKERS = "osD^vPX*"
TICKS = (1, 2, 3, 5, 7, 10, 20, 30, 50, 100, 200, 500, 1000)
ASIDE = 1.045  # factor between neighbours at the same number of forwards
LABEL = 44  # characters of a line of a label in a comparison
# Where a label may stand: its end at the point, and points to the right and up from there.
ROOMS = (("right", -6, 3), ("left", 6, -9), ("left", 6, 3), ("right", -6, -9), ("center", 0, 8), ("center", 0, -14))


@dataclass(frozen=True, kw_only=True)
class Point:
    """One evaluation in the picture."""

    family: str  # the recipe: its colour
    series: str  # the recipe and what is fixed: its line
    label: str  # the grid setting, empty for none
    place: float  # forwards, moved a little aside where points would hide each other
    accuracy: float  # percent
    low: float  # percent
    high: float


def literally(draw: Drawn) -> Drawn:
    """A function that draws, whose texts are shown as they are: a $ in a model's name begins no formula."""

    @wraps(draw)
    def drawn(*args: Any, **settings: Any) -> Any:
        from matplotlib import rc_context

        with rc_context({"text.parse_math": False}):
            return draw(*args, **settings)

    return drawn  # type: ignore[return-value]


def plot_frontier(results: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Write a PNG of results as `Result.to_json` gives them. ValueError for no results; OSError as `replacing`."""
    if not results:
        raise ValueError("no results to plot: evaluate at least one sampler")
    figure = draw_frontier(points_of(results), title=title)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


@literally
def draw_frontier(points: Sequence[Point], *, title: str) -> "Figure":
    """The picture. Labels that would cover others, or be nearer to another point, are left out.

    The ends and the best of each line are labelled first.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    families = list(dict.fromkeys(point.family for point in points))
    ends, others = list[tuple[Point, str]](), list[tuple[Point, str]]()
    for series in dict.fromkeys(point.series for point in points):
        line = sorted((point for point in points if point.series == series), key=lambda point: point.place)
        colour = COLOURS[families.index(line[0].family) % len(COLOURS)]
        _draw(axes, line, colour, _marker(points, series))
        best = max(line, key=lambda point: point.accuracy)
        for point in (point for point in line if point.label):
            (ends if point in (line[0], best, line[-1]) else others).append((point, colour))
    _dress(axes, points, title)
    figure.draw_without_rendering()  # now everything has its place
    _label(axes, [*ends, *others], points)
    return figure


def points_of(results: Sequence[Mapping[str, Any]]) -> list[Point]:
    """What is drawn of each result, in the order of the results."""
    seen: list[float] = []
    points = []
    for result in results:
        ahead = sum(abs(result["nfe_mean"] / other - 1) < 0.005 for other in seen)
        aside = (ahead + 1) // 2 * (1 if ahead % 2 else -1)  # 0, 1, -1, 2, -2, ...
        points.append(_point(result, aside))
        seen.append(result["nfe_mean"])
    return points


def _point(result: Mapping[str, Any], aside: int) -> Point:
    name, _, rest = str(result["sampler"]).partition(":")
    settings = [item.strip() for item in rest.split(",") if item.strip()]
    grid = [item for item in settings if item.partition("=")[0] in GRID]
    fixed = [item for item in settings if item not in grid]
    rule = [item.partition("=")[0] for item in grid if item.partition("=")[0] in ("threshold", "factor")]
    return Point(
        family=name,
        series=", ".join([" ".join([name, *rule, *fixed]), *result.get("beside", [])]),
        label=", ".join(item.partition("=")[2] if rule else item for item in grid),
        place=result["nfe_mean"] * ASIDE**aside,
        accuracy=100 * result["accuracy"],
        low=100 * result["ci_low"],
        high=100 * result["ci_high"],
    )


def _marker(points: Sequence[Point], series: str) -> str:
    family = next(point.family for point in points if point.series == series)
    members = list(dict.fromkeys(point.series for point in points if point.family == family))
    return MARKERS[members.index(series) % len(MARKERS)]


def _draw(axes: "Axes", line: Sequence[Point], colour: str, marker: str) -> None:
    error = [[p.accuracy - p.low for p in line], [p.high - p.accuracy for p in line]]
    axes.errorbar(
        [p.place for p in line], [p.accuracy for p in line], error, label=line[0].series, color=colour,
        marker=marker, markersize=6, markerfacecolor="white", markeredgewidth=1.6, linewidth=1.4, elinewidth=0.8,
        capsize=2, alpha=0.9,
    )  # fmt: skip


def _label(axes: "Axes", coloured: Sequence[tuple[Point, str]], points: Sequence[Point]) -> None:
    from matplotlib.patheffects import withStroke

    centres = axes.transData.transform([(point.place, point.accuracy) for point in points])
    taken: list[Bbox] = []
    for point, colour in coloured:
        for side, right, up in ROOMS:
            text = axes.annotate(
                point.label, (point.place, point.accuracy), xytext=(right, up), textcoords="offset points", ha=side,
                fontsize=7, color=colour, in_layout=False, path_effects=[withStroke(linewidth=2, foreground="white")],
            )  # fmt: skip
            box = text.get_window_extent()
            away = np.hypot(*(centres - centres.clip(box.min, box.max)).T)
            nearest = away[points.index(point)] <= away.min() + 1  # a pixel
            if nearest and axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and not box.count_overlaps(taken):
                taken.append(box)
                break
            text.remove()


def _dress(axes: "Axes", points: Sequence[Point], title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("forwards per problem (fewer is faster; equal ones are drawn side by side)")
    axes.set_ylabel("accuracy, % (bars: 95 % interval)")
    axes.set_xscale("log")
    widest = max(point.place for point in points)
    axes.set_xlim(left=0.8 * min(1.0, *(point.place for point in points)), right=1.15 * widest)
    axes.set_xticks([tick for tick in TICKS if tick <= widest], minor=False)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def plot_comparison(found: Comparison, path: Path) -> None:
    """Write a PNG. OSError as `replacing`."""
    figure = draw_comparison(found)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


@literally
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
