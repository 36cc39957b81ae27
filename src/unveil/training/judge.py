"""How right an answer is: as a task says, or a function of the user's own, `module:function`."""

import importlib
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import PathFinder
from math import inf
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

from unveil.settings import nearest
from unveil.tasks.task import Problem, Task

EXCERPT = 300  # characters of an answer, or of what is returned, that an error shows
OWN = "write function(problem, text) in a file here, which gives a bool or a number from 0 to 1"
NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
PYTHON = f"{sysconfig.get_path('stdlib')}{os.sep}"
LIBRARY = (PYTHON, *(f"{sysconfig.get_path(name)}{os.sep}" for name in ("purelib", "platlib")))  # no user's code
BREAK = "\n"


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

        It is given an empty answer and, where known, the right one: decoded text can be anything. Nothing is called
        whose signature does not take a problem and a text, and nothing of Python's own library is even imported: it has
        no judges, but functions that delete files. Raises ValueError, with the traceback where the user's code raised,
        for what cannot be imported or called, and as calling does.
        """
        module, colon, name = spec.partition(":")
        if not (module and colon and name):
            raise ValueError(f"reward {spec!r} is not module:function, for example my_rewards:score for my_rewards.py")
        _check_own(spec, module)
        found = _imported(spec, module)
        functions = [name for name, value in vars(found).items() if callable(value) and not name.startswith("_")]
        if name not in functions:
            known = nearest(name, functions) if functions else "it has none"
            raise ValueError(f"reward {spec}: {found.__file__} has no function {name!r}: {known}")
        judge = cls(spec=spec, function=getattr(found, name))
        _check_callable(spec, judge.function)
        for problem in problems:
            for text in ("", problem.answer or ""):
                judge(problem, text)
        return judge

    def __call__(self, problem: Problem, text: str) -> float:
        """How right `text` is. ValueError, naming the problem, where it raises or gives no number from 0 to 1."""
        where = f"reward {self.spec}, problem {problem.id}, answer {text[:EXCERPT]!r}"
        try:
            value = _plain(self.function(problem, text))
        except Exception as error:
            told = _trace(error)
            raise ValueError(f"{where}: it raised{told}{'' if told[:1] == BREAK else f': {OWN}'}") from error
        if not isinstance(value, Real):
            told = f"{repr(value)[:EXCERPT]} of type {_type_name(value)}"
            raise ValueError(f"{where}: it returned {told}: return a bool, or a number from 0 to 1")
        number = _float(value)
        if not 0 <= number <= 1:  # NaN neither
            raise ValueError(f"{where}: it returned {number}: return a bool, or a number from 0 to 1")
        return number


def _plain(value: Any) -> Any:
    """Python's own number of one of numpy's, torch's and others' that is no array."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def _float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:
        return inf


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _check_own(spec: str, module: str) -> None:
    """ValueError for a module of Python's own library, unless a file here has its name; nothing is imported."""
    top = module.partition(".")[0]
    here = None if top in sys.modules else PathFinder.find_spec(top, [str(Path.cwd())])
    if here is None and _is_pythons(top):
        raise ValueError(f"reward {spec}: {top} is of Python's own library, which has no judges: {OWN}")


def _is_pythons(module: str) -> bool:
    """Whether a module is of Python's own library."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return module.partition(".")[0] in sys.stdlib_module_names and (file is None or file.startswith(PYTHON))


def _check_callable(spec: str, function: Callable[..., Any]) -> None:
    """ValueError for what does not take a problem and a text by its signature, or does not give its result at once."""
    if inspect.isroutine(function) and _is_pythons(str(function.__module__)):
        raise ValueError(f"reward {spec} is {function.__qualname__} of Python's own library, no judge: {OWN}")
    if inspect.isclass(function):
        raise ValueError(f"reward {spec} is a class: {OWN}")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise ValueError(f"reward {spec} does not give its result at once (it is async, or yields): {OWN}")
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        raise ValueError(f"reward {spec} does not say what it takes: {OWN}") from None
    try:
        taken = signature.bind("problem", "text").args
    except TypeError as error:
        raise ValueError(f"reward {spec} cannot be called with a problem and a text: {error}") from None
    named = [one for one in signature.parameters.values() if one.kind in NAMED][: len(taken)]
    if len(named) < 2:
        raise ValueError(f"reward {spec} takes anything, {str(signature)[:EXCERPT]}, so it may be no judge: {OWN}")


def _imported(spec: str, module: str) -> ModuleType:
    here = str(Path.cwd())
    sys.path.insert(0, here)  # as python -m does
    try:
        return importlib.import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            raise ValueError(f"reward {spec}: there is no module {module!r} here: run where {module}.py is") from None
        raise ValueError(f"reward {spec}: importing {module} raised{_trace(error)}") from error
    finally:
        with suppress(ValueError):  # the module may have changed the path
            sys.path.remove(here)


def _trace(error: Exception) -> str:
    """The user's part of a traceback; where the error is not in the user's code, one sentence."""
    here = error.__traceback__
    inner = None if here is None else here.tb_next
    frames = [frame.filename for frame in traceback.extract_tb(inner)]
    if all(name.startswith((*LIBRARY, "<")) for name in frames):
        return f" {type(error).__name__}: {str(error)[:EXCERPT] or 'no message'}"
    return BREAK + "".join(traceback.format_exception(type(error), error, inner)).rstrip()
