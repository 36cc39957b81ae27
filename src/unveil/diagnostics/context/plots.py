"""A picture of each probe: 95 % intervals over tasks as bars, over test points as bands."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from unveil.diagnostics.context.probes import Probe
from unveil.diagnostics.context.tables import Line, Table
from unveil.evaluation.plots import COLOURS, MARKERS, literally
from unveil.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 20  # an x axis whose ends differ by more than this factor is logarithmic
INTERVALS = "95 % intervals: bars over tasks, bands over test points"


@literally
def plot(probe: Probe, table: Table, path: Path, *, chance: float | None = None) -> None:
    """Write a PNG of a probe's table; `chance` is the accuracy of a guess. Errors: OSError as `replacing`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    PICTURES.get(probe.name, _answers)(figure, probe, table, chance)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _answers(figure: "Figure", probe: Probe, table: Table, chance: float | None) -> None:
    """Accuracy; below it what was said, where a single line leaves room for it."""
    lines = _lines(table)
    if len(lines) > 1:
        _accuracy(figure.add_subplot(), probe, lines, chance)
        return
    figure.set_figheight(6.4)
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(2, 1))
    _accuracy(upper, probe, lines, chance)
    upper.set_xlabel("")
    (line,) = lines.values()
    letters = [name for name in line[0] if name.startswith("says_")]
    for place, name in enumerate(letters):
        _plain(lower, line, name, name.removeprefix("says_"), COLOURS[2 + place % 5], MARKERS[2 + place % 6])
    _dress(lower, probe.axis, "answer given, %", table)
    lower.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _accuracy(axes: "Axes", probe: Probe, lines: Mapping[str, Table], chance: float | None) -> None:
    table = [point for line in lines.values() for point in line]
    for place, (name, line) in enumerate(lines.items()):
        aside = _aside(table, place - (len(lines) - 1) / 2)
        _draw(axes, line, [aside(point["x"]) for point in line], name, place)
    if chance is not None:
        axes.axhline(100 * chance, color="#555555", linewidth=0.9, linestyle=(0, (4, 3)), label="a guess")
    _dress(axes, probe.axis, "right answers, %", table)
    axes.set_title(f"{probe.title}  ({INTERVALS})", loc="left", fontsize=10)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw(
    axes: "Axes",
    line: Table,
    x: Sequence[int | float],
    name: str,
    place: int,
    column: str = "accuracy",
    scale: float = 100.0,
) -> None:
    """A line with its intervals, where it has them."""
    colour, y = COLOURS[place % len(COLOURS)], [scale * point[column] for point in line]
    bars = _bars(line, column, scale)
    if all(point["point_low"] is not None for point in line):
        low, high = ([scale * point[side] for point in line] for side in ("point_low", "point_high"))
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.errorbar(
        x, y, bars, label=name, color=colour, marker=MARKERS[place % len(MARKERS)], markersize=6 if len(x) < 20 else 3,
        markerfacecolor="white", markeredgewidth=1.4, linewidth=1.4, elinewidth=0.9, capsize=2.5 if len(x) < 20 else 0,
    )  # fmt: skip


def _plain(axes: "Axes", line: Table, column: str, name: str, colour: str, marker: str) -> None:
    x, y = [point["x"] for point in line], [100 * point[column] for point in line]
    axes.plot(x, y, label=name, color=colour, marker=marker, markersize=4, linewidth=1.2)


def _bars(line: Table, column: str, scale: float) -> list[list[float]] | None:
    """How far Student's interval reaches down and up; None for a single task."""
    if any(point["task_low"] is None for point in line):
        return None
    return [
        [scale * (point[column] - point["task_low"]) for point in line],
        [scale * (point["task_high"] - point[column]) for point in line],
    ]


