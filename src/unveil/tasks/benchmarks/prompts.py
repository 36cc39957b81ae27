r"""The words in which the problems are asked, to the letter, oddities included, so that numbers can be compared.

Source: d1 (Zhao et al. 2025, "d1: Scaling reasoning in diffusion large language models via reinforcement learning",
github.com/dllm-reasoning/d1, Apache-2.0), eval/gsm8k.py, math500.py, countdown.py and sudoku.py. EvoToken's release
(Zhong et al. 2026, arXiv 2601.07351) and that of the learned unmasking policies (Jazbec et al. 2025, arXiv 2512.09106)
ask in the same words. One message of the user holds an instruction, a blank line and the question; the answer begins
with PREFIX, which the model is given.
"""


from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, ClassVar

from unveil.tasks.grading.boxes import answered
from unveil.tasks.puzzles.countdown import Countdown
from unveil.tasks.puzzles.sudoku import Sudoku
from unveil.tasks.sources import Item, fetched, items_of
from unveil.tasks.splits import Drawn
from unveil.tasks.task import OnCanvas, Problem

PREFIX = "<reasoning>"
FORM = """
Respond in the following format:
<reasoning>
Your reasoning here
</reasoning>
<answer>
\\boxed{...}
</answer>"""
MATHS = (
    "You are a math expert. You will be given a question to solve. Solve it step by step. "
    "Wrap the final answer in a \\boxed{}."
)
GSM8K = f"{MATHS} {FORM}"
MATH = f'{MATHS}{FORM}" \n'  # of MATH-500 and SVAMP; the quotation mark is theirs
COUNTDOWN = (
    "Using only the provided numbers, create an arithmetic expression that evaluates to exactly the provided target "
    "number. You may use the operations +, -, *, and / as needed, but each number must be used exactly once. Think "
    "step-by-step. After reasoning, provide only your final expression inside \\boxed{} tags without including an "
    "equals sign or the target number. For example: \\boxed{a + b * c}" + FORM.removeprefix("\n")
)
SUDOKU = """
Please solve the following 4x4 Sudoku puzzle. The puzzle is provided as a 16-character string reading left-to-right, \
top-to-bottom, where '0' represents empty cells.

Rules:
- Fill empty cells with digits 1-4
- Each row must contain digits 1-4 exactly once
- Each column must contain digits 1-4 exactly once
- Each 2x2 box must contain digits 1-4 exactly once

Important: Your solution must be a COMPLETE 16-character string with only the digits 1-4, representing your final \
solved grid.

Respond in this exact format:
<reasoning>
Your step-by-step solving process
</reasoning>
<answer>
[16-character solution string with no spaces or separators]
</answer>
"""


QUESTIONS = ("Question:", "</s>", "<|im_end|>")  # what ends an answer to raw text: lm-eval's for GSM8K
PROBLEMS = ("Problem:",)  # lm-eval's for MATH


def written(reasoning: str, answer: str) -> str:
    """An answer in the form that is asked for, after PREFIX."""
    return f"{reasoning}\n</reasoning>\n<answer>\n{answer}\n</answer>"


@dataclass(frozen=True, kw_only=True)
class Asked(OnCanvas):
    """A task with an instruction before each question; `canvas` columns for the answer (published: 128, 256, 512)."""

    instruction: ClassVar[str]
    stops: ClassVar[tuple[str, ...]] = ()

    canvas: int = 256

    def asked(self, question: str, answer: str | None, id: str, data: Mapping[str, Any]) -> Problem:
        """The problem of a question."""
        prompt = f"{self.instruction}\n\n{question}"
        return Problem(prompt=prompt, answer=answer, id=id, data=data, prefix=PREFIX)

    def form(self, problem: Problem, text: str) -> str:
        r"""In which form other than \boxed{...} the strict judge reads `text`, such as "unclosed box"; else empty."""
        found = answered(text)
        return "" if found is None else found.remark


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
