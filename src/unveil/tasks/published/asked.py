"""What benchmarks asked in words share: the message; their problems from files and the hub, or from another task."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar

from unveil.tasks.countdown import Countdown
from unveil.tasks.items import Item, fetched, items_of
from unveil.tasks.published.prompts import PREFIX
from unveil.tasks.splits import Drawn
from unveil.tasks.sudoku import Sudoku
from unveil.tasks.task import OnCanvas, Problem


@dataclass(frozen=True, kw_only=True)
class Asked(OnCanvas):
    """A task with an instruction before each question; `canvas` columns for the answer (published: 128, 256, 512)."""

    instruction: ClassVar[str]

    canvas: int = 256

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
    def parsed(self, item: Item) -> Problem:
        """The problem of an item. ValueError names the place and the field that is missing or broken."""

    def read(self, path: str | PathLike[str]) -> list[Problem]:
        """The problems of a file with the published fields, as `items_of`. ValueError names the item and field."""
        return [self.parsed(item) for item in items_of(path)]

    def fetch(self) -> list[Problem]:
        """The published test split, from the hub. ValueError if it cannot be had."""
        return [self.parsed(item) for item in fetched(*self.hub, split="test", revision=self.revision)]


@dataclass(frozen=True, kw_only=True)
class InWords(Asked, ABC):
    """One with the problems of another task: `plain`, with its default settings."""

    plain: ClassVar[type[Countdown] | type[Sudoku]]

    split: Drawn = "validation"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.plain(split=self.split)

    @abstractmethod
    def in_words(self, problem: Problem) -> Problem:
        """A problem of `plain` as it is asked here."""

    def generate(self, count: int, seed: int) -> list[Problem]:
        """`count` problems of the split, drawn independently."""
        return [self.in_words(problem) for problem in self.plain(split=self.split).generate(count, seed)]

    def read(self, path: str | PathLike[str]) -> list[Problem]:
        """The problems of a published file, as `plain` reads it."""
        return [self.in_words(problem) for problem in self.plain().read(path)]