def _confidence(figure: "Figure", probe: Probe, table: Table, chance: float | None) -> None:
    upper, lower = figure.subplots(2, sharex=True)
    units = {"confidence": (100.0, "%"), "entropy": (1.0, "nats")}
    for place, (axes, (name, line)) in enumerate(zip((upper, lower), _lines(table).items(), strict=True)):
        scale, unit = units[name]
        _draw(axes, line, [point["x"] for point in line], name, place, "mean", scale)
        _dress(axes, probe.axis, f"{name}, {unit}", line)
        axes.set_ylim(bottom=0)
    upper.set_xlabel("")
    upper.set_title(f"{probe.title}  ({INTERVALS})", loc="left", fontsize=10)


def _gradients(figure: "Figure", probe: Probe, table: Table, chance: float | None) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _places(left, probe, [point for point in table if point["x"] is not None])
    groups = [point for point in table if point["x"] is None]
    right.barh(
        range(len(groups)), [point["mean"] for point in groups], xerr=_bars(groups, "mean", 1.0), height=0.6,
        color=COLOURS[0], alpha=0.6, error_kw={"linewidth": 0.9, "capsize": 2.5},
    )  # fmt: skip
    right.set_yticks(range(len(groups)), [point["series"] for point in groups], fontsize=8)
    right.invert_yaxis()
    right.set_xlim(left=0)
    right.set_xlabel("gradient's norm (the largest token's is 1)")
    right.spines[["top", "right"]].set_visible(False)


def _gradients_infill(figure: "Figure", probe: Probe, table: Table, chance: float | None) -> None:
    _places(figure.add_subplot(), probe, table)


def _places(axes: "Axes", probe: Probe, table: Table) -> None:
    """Norms by the place of the example."""
    for place, (name, line) in enumerate(_lines(table).items()):
        _draw(axes, line, [point["x"] for point in line], name, place, "mean", 1.0)
    _dress(axes, probe.axis, "gradient's norm (the largest example's is 1)", table)
    axes.set_title(f"{probe.title}  ({INTERVALS})", loc="left", fontsize=10)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False)


def _need(figure: "Figure", probe: Probe, table: Table, chance: float | None) -> None:
    axes = figure.add_subplot()
    tasks: dict[tuple[float, float], list[str]] = {}
    for point in table:
        tasks.setdefault((round(100 * point["x"], 6), round(100 * point["change"], 6)), []).append(point["series"])
    for place, names in tasks.items():
        axes.plot(*place, "o", color=COLOURS[0], markerfacecolor="white", markeredgewidth=1.6)
        axes.annotate(", ".join(names), place, xytext=(6, 3), textcoords="offset points", fontsize=7)
    axes.axhline(0, color="#555555", linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlabel(probe.axis)
    axes.set_ylabel("change of accuracy by masks, points")
    axes.set_title(f"{probe.title}  (a dot is a task)", loc="left", fontsize=10)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


PICTURES: Mapping[str, Callable[["Figure", Probe, Table, float | None], None]] = MappingProxyType(
    {"confidence": _confidence, "gradients": _gradients, "gradients-infill": _gradients_infill, "need": _need}
)


def _lines(table: Table) -> dict[str, Table]:
    lines: dict[str, list[Line]] = {}
    for point in table:
        lines.setdefault(point["series"], []).append(point)
    return lines


def _logarithmic(table: Table) -> bool:
    x = [point["x"] for point in table if point["x"] is not None]
    return min(x) > 0 and max(x) / min(x) > WIDE


def _aside(table: Table, place: float) -> Callable[[float], float]:
    """Moves lines a little apart, so that their bars can be told."""
    x = [point["x"] for point in table]
    if _logarithmic(table):
        return lambda at: at * 1.02**place
    return lambda at: at + 0.004 * place * (max(x) - min(x))


def _dress(axes: "Axes", axis: str, label: str, table: Table) -> None:
    ticks = sorted({point["x"] for point in table if point["x"] is not None})
    if _logarithmic(table):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    if len(ticks) <= 10:
        axes.set_xticks(ticks, minor=False)
    axes.minorticks_off()
    axes.set_xlabel(axis)
    axes.set_ylabel(label)
    if "%" in label:
        axes.set_ylim(-2, 102)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
