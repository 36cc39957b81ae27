"""Tidy tables of what was read, a line for every point of a probe, shares from 0 to 1; and the numbers of the card."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from unveil.diagnostics.context.cells import Cell, Record
from unveil.diagnostics.context.readings import Decoded
from unveil.evaluation.statistics import mean_interval, wilson

Line = dict[str, Any]
Table = list[Line]
Value = Callable[[Record], float]


class Point(NamedTuple):
    """Where the records of a cell stand in a picture."""

    series: str
    x: int | float
    cell: Cell


def by_series(points: Sequence[Point]) -> dict[str, list[Point]]:
    """The points of each line."""
    lines: dict[str, list[Point]] = {}
    for point in points:
        lines.setdefault(point.series, []).append(point)
    return lines


def of_cells(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The records of each cell, by its key."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.cell, []).append(record)
    return found


def correct(record: Record) -> float:
    """1 for the right answer, else 0."""
    return float(record.found["correct"])


def found(name: str) -> Value:
    """The number that the reading calls `name`."""

    def value(record: Record) -> float:
        return float(record.found[name])

    return value


def means(records: Sequence[Record], value: Value, of: Callable[[Record], Any]) -> list[float]:
    """The mean of each group of records that are alike in `of`."""
    groups: dict[Any, list[float]] = {}
    for record in records:
        groups.setdefault(of(record), []).append(value(record))
    return [fmean(group) for group in groups.values()]


def task(record: Record) -> str:
    """The name of the task that a record answers."""
    return record.task


def question(record: Record) -> tuple[str, int]:
    """Which question of which task: all its draws are one."""
    return record.task, record.question


def paired(points: Sequence[Point], records: Sequence[Record], value: Value) -> dict[str, np.ndarray]:
    """Task -> (questions, points): means over draws, of the questions that were asked at all points."""
    cells = of_cells(records)
    values: dict[str, dict[int, list[list[float]]]] = {}
    for place, point in enumerate(points):
        for record in cells.get(point.cell.key, []):
            columns = values.setdefault(record.task, {}).setdefault(record.question, [[] for _ in points])
            columns[place].append(value(record))
    whole = {task: [row for row in values[task].values() if all(row)] for task in sorted(values)}
    return {task: np.array([[fmean(column) for column in row] for row in rows]) for task, rows in whole.items() if rows}


def student(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Student's 95 % interval for the mean; None for a single value, which cannot tell."""
    return mean_interval(values) if len(values) > 1 else (None, None)


def quantity(probe: str, series: str, x: int | float | None, records: Sequence[Record], value: Value) -> Line:
    """A line with a mean; its intervals, over tasks and over test points, are Student's."""
    tasks, test_points = means(records, value, task), means(records, value, question)
    low, high = student(tasks)
    point_low, point_high = student(test_points)
    return {
        "probe": probe, "series": series, "x": x, "mean": fmean(tasks), "task_low": low, "task_high": high,
        "point_low": point_low, "point_high": point_high, "n": len(records), "test_points": len(test_points),
        "tasks": len(tasks),
    }  # fmt: skip


def answers(probe: str, points: Sequence[Point], records: Sequence[Record], labels: Sequence[str]) -> Table:
    """A line for each point: how many answers were right, which ones were given, how sure the model was.

    `task_low` and `task_high` are Student's interval over the tasks' means, cut at 0 and 1: what other tasks might
    give. `point_low`
    and `point_high` are Wilson's over test points (a question of a task, with all its draws): what other questions of
    these tasks might give. Points without records are left out.
    """
    cells = of_cells(records)
    return [
        {"probe": probe, "series": point.series, "x": point.x, **_line(cells[point.cell.key], labels)}
        for point in points
        if point.cell.key in cells
    ]


def _line(records: list[Record], labels: Sequence[str]) -> Line:
    tasks, test_points = means(records, correct, task), len({question(record) for record in records})
    accuracy = fmean(tasks)
    low, high = student(tasks)
    point_low, point_high = wilson(round(accuracy * test_points), test_points)
    said = [record.found["answer"] for record in records]
    rates = {f"says_{label}": said.count(label) / len(said) for label in labels}
    asked = [record.label for record in records]
    rates |= {f"right_{label}": asked.count(label) / len(asked) for label in labels}
    return {
        "accuracy": accuracy,
        "task_low": None if low is None else max(0.0, low),
        "task_high": None if high is None else min(1.0, high),
        "point_low": point_low,
        "point_high": point_high,
        "n": len(records),
        "test_points": test_points,
        "tasks": len(tasks),
        **rates,
        "says_other": sum(answer not in labels for answer in said) / len(said),
        "confidence": _mean(records, "confidence"),
        "entropy": _mean(records, "entropy"),
        "masks": fmean(record.masks for record in records),
        "columns": fmean(record.columns for record in records),
        "nfe": fmean(record.found.get("nfe", 1) for record in records),
    }


def _mean(records: list[Record], name: str) -> float | None:
    """None where the reading does not tell, or not always."""
    values = [record.found[name] for record in records if name in record.found]
    return fmean(values) if len(values) == len(records) else None


RESAMPLES = 2000
ORDERS = {"random": "in random order", "low_confidence": "the most confident first"}

