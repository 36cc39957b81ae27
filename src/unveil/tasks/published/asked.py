"""What benchmarks asked in words share: the width of the canvas, the message, files of JSON lines, rows of the hub."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from unveil.files import read_jsonl
from unveil.tasks.hub import hub_rows
from unveil.tasks.published.prompts import PREFIX
from unveil.tasks.task import Problem


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A task with an instruction before each question; `canvas` columns for the answer (published: 128, 256, 512)."""

    instruction: ClassVar[str]

    canvas: int = 256

    def __post_init__(self) -> None:
        if self.canvas < 1:
            raise ValueError(f"canvas is {self.canvas}; it must be at least 1")

    @property
    def num_masks(self) -> int:
        """The canvas."""
        return self.canvas

    def asked(self, question: str, answer: str | None, id: str, data: Mapping[str, Any]) -> Problem:
        """The problem of a question."""
        prompt = f"{self.instruction}\n\n{question}"
        return Problem(prompt=prompt, answer=answer, id=id, data=data, prefix=PREFIX)


@dataclass(frozen=True, kw_only=True)
class Published(Asked, ABC):
    """One whose test split is on the hub: `hub` names the repository and, where it has several, the configuration."""

    hub: ClassVar[tuple[str, ...]]
    revision: ClassVar[str]

    @abstractmethod
    def parsed(self, place: str, id: str, item: Mapping[str, Any]) -> Problem:
        """The problem of an item. ValueError names the place and the field that is missing or broken."""

    def read(self, path: str | PathLike[str]) -> list[Problem]:
        """The problems of a JSON-lines file with the published fields. ValueError names the file, line and field."""
        return self.all_of(read_jsonl(path), f"{path}, line", Path(path).stem)

    def fetch(self) -> list[Problem]:
        """The published test split, from the hub. ValueError if it cannot be had."""
        rows = hub_rows(*self.hub, split="test", revision=self.revision)
        return self.all_of(rows, f"{self.hub[0]}, row", "test")

    def all_of(self, items: Iterable[Mapping[str, Any]], place: str, stem: str) -> list[Problem]:
        """Every item's problem; `place` and `stem`, with its number from 1, say where it is and how it is called."""
        return [self.parsed(f"{place} {number}", f"{stem}:{number}", item) for number, item in enumerate(items, 1)]


def text_of(place: str, item: Mapping[str, Any], field: str) -> str:
    """A field that must be a text. ValueError names place, field and value."""
    value = item.get(field)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{place}: {field!r} is {value!r}; it must be a text")
    return value
