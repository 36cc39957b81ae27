"""Tasks: problems as text and a judge for the answers; one file a task, looked up by name."""

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType, NoneType
from typing import Any, Literal, get_args, get_origin

from unveil.specs import read_spec
from unveil.tasks.code.humaneval import HumanEval
from unveil.tasks.code.mbpp import MBPP
from unveil.tasks.code.sandbox import Sandbox
from unveil.tasks.countdown import Countdown
from unveil.tasks.published.countdown_text import CountdownText
from unveil.tasks.published.gsm8k import GSM8K
from unveil.tasks.published.math500 import Math500
from unveil.tasks.published.sudoku_text import SudokuText
from unveil.tasks.published.svamp import SVAMP
from unveil.tasks.rules import Rules
from unveil.tasks.sudoku import Sudoku
from unveil.tasks.sums import Sums
from unveil.tasks.task import Benchmark, Compared, Generated, Problem, Task, Verdict, generated

__all__ = [
    "GSM8K", "MBPP", "SVAMP", "TASKS", "Benchmark", "Compared", "Countdown", "CountdownText", "Generated", "HumanEval",
    "Math500", "Problem", "Rules", "Sudoku", "SudokuText", "Sums", "Task", "Verdict", "generated", "task",
]  # fmt: skip

KINDS = (Sudoku, Countdown, Sums, Rules, GSM8K, Math500, SVAMP, CountdownText, SudokuText, HumanEval, MBPP)
TASKS: Mapping[str, type[Any]] = MappingProxyType({kind.name: kind for kind in KINDS})


def task(spec: str) -> Task:
    """The task that `NAME` or `NAME:key=value,...` names: `sums:canvas=128` is Sums(canvas=128).

    A pair of numbers is written `2-6`. ValueError for an unknown name or key (with the nearest known one), for values
    of the wrong type, and for settings that the task refuses.
    """
    name, texts = read_spec("task", spec, TASKS, _settings)
    legal = _settings(TASKS[name])
    settings = {key: _convert(key, text, legal[key]) for key, text in texts.items()}
    found: Task = TASKS[name](**settings)
    return found


def _settings(kind: type[Any]) -> dict[str, Any]:
    """The fields that can be written in a spec, with their types; sets of problems and a sandbox cannot."""
    written = (field for field in fields(kind) if Sandbox not in get_args(field.type))
    return {field.name: field.type for field in written if get_origin(field.type) is not frozenset}


def _convert(key: str, value: str, annotation: Any) -> Any:
    if NoneType in get_args(annotation):
        if value.lower() == "none":
            return None
        (annotation,) = (kind for kind in get_args(annotation) if kind is not NoneType)
    if get_origin(annotation) is Literal:
        if value not in get_args(annotation):
            raise ValueError(f"{key}={value!r} is not one of {', '.join(get_args(annotation))}")
        return value
    try:
        if get_origin(annotation) is tuple:
            low, dash, high = value.partition("-")
            return int(low), int(high if dash else low)
        return annotation(value)
    except ValueError:
        wanted = {int: "a whole number", float: "a number"}.get(annotation, "two whole numbers such as 2-6")
        raise ValueError(f"{key}={value!r} is not {wanted}") from None
