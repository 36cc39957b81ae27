"""What is measured: a layout of prompts and how the answer is read from the model; and what comes back.

Two probes that need the same cell share its records.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from unveil.decoding.model import Model
from unveil.diagnostics.context.few_shot.shots import Arrangement
from unveil.diagnostics.context.rows import Row


@runtime_checkable
class Reading(Protocol):
    """How an answer is read. A frozen dataclass: its repr names it in records."""

    def __call__(self, model: Model, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """For each row what was read, as JSON types; rows may be of different lengths and never change each other."""
        ...


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One setting of an experiment: the same for every task, draw and question."""

    arrangement: Arrangement
    reading: Reading

    @property
    def key(self) -> str:
        """Names the cell in records."""
        return f"{self.arrangement!r} {self.reading!r}"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What was read of one question in one cell."""

    task: str
    draw: int
    question: int
    cell: str  # Cell.key
    label: str  # the right answer
    masks: int  # in the prompt, the answer's included
    columns: int  # of the prompt, all in all
    found: dict[str, Any]  # what the reading gave: "answer", "correct", "confidence" and more
