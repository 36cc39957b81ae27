"""How right an answer is: as a task says, or a function of the user's own, `module:function`."""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

from unveil.settings import nearest
from unveil.tasks.task import Problem, Task

EXCERPT = 300  # characters of an answer that an error shows


@dataclass(frozen=True, kw_only=True)
class TaskJudge:
    """1 for what the task takes as right, else 0."""

    task: Task

    def __call__(self, problem: Problem, text: str) -> float:
        """How right `text` is."""
        return float(self.task.correct(problem, text))


@dataclass(frozen=True, kw_only=True)
class FunctionJudge:
    """A user's function of a problem and a decoded answer; it gives a bool or a number from 0 to 1."""

    spec: str
    function: Callable[..., Any]

    @classmethod
    def load(cls, spec: str, problems: Sequence[Problem]) -> "FunctionJudge":
        """Import `module:function`, in the current folder or installed, and try it on some problems.

        It is given an empty answer and, where known, the right one: decoded text can be anything. Raises ValueError,
        with the traceback where the user's code raised, for what cannot be imported or called, and as calling does.
        """
        module, colon, name = spec.partition(":")
        if not (module and colon and name):
            raise ValueError(f"reward {spec!r} is not module:function, for example my_rewards:score for my_rewards.py")
        found = _imported(spec, module)
        functions = [name for name, value in vars(found).items() if callable(value) and not name.startswith("_")]
        if name not in functions:
            known = nearest(name, functions) if functions else "it has none"
            raise ValueError(f"reward {spec}: {found.__file__} has no function {name!r}: {known}")
        judge = cls(spec=spec, function=getattr(found, name))
        try:
            inspect.signature(judge.function).bind("problem", "text")
        except TypeError as error:
            raise ValueError(f"reward {spec} cannot be called with a problem and a text: {error}") from None
        for problem in problems:
            for text in ("", problem.answer or ""):
                judge(problem, text)
        return judge

    def __call__(self, problem: Problem, text: str) -> float:
        """How right `text` is. ValueError, naming the problem, where it raises or gives no number from 0 to 1."""
        where = f"reward {self.spec}, problem {problem.id}, answer {text[:EXCERPT]!r}"
        try:
            value = self.function(problem, text)
        except Exception as error:
            raise ValueError(f"{where}: it raised\n{_trace(error)}") from error
        if not isinstance(value, Real):
            kind = type(value).__qualname__
            raise ValueError(f"{where}: it returned {value!r} of type {kind}: return a bool, or a number from 0 to 1")
        number = float(value)
        if not 0 <= number <= 1:  # NaN neither
            raise ValueError(f"{where}: it returned {number}: return a bool, or a number from 0 to 1")
        return number


def _imported(spec: str, module: str) -> ModuleType:
    here = str(Path.cwd())
    sys.path.insert(0, here)  # as python -m does
    try:
        return importlib.import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            raise ValueError(f"reward {spec}: there is no module {module!r} here: run where {module}.py is") from None
        raise ValueError(f"reward {spec}: importing {module} raised\n{_trace(error)}") from error
    finally:
        sys.path.remove(here)


def _trace(error: Exception) -> str:
    """The user's part of a traceback."""
    here = error.__traceback__
    return "".join(traceback.format_exception(type(error), error, None if here is None else here.tb_next)).rstrip()
