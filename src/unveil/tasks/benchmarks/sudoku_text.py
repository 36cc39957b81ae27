r"""4x4 Sudoku asked in words, as d1 does: the puzzle is 16 digits in a row, and so is the answer.

The puzzles are those of the task `sudoku`, generated or read from the published files; any solution by the rules is
right. The 16 digits are looked for in the last box, without a box in the last <answer>...</answer>; blanks and line
breaks between them do not matter. d1 counts the empty cells that agree with one given solution, which is no share of
problems solved; it is left out.
"""

from dataclasses import dataclass
from typing import ClassVar

from unveil.tasks.benchmarks import prompts
from unveil.tasks.benchmarks.prompts import InWords
from unveil.tasks.grading.boxes import marked
from unveil.tasks.puzzles.sudoku import Sudoku
from unveil.tasks.task import Problem


@dataclass(frozen=True, kw_only=True)
class SudokuText(InWords):
    """As `Sudoku`; training asks for the split "train", all else keeps "validation"."""

    name: ClassVar[str] = "sudoku-text"
    describe: ClassVar[str] = (
        r"4x4 Sudoku in words: right when the last \boxed{...}, else <answer>, holds 16 digits in which rows, columns, "
        "boxes and givens hold"
    )
    instruction: ClassVar[str] = prompts.SUDOKU
    plain: ClassVar[type[Sudoku]] = Sudoku

    def in_words(self, problem: Problem) -> Problem:
        """Puzzle and solution as 16 digits in a row."""
        question = f"Solve the following Sudoku puzzle: {problem.data['givens']}\n"
        worked = None if problem.answer is None else prompts.written("", problem.answer.replace("\n", ""))
        return self.asked(question, worked, problem.id, problem.data)

    def correct(self, problem: Problem, text: str) -> bool:
        """Whether the 16 digits keep the rules and the givens."""
        digits = "".join((marked(text) or "").split())
        lines = (digits[row : row + 4] for row in range(0, len(digits), 4))
        return Sudoku().correct(problem, "\n".join(lines))
