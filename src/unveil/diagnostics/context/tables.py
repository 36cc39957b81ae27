"""Tidy tables of what was read: a line for every point of a probe, shares from 0 to 1."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from unveil.diagnostics.context.cells import Cell, Record
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
    """Which task."""
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
