r"""GSM8K: word problems of grade school (Cobbe et al. 2021, "Training verifiers to solve math word problems").

Judged strictly, the number in the last box counts, without a box that in the last <answer>...</answer>. The published
rule never takes a negative number as the right one (two of the test's 1,319 are negative), and reads 1,234 as 1.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

from unveil.tasks.benchmarks import prompts
from unveil.tasks.benchmarks.prompts import Published
from unveil.tasks.grading.numbers import number, says_number
from unveil.tasks.grading.published import boxed_number
from unveil.tasks.sources import Item
from unveil.tasks.task import Problem, Verdict

GOLD = re.compile(r"\s*\$?([\d,]+(?:\.\d+)?)")  # as the release reads it
WORKING = re.compile(r"<<[^<>]*>>")  # a calculator's, between the words


@dataclass(frozen=True, kw_only=True)
class GSM8K(Published):
    """Lines {"question": ..., "answer": worked steps, then "#### " and the number}."""

    name: ClassVar[str] = "gsm8k"
    describe: ClassVar[str] = r"GSM8K: word problems; right when the last \boxed{...}, else <answer>, holds the number"
    instruction: ClassVar[str] = prompts.GSM8K
    stops: ClassVar[tuple[str, ...]] = prompts.QUESTIONS
    hub: ClassVar[tuple[str, ...]] = ("openai/gsm8k", "main")
    revision: ClassVar[str] = "cc7b047b6e5bb11b4f1af84efc572db110a51b3c"

    def parsed(self, item: Item) -> Problem:
        """The problem of an item. ValueError names the place and the field that is missing or broken."""
        question, answer = item.text("question"), item.text("answer")
        steps, found, gold = answer.rpartition("####")
        if not found or number(gold) is None:
            raise ValueError(f"{item.place}: 'answer' ends in {answer[-40:]!r}; it must end in '#### ' and a number")
        worked = prompts.written(WORKING.sub("", steps).strip(), rf"\boxed{{{gold.strip()}}}")
        return self.asked(question, worked, item.id, {"gold": gold.strip()})

    def correct(self, problem: Problem, text: str) -> bool:
        """Whether the number in the last box, without a box that in the last <answer>...</answer>, is the right one."""
        return says_number(text, problem.data["gold"])

    def compat(self, problem: Problem, text: str) -> Verdict:
        """What EvoToken's rule says: `grading.published.boxed_number`."""
        gold, found = GOLD.match(problem.data["gold"]), boxed_number(text)
        return Verdict(gold is not None and found == float(gold[1].replace(",", "")))
