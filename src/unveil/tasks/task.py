"""What a task is: problems as text, and a judge. No tokens, no tensors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One item of a task."""

    prompt: str  # what the model is given
    answer: str | None  # one worked solution where it is known; others may be as right
    id: str  # names the item within its file or its seed
    data: Mapping[str, Any] = field(default_factory=dict, hash=False)  # what the judge needs
    prefix: str = ""  # how the answer begins: given to the model, in the assistant's turn of a chat, and not judged


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

    def generate(self, count: int, seed: int) -> list[Problem]:
        """Fresh problems; fewer of them with the same seed are the first ones of more."""

    def read(self, path: str | PathLike[str]) -> list[Problem]:
        """The problems of a JSON-lines file. ValueError names the file and the broken line."""

    def correct(self, problem: Problem, text: str) -> bool:
        """Whether `text` (the decoded answer) solves `problem`."""
