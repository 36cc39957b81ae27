"""What a task is: problems as text, and a judge. No tokens, no tensors.

Some tasks can do more: make fresh problems (`Generated`), have the published ones from the hub (`Benchmark`), judge
as published work does (`Compared`), say where an answer to a raw prompt ends (`Stopped`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One item of a task."""

    prompt: str  # what the model is given
    answer: str | None  # one worked solution where it is known; others may be as right
    id: str  # names the item within its file or its seed
    data: Mapping[str, Any] = field(default_factory=dict, hash=False)  # what the judge needs
    prefix: str = ""  # how the answer begins: given to the model, in the assistant's turn of a chat, and not judged


@dataclass(frozen=True, kw_only=True)
class OnCanvas:
    """What tasks have in common whose answers may have any length: `canvas` masks for each."""

    canvas: int

    def __post_init__(self) -> None:
        if self.canvas < 1:
            raise ValueError(f"canvas is {self.canvas}; it must be at least 1")

    @property
    def num_masks(self) -> int:
        """The canvas."""
        return self.canvas


class Verdict(NamedTuple):
    """What a published rule says of an answer."""

    right: bool
    remark: str = ""  # why the rule was not followed to its end, such as "beyond bounds"; remarks are counted


@runtime_checkable
class Task(Protocol):
    """A frozen dataclass; its fields are its configuration."""

    @property
    def name(self) -> str:
        """As the command line calls it."""

    @property
    def describe(self) -> str:
        """One sentence for a stranger: what is asked, what counts as right."""

    @property
    def num_masks(self) -> int:
        """How many [MASK]s follow the prompt."""

    def read(self, path: str | PathLike[str]) -> list[Problem]:
        """The problems of a file. ValueError names the file and what is broken in it."""

    def correct(self, problem: Problem, text: str) -> bool:
        """Whether `text` (the decoded answer) solves `problem`."""


@runtime_checkable
class Generated(Task, Protocol):
    """A task that makes its problems."""

    def generate(self, count: int, seed: int) -> list[Problem]:
        """Fresh problems; fewer of them with the same seed are the first ones of more."""


@runtime_checkable
class Benchmark(Task, Protocol):
    """A task whose problems are published."""

    def fetch(self) -> list[Problem]:
        """The published test split, from the Hugging Face hub. ValueError if it cannot be had."""


@runtime_checkable
class Compared(Task, Protocol):
    """A task that is also judged by a published rule, so that numbers can be compared; `correct` is stricter."""

    def compat(self, problem: Problem, text: str) -> Verdict:
        """What the published rule says of `text`."""


@runtime_checkable
class Forgiving(Task, Protocol):
    """A task whose strict judge also reads answers in other forms than the one that is asked for, and says which."""

    def form(self, problem: Problem, text: str) -> str:
        """The form of `text`, such as "unclosed box"; empty for the one that is asked for, or for no answer."""


@runtime_checkable
class Stopped(Task, Protocol):
    """A task whose raw prompts a model may go on from: after the answer it writes another question."""

    @property
    def stops(self) -> tuple[str, ...]:
        """An answer to text alone is cut before the first of these, as lm-eval's `until` for this task."""


def generated(task: Task, remedy: str) -> Generated:
    """The task as one that makes problems. ValueError, with the remedy, if it cannot."""
    if not isinstance(task, Generated):
        raise ValueError(f"task {task.name} cannot make problems: {remedy}")
    return task


DEFAULT_LIMIT = 200  # fresh problems, where no number is said


def problems_of(task: Task, data: Path | None, limit: int | None, seed: int) -> list[Problem]:
    """The problems of the file; else fresh ones where the task makes them, or the published ones.

    ValueError for an empty file, or where none can be had.
    """
    if data is not None:
        problems = task.read(data)[:limit]
        if not problems:
            raise ValueError(f"{data} holds no problem: every line must be one")
        return problems
    if isinstance(task, Generated):
        return task.generate(DEFAULT_LIMIT if limit is None else limit, seed)
    if isinstance(task, Benchmark):
        return task.fetch()[:limit]
    raise ValueError(f"task {task.name} neither makes problems nor fetches them: give --data FILE")
