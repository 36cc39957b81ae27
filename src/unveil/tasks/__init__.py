"""Tasks: problems as text and a judge for the answers; one file a task, looked up by name."""

from dataclasses import fields
from typing import Any, get_args, get_origin

from unveil import catalogue
from unveil.sandbox import Sandbox
from unveil.settings import convert, split_spec
from unveil.tasks.benchmarks.countdown_text import CountdownText
from unveil.tasks.benchmarks.gsm8k import GSM8K
from unveil.tasks.benchmarks.humaneval import HumanEval
from unveil.tasks.benchmarks.math500 import Math500
from unveil.tasks.benchmarks.mbpp import MBPP
from unveil.tasks.benchmarks.sudoku_text import SudokuText
from unveil.tasks.benchmarks.svamp import SVAMP
from unveil.tasks.puzzles.countdown import Countdown
from unveil.tasks.puzzles.rules import Rules
from unveil.tasks.puzzles.sudoku import Sudoku
from unveil.tasks.puzzles.sums import Sums
from unveil.tasks.task import Benchmark, Compared, Generated, Problem, Task, Verdict, generated

__all__ = [
    "GSM8K", "MBPP", "SVAMP", "Benchmark", "Compared", "Countdown", "CountdownText", "Generated", "HumanEval",
    "Math500", "Problem", "Rules", "Sudoku", "SudokuText", "Sums", "Task", "Verdict", "generated", "task",
]  # fmt: skip


def task(spec: str | Task) -> Task:
    """The task that `NAME` or `NAME:key=value,...` names: `sums:canvas=128` is Sums(canvas=128). A task stays itself.

    A pair of numbers is written `2-6`. ValueError for an unknown name or key (with the nearest known one), for values
    of the wrong type, and for settings that the task refuses.
    """
    if not isinstance(spec, str):
        return spec
    known = catalogue.tasks()
    name, texts = split_spec("task", spec, known, lambda entry: _settings(entry.load()))
    kind = known[name].load()
    legal = _settings(kind)
    found = kind(**{key: convert(key, text, legal[key]) for key, text in texts.items()})
    if lacking := [one for one in ("name", "describe", "num_masks", "read", "correct") if not hasattr(found, one)]:
        raise ImportError(f"task {name} has no {', '.join(lacking)}: give it what every Task has")
    made: Task = found
    return made


def _settings(kind: type[Any]) -> dict[str, Any]:
    """The fields that can be written in a spec, with their types; sets of problems and a sandbox cannot."""
    written = (field for field in fields(kind) if Sandbox not in get_args(field.type))
    return {field.name: field.type for field in written if get_origin(field.type) is not frozenset}
