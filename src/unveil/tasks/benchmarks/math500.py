r"""MATH-500: problems of competitions (Hendrycks et al. 2021; the 500 of Lightman et al. 2023).

Judged strictly, what is in the last box, without a box in the last <answer>...</answer>, must equal the right answer as
mathematics (`grading.mathematics`). The published rule compares strings after some tidying.
"""

from dataclasses import dataclass
from typing import ClassVar

from unveil.tasks.benchmarks import prompts
from unveil.tasks.benchmarks.prompts import Published
from unveil.tasks.grading.boxes import marked
from unveil.tasks.grading.mathematics import check_installed, equal
from unveil.tasks.grading.published import boxed_text, same_mathematics
from unveil.tasks.sources import Item
from unveil.tasks.task import Problem, Verdict


@dataclass(frozen=True, kw_only=True)
class Math500(Published):
    """Lines {"problem", "solution", "answer", "unique_id"}; needs math-verify."""

    name: ClassVar[str] = "math500"
    describe: ClassVar[str] = r"MATH-500: right when the last \boxed{...}, else <answer>, equals the answer"
    instruction: ClassVar[str] = prompts.MATH
    stops: ClassVar[tuple[str, ...]] = prompts.PROBLEMS
    hub: ClassVar[tuple[str, ...]] = ("HuggingFaceH4/MATH-500",)
    revision: ClassVar[str] = "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_installed()

    def parsed(self, item: Item) -> Problem:
        """The problem of an item, called by its unique_id. ValueError names the place and the missing field."""
        question, gold, name = map(item.text, ("problem", "answer", "unique_id"))
        worked = prompts.written(item.text("solution"), rf"\boxed{{{gold}}}")
        return self.asked(question, worked, name, {"gold": gold})

    def correct(self, problem: Problem, text: str) -> bool:
        """Whether what is in the last box, without a box in the last <answer>...</answer>, equals the answer."""
        found = marked(text)
        return found is not None and equal(found, problem.data["gold"])

    def compat(self, problem: Problem, text: str) -> Verdict:
        """What EvoToken's rule says: `grading.published.boxed_text` and `same_mathematics`."""
        found = boxed_text(text)
        return Verdict(found is not None and same_mathematics(found, problem.data["gold"]))
