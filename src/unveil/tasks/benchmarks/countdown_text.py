r"""Countdown asked in words: one expression that makes the target of three numbers, each of them used exactly once.

The problems are those of the task `countdown`, generated or read from either published file. Judged strictly, the
expression is computed exactly, may be LaTeX and may go on with "= target"; + - * / and parentheses are all it may have.
The published rule: `grading.published.expression_makes`.
"""

from dataclasses import dataclass
from typing import ClassVar

from unveil.tasks.benchmarks import prompts
from unveil.tasks.benchmarks.prompts import InWords
from unveil.tasks.grading.boxes import marked
from unveil.tasks.grading.expressions import EQUATION, makes
from unveil.tasks.grading.published import expression_makes
from unveil.tasks.puzzles.countdown import Countdown
from unveil.tasks.task import Problem, Verdict


@dataclass(frozen=True, kw_only=True)
class CountdownText(InWords):
    """As `Countdown`; training asks for the split "train", all else keeps "validation"."""

    name: ClassVar[str] = "countdown-text"
    describe: ClassVar[str] = (
        r"Countdown in words: right when the last \boxed{...}, else <answer>, is an expression that uses every number "
        "once and makes the target"
    )
    instruction: ClassVar[str] = prompts.COUNTDOWN
    plain: ClassVar[type[Countdown]] = Countdown

    def in_words(self, problem: Problem) -> Problem:
        """As d1 writes numbers and target; two equations become one expression."""
        question = f"Numbers: {problem.data['numbers']}\nTarget: {problem.data['target']}"
        worked = None if problem.answer is None else prompts.written(problem.answer, _boxed(problem.answer))
        return self.asked(question, worked, problem.id, problem.data)

    def correct(self, problem: Problem, text: str) -> bool:
        """Whether what is in the last box, without a box in the last <answer>...</answer>, makes the target."""
        found = marked(text)
        return found is not None and makes(found, problem.data["numbers"], problem.data["target"])

    def compat(self, problem: Problem, text: str) -> Verdict:
        """What EvoToken's rule says."""
        return expression_makes(text, problem.data["numbers"], problem.data["target"])


def _boxed(equations: str) -> str:
    """Two equations, "44-15=29,79-29=50", as one expression: "79-(44-15)"."""
    first, second = map(EQUATION.fullmatch, equations.split(","))
    assert first is not None and second is not None
    inner = f"({first[0].partition('=')[0]})"
    sides = (second[1], inner) if second[3] == first[4] else (inner, second[3])
    return rf"\boxed{{{sides[0]}{second[2]}{sides[1]}}}"