Statistic = Callable[[np.ndarray], np.ndarray]  # (R, T, P) means of tasks at points -> (R,)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A number of the report card. None where it is not defined."""

    name: str
    meaning: str  # one sentence
    value: float | None
    low: float | None  # 95 %, percentile bootstrap over tasks and over questions within them
    high: float | None
    unit: str  # "points" and "%" are shares of 1 here, shown times 100
    test_points: int  # questions of all tasks
    tasks: int

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)

    @property
    def shown(self) -> tuple[str, str]:
        """Value and interval as text."""
        scale, places = (100, 1) if self.unit in ("points", "%") else (1, 2)
        texts = ["-" if x is None else f"{scale * x:.{places}f}" for x in (self.value, self.low, self.high)]
        return f"{texts[0]} {self.unit}".strip(), "-" if self.low is None else f"{texts[1]} to {texts[2]}"


def finding(
    name: str,
    meaning: str,
    statistic: Statistic,
    points: Sequence[Point],
    records: Sequence[Record],
    unit: str = "points",
    value: Value = correct,
) -> Finding:
    """A statistic of the tasks' means at `points`, with its interval; the same questions are compared at all points."""
    return of_values(name, meaning, statistic, list(paired(points, records, value).values()), unit)


def of_values(name: str, meaning: str, statistic: Statistic, values: Sequence[np.ndarray], unit: str) -> Finding:
    """A statistic of tasks' means, from (questions, P) a task."""
    whole = statistic(np.stack([questions.mean(axis=0) for questions in values])[None])[0]
    low, high = np.nanquantile(statistic(resampled(values)), [0.025, 0.975]) if np.isfinite(whole) else (whole, whole)
    return Finding(
        name=name, meaning=meaning, value=_number(whole), low=_number(low), high=_number(high), unit=unit,
        test_points=sum(map(len, values)), tasks=len(values),
    )  # fmt: skip


def resampled(values: Sequence[np.ndarray], resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """(R, T, P) from (questions, P) a task: T tasks drawn with replacement, then of each drawn one its questions."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(values), size=(resamples, len(values)))
    means = np.empty((*drawn.shape, values[0].shape[1]))
    for task, questions in enumerate(values):
        here, num = drawn == task, len(questions)
        means[here] = rng.multinomial(num, np.full(num, 1 / num), size=int(here.sum())) @ questions / num
    return means


def largest_loss(means: np.ndarray) -> np.ndarray:
    """Largest minus smallest accuracy over the points."""
    return np.ptp(means.mean(axis=1), axis=-1)


def relative_loss(means: np.ndarray) -> np.ndarray:
    """(largest - smallest) / largest; 0 where nothing was ever right."""
    best = means.mean(axis=1).max(axis=-1)
    return np.divide(largest_loss(means), best, out=np.zeros_like(best), where=best > 0)


def first_minus_last(means: np.ndarray) -> np.ndarray:
    """How much more there is at the first point than at the last one."""
    accuracy = means.mean(axis=1)
    return accuracy[:, 0] - accuracy[:, -1]


def level(means: np.ndarray) -> np.ndarray:
    """The mean of everything."""
    return means.mean(axis=(1, 2))


def slope_at(x: Sequence[float]) -> Statistic:
    """The slope of the line of least squares through the points, which lie at `x`."""
    centred = np.asarray(x, np.float64) - np.mean(x)

    def slope(means: np.ndarray) -> np.ndarray:
        return means.mean(axis=1) @ centred / (centred @ centred)

    return slope


def mean_relative_loss(groups: int) -> Statistic:
    """The mean of `relative_loss` over as many groups of points, which follow one another."""

    def mean(means: np.ndarray) -> np.ndarray:
        return np.mean([relative_loss(part) for part in np.split(means, groups, axis=-1)], axis=0)

    return mean


def correlation(means: np.ndarray) -> np.ndarray:
    """Pearson's R over tasks of (second point - first) with (last - the one before). NaN where one never differs."""
    x, y = means[..., 1] - means[..., 0], means[..., -1] - means[..., -2]
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    size = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    return np.divide((x * y).sum(axis=1), size, out=np.full_like(size, np.nan), where=size > 1e-12)


def _number(x: float) -> float | None:
    """JSON has no NaN."""
    return float(x) if np.isfinite(x) else None


def how(cells: Sequence[Cell], *, chat: bool) -> str:
    """What has to be said with every number: masks, steps, block length, unmask rule, format, EOS."""
    arrangements = [cell.arrangement for cell in cells]
    masks = sorted({a.masks for a in arrangements if a.form == "generation"})
    shares = sorted({a.share for a in arrangements if a.share})
    numbers = [*map(str, masks), *(f"{100 * share:g} % of the input" for share in shares)]
    infill = ["one, in the answer's place (infilling)"] * any(a.form == "infill" for a in arrangements)
    after = [f"{', '.join(numbers)} after the question, the answer's included (generation)"] * bool(masks)
    decoded = {cell.reading for cell in cells if isinstance(cell.reading, Decoded)}
    steps = sorted({reading.steps for reading in decoded})
    rules = [ORDERS[reading.remasking] for reading in sorted(decoded, key=lambda reading: reading.remasking)]
    once = "one forward, in which the most probable token at the first mask, but [MASK], is the answer"
    several = f"; {', '.join(map(str, steps))} steps, or one for each mask if that is fewer" if steps else ""
    rule = f"; else {' or '.join(dict.fromkeys(rules))}" if rules else ""
    text = "the model's chat template" if chat else "plain text, no chat"
    return (
        f"Masks: {'; '.join(after + infill)}. Steps: {once}{several}. Block length: all masks are one block. Unmask "
        f"rule: none in one forward{rule}. Format: {text}. EOS: a token like any other; as an answer it is wrong."
    )
