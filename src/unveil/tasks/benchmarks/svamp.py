r"""SVAMP: short word problems with numbers that do not matter (Patel et al. 2021, arXiv 2103.07191).

The authors' file SVAMP.json has all 1,000 problems. The test split of published numbers is that of ChilleD/SVAMP on the
hub: 300 of them, the other 700 are for training. How they were drawn nobody says; `svamp_test.json` holds the N of
their IDs "chal-N" in the hub's order, in which `read` gives them, too. It was found by matching the texts of a public
copy of that split (github.com/wlxlatiao666/logic_tree, data/svamp/test.json), whose first rows are those of the hub.

Body and question are joined by a blank; EvoToken's release joins them without.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from typing import ClassVar, Literal, get_args

from unveil.tasks.benchmarks import prompts
from unveil.tasks.benchmarks.prompts import Published
from unveil.tasks.grading.numbers import says_number
from unveil.tasks.grading.published import boxed_number
from unveil.tasks.sources import Item
from unveil.tasks.splits import check_split
from unveil.tasks.task import Problem, Verdict

Part = Literal["test", "train", "all"]


@cache
def _test() -> Mapping[str, int]:
    """The place of each problem of the test split."""
    numbers = json.loads(Path(__file__).with_name("svamp_test.json").read_text("utf-8"))
    return {f"chal-{n}": place for place, n in enumerate(numbers)}


@dataclass(frozen=True, kw_only=True)
class SVAMP(Published):
    """A JSON list of {"ID", "Body", "Question", "Answer"}; `split` says which of a file's problems to take."""

    name: ClassVar[str] = "svamp"
    describe: ClassVar[str] = r"SVAMP: word problems; right when the last \boxed{...}, else <answer>, holds the number"
    instruction: ClassVar[str] = prompts.MATH
    stops: ClassVar[tuple[str, ...]] = prompts.QUESTIONS
    hub: ClassVar[tuple[str, ...]] = ("ChilleD/SVAMP",)
    revision: ClassVar[str] = "5e0bf1e5e7c0e9c4bc39180d224f41f3f801b7ef"

    split: Part = "test"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_split(self.split, get_args(Part))

    def read(self, path: str | PathLike[str]) -> list[Problem]:
        """The problems of the split. ValueError names the file, item and field; also if the file has none of them."""
        problems, test = super().read(path), _test()
        if not problems:
            raise ValueError(f"{path} holds no problems: give the authors' SVAMP.json, a list of them")
        if self.split == "all":
            return problems
        problems = [problem for problem in problems if (problem.id in test) == (self.split == "test")]
        if not problems:
            raise ValueError(f"{path} has no problem of the {self.split} split: write svamp:split=all")
        return sorted(problems, key=lambda problem: test[problem.id]) if self.split == "test" else problems

    def fetch(self) -> list[Problem]:
        """The published test split, from the hub. ValueError if it cannot be had, or for another split."""
        if self.split != "test":
            raise ValueError(f"svamp:split={self.split} is read from the authors' file: give --data SVAMP.json")
        return super().fetch()

    def parsed(self, item: Item) -> Problem:
        """The problem of an item, called by its ID. ValueError names the place and the missing or broken field."""
        name, body, question = map(item.text, ("ID", "Body", "Question"))
        gold = str(item.fields.get("Answer"))  # a number in the authors' file, a text on the hub
        if not re.fullmatch(r"-?\d+(\.\d+)?", gold, re.ASCII):
            raise ValueError(f"{item.place}: 'Answer' is {item.fields.get('Answer')!r}; it must be a number")
        gold = gold.removesuffix(".0")
        worked = prompts.written(str(item.fields.get("Equation", "")), rf"\boxed{{{gold}}}")
        return self.asked(f"{body.strip()} {question.strip()}", worked, name, {"gold": gold})

    def correct(self, problem: Problem, text: str) -> bool:
        """Whether the number in the last box, without a box that in the last <answer>...</answer>, is the right one."""
        return says_number(text, problem.data["gold"])

    def compat(self, problem: Problem, text: str) -> Verdict:
        """What EvoToken's rule says: `grading.published.boxed_number`."""
        return Verdict(boxed_number(text) == float(problem.data["gold"]))
