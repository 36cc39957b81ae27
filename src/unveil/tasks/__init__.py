"""Tasks: problems as text and a judge for the answers; one file a task, looked up by name."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from types import MappingProxyType

from unveil.tasks.sudoku import Sudoku
from unveil.tasks.task import Problem, Task

__all__ = ["TASKS", "Problem", "Sudoku", "Task", "task"]

TASKS: Mapping[str, Callable[[], Task]] = MappingProxyType({Sudoku.name: Sudoku})


def task(name: str) -> Task:
    """The task of that name with its default settings. ValueError lists the names and suggests the nearest."""
    if name in TASKS:
        return TASKS[name]()
    nearest = get_close_matches(name, TASKS, n=1, cutoff=0.4)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(f"unknown task {name!r}; the tasks are: {', '.join(TASKS)}{hint}")
