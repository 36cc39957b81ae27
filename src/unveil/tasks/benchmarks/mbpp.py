r"""MBPP: write a short Python function that passes a few asserts (Austin et al. 2021, arXiv 2108.07732).

Text, as in the paper and in lm-eval's mbpp: "You are an expert Python programmer, and here is your task: {text} Your
code should pass these tests:\n\n{three tests}\n[BEGIN]\n", then the answer and "\n[DONE]". Tasks 2, 3 and 4 with their
answers stand before: the three shots. They are tasks of the data set itself, so a file without them is asked without.

The published parts: tasks 1 to 10 are for prompts, 11 to 510 the test, all further for validation and training.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from typing import ClassVar

from unveil.sandbox import Sandbox
from unveil.tasks.benchmarks.programs import before, defining, future_first, judged, unfenced
from unveil.tasks.sources import Item, fetched, items_of
from unveil.tasks.task import OnCanvas, Problem

DATASET = "google-research-datasets/mbpp"
REVISION = "4bb6404fdc6cacfda99d4ac4205087b89d32030c"
SHOTS, TEST, LAST = (2, 3, 4), range(11, 511), 974
DEFINED = re.compile(r"^(?:async[ \t]+def|def|class)[ \t]+(\w+)", re.MULTILINE)
BEGIN, DONE = "[BEGIN]\n", "[DONE]"


@dataclass(frozen=True, kw_only=True)
class MBPP(OnCanvas):
    """`canvas` masks for each answer; answers are judged in the sandbox, and without one not at all."""

    name: ClassVar[str] = "mbpp"
    describe: ClassVar[str] = (
        "MBPP: a short Python function from a sentence and its tests, after three examples; right when the program "
        "passes the tests, run in a sandbox"
    )
    stops: ClassVar[tuple[str, ...]] = (DONE,)

    canvas: int = 256
    sandbox: Sandbox | None = None

    def read(self, path: str | PathLike[str]) -> list[Problem]:
        """A file of either published form, full or sanitized, as JSON lines or one list.

        Asked is the published test: tasks 1 to 10 and 511 to 974 are left out. Tasks 2 to 4 are shown as examples
        if they are there. ValueError names the file and what is broken in it.
        """
        return _problems(list(items_of(path)))

    def fetch(self) -> list[Problem]:
        """The 500 test problems of google-research-datasets/mbpp. ValueError if they cannot be had."""
        parts = (fetched(DATASET, "full", split=split, revision=REVISION) for split in ("prompt", "test"))
        return _problems(list(chain.from_iterable(parts)))

    def correct(self, problem: Problem, text: str) -> bool:
        """Whether the program in `text`, up to [DONE], passes the tests: pass@1.

        ValueError without a sandbox, and where nothing can be isolated.
        """
        names, checks = problem.data["names"], problem.data["checks"]
        program = future_first(unfenced(before(text, [DONE]).removeprefix(BEGIN), defining(names)))
        return judged(self, self.sandbox, program, checks, names)


def _problems(items: Sequence[Item]) -> list[Problem]:
    shown = "".join(f"{_asked(item)}{BEGIN}{item.text('code')}\n{DONE}\n\n" for item in _shots(items))
    return [_problem(item, shown) for item in items if (number := _number(item)) in TEST or number > LAST]


def _number(item: Item) -> int:
    number = item.fields.get("task_id")
    if not isinstance(number, int):
        raise ValueError(f"{item.place}: 'task_id' is {number!r}; it must be a whole number")
    return number


def _shots(items: Iterable[Item]) -> list[Item]:
    return sorted((item for item in items if _number(item) in SHOTS), key=_number)


def _tests(item: Item) -> list[str]:
    tests = item.texts("test_list")
    if not tests:
        raise ValueError(f"{item.place}: 'test_list' is missing or empty; it must hold the asserts")
    return tests


def _asked(item: Item) -> str:
    """The question of an item, up to where the answer begins."""
    tests = "\n".join(_tests(item)[:3])
    return (
        f"You are an expert Python programmer, and here is your task: {item.text('text', 'prompt')} "
        f"Your code should pass these tests:\n\n{tests}\n"
    )


def _problem(item: Item, shown: str) -> Problem:
    code, tests = item.text("code"), _tests(item)
    names = [name for name in DEFINED.findall(code) if re.search(rf"\b{name}\b", "\n".join(tests))]
    if not names:
        raise ValueError(f"{item.place}: 'test_list' uses nothing that 'code' defines; correct or remove the item")
    # what the tests need: lines of the full form build objects of the answer's classes, so they follow the answer
    setup = item.text("test_setup_code") if str(item.fields.get("test_setup_code", "")).strip() else ""
    needed = [*item.texts("test_imports"), setup]
    return Problem(
        prompt=shown + _asked(item),
        prefix=BEGIN,
        answer=code,
        id=str(_number(item)),
        data={"names": names, "checks": "\n".join([*needed, *tests])},
    )
