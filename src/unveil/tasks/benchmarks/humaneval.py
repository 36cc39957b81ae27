"""HumanEval: complete a Python function from its signature and docstring (Chen et al. 2021, arXiv 2107.03374).

Two forms of the question. "complete" is the published one: the code is to be gone on with, where a model has a chat it
is the user's message. "instruct" asks in words and begins the answer with the code, as lm-eval's humaneval_instruct.

No text stops an answer before it is judged: lm-eval's stops (`programs.LEAVING`) would also cut one that writes the
whole function anew, so the judge itself finds where an answer that goes on with the function leaves it.
"""

from dataclasses import dataclass
from os import PathLike
from typing import ClassVar, Literal, get_args

from unveil.sandbox import Sandbox
from unveil.tasks.benchmarks.programs import completed, judged
from unveil.tasks.sources import Item, fetched, items_of
from unveil.tasks.task import OnCanvas, Problem

Form = Literal["complete", "instruct"]
REVISION = "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544"  # of the data on the hub
INSTRUCTION = "Write a solution to the following problem and make sure that it passes the tests:"  # lm-eval's


@dataclass(frozen=True, kw_only=True)
class HumanEval(OnCanvas):
    """`canvas` masks for each answer; answers are judged in the sandbox, and without one not at all."""

    name: ClassVar[str] = "humaneval"

    canvas: int = 512
    form: Form = "complete"
    sandbox: Sandbox | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in get_args(Form):
            raise ValueError(f"form is {self.form!r}; it must be one of {', '.join(get_args(Form))}")

    @property
    def describe(self) -> str:
        """What is asked, what counts as right."""
        return (
            f"HumanEval: a Python function from its signature and docstring, {self.form} form; right when the program "
            "passes the published checks, run in a sandbox"
        )

    def read(self, path: str | PathLike[str]) -> list[Problem]:
        """The published HumanEval.jsonl.gz, or such lines unpacked. ValueError names the file and what is broken."""
        return [self._problem(item) for item in items_of(path)]

    def fetch(self) -> list[Problem]:
        """The 164 problems of openai/openai_humaneval. ValueError if they cannot be had."""
        return [self._problem(item) for item in fetched("openai/openai_humaneval", split="test", revision=REVISION)]

    def _problem(self, item: Item) -> Problem:
        code, entry = item.text("prompt"), item.text("entry_point")
        if not entry.isidentifier():
            raise ValueError(f"{item.place}: 'entry_point' is {entry!r}; it must be the name of a function")
        asked, prefix = code, ""
        if self.form == "instruct":
            asked = f"{INSTRUCTION}\n```python\n{code}\n```\n"
            prefix = f"Here is the completed function:\n```python\n{code}\n"
        return Problem(
            prompt=asked,
            prefix=prefix,
            answer=item.text("canonical_solution"),
            id=item.text("task_id"),
            data={"code": code, "entry": entry, "checks": f"{item.text('test')}\ncheck({entry})\n"},
        )

    def correct(self, problem: Problem, text: str) -> bool:
        """Whether the program that `text` makes of the prompt passes the checks: pass@1.

        ValueError without a sandbox, and where nothing can be isolated.
        """
        code, entry, checks = (problem.data[name] for name in ("code", "entry", "checks"))
        return judged(self, self.sandbox, completed(code, text, entry), checks, [entry])
