r"""Countdown: two equations that make the target of three numbers, each of them used exactly once.

Text: the numbers and the target, a line with "=", then the equations: "15,44,79,50\n=\n" + "44-15=29,79-29=50".

Where problems and answers come from. Numbers are drawn evenly from 1 to 99 until the target can be made; the
answer is the first one found by a search in depth (pairs from left to right, + * - /, the smaller from the larger,
whole quotients): Gandhi et al. 2024, "Stream of Search". This is how `cd3_test.jsonl` was made: the search gives
all of its 1000 answers, character by character. That file has only nine targets, 22 to 96, which its training set
left out; here all targets from 10 to 100 come, but none of the file's problems (see below).

What counts as right. Both published checkers (Dream's for `cd3_test.jsonl`, d1's for `countdown_cd3_test.jsonl`)
want every number used exactly once. This one wants it in two equations, as Dream's does, each of whole numbers that
are there when it is written; d1's takes one expression and fractions. Every problem of both files has such an answer.

What is held out. A problem is known by its numbers in rising order and its target. Those of both files are never
generated: `countdown_test_hashes.json` holds their fingerprints. All others are for training or validation.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Int32, Int64

from unveil.tasks.grading.expressions import EQUATION, exact
from unveil.tasks.sources import items_of
from unveil.tasks.splits import HOPELESS, Drawn, check_draw, check_split, drawn_for, fingerprint
from unveil.tasks.task import Problem

DRAW = 512  # problems drawn at once; fixed, so that the same seed gives the same first problems for any count
HIGHEST = 100  # target and number that a generated problem may have
PAIRS = ((0, 1, 2), (0, 2, 1), (1, 2, 0))  # which two come first, which one is left
OPERATORS = "+*-/"


def known_by(numbers: Sequence[int], target: int) -> str:
    """What tells one problem from another: the numbers in rising order and the target."""
    return ",".join(map(str, sorted(numbers))) + f":{target}"


def _combined(x: Int64[np.ndarray, "*N"], y: Int64[np.ndarray, "*N"]) -> Int64[np.ndarray, "*N 4"]:
    """Sum, product, difference and quotient of two numbers; -1 where there is none in whole numbers."""
    low, high = np.minimum(x, y), np.maximum(x, y)
    quotient, rest = np.divmod(high, np.maximum(low, 1))
    results = np.stack([x + y, x * y, high - low, np.where((low > 0) & (rest == 0), quotient, -1)], axis=-1)
    return np.where((low >= 0)[..., None], results, -1)


def _results(numbers: Int64[np.ndarray, "N 3"]) -> Int64[np.ndarray, "N 48"]:
    """What each of the 48 plans (a pair, an operator for it, an operator for its result) makes, -1 for nothing."""
    made = []
    for i, j, left in PAIRS:
        first = _combined(numbers[:, i], numbers[:, j])
        made.append(_combined(*np.broadcast_arrays(numbers[:, left, None], first)).reshape(-1, 16))
    return np.concatenate(made, axis=1)


def _equation(x: int, y: int, operator: str) -> tuple[str, int]:
    if operator in "-/":
        x, y = max(x, y), min(x, y)
    result = {"+": int.__add__, "*": int.__mul__, "-": int.__sub__, "/": int.__floordiv__}[operator](x, y)
    return f"{x}{operator}{y}={result}", result


def _worked(numbers: Sequence[int], plan: int) -> str:
    """The two equations of a plan."""
    i, j, left = PAIRS[plan // 16]
    first, result = _equation(numbers[i], numbers[j], OPERATORS[plan // 4 % 4])
    return f"{first},{_equation(numbers[left], result, OPERATORS[plan % 4])[0]}"


class _Table(NamedTuple):
    """All problems, by target: numbers[members[start[t] : start[t + 1]]] can make the target t."""

    numbers: Int64[np.ndarray, "P 3"]  # in rising order
    members: Int32[np.ndarray, " M"]
    start: Int64[np.ndarray, " 102"]
    weight: Int64[np.ndarray, " M+1"]  # running sum over members: in how many orders the numbers can stand


@cache
def _table(largest: int) -> _Table:
    numbers = np.array([(a, b, c) for c in range(1, largest + 1) for b in range(1, c + 1) for a in range(1, b + 1)])
    can = np.zeros((len(numbers), HIGHEST + 1), bool)
    for rows in np.array_split(np.arange(len(numbers)), 8):  # in parts, to spare memory
        made = _results(numbers[rows])
        can[rows[:, None], np.where(made <= HIGHEST, np.maximum(made, 0), 0)] = True
    can[:, 0] = False  # zero, and all that is out of range
    targets, members = np.nonzero(can.T)
    same = (numbers[:, 1:] == numbers[:, :-1]).sum(1)
    weight = np.concatenate([[0], np.cumsum(np.array([6, 3, 1])[same[members]])])
    return _Table(numbers, members.astype(np.int32), np.searchsorted(targets, np.arange(HIGHEST + 2)), weight)


@cache
def _test_fingerprints() -> frozenset[str]:
    return frozenset(json.loads(Path(__file__).with_name("countdown_test_hashes.json").read_text()))


@dataclass(frozen=True, kw_only=True)
class Countdown:
    """Three numbers evenly from 1 to `largest`, a target evenly from `targets` (lowest, highest) that they can make.

    `split`: training asks for "train", all else keeps "validation"; the published files are the test.
    `exclude`: problems never to yield besides those of the files, each as `known_by` writes it.
    """

    name: ClassVar[str] = "countdown"
    num_masks: ClassVar[int] = 32

    targets: tuple[int, int] = (10, 100)
    largest: int = 99
    split: Drawn = "validation"
    exclude: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        lowest, highest = self.targets
        if not 1 <= lowest <= highest <= HIGHEST:
            raise ValueError(
                f"targets is {self.targets}; it must be (lowest, highest) with 1 <= lowest <= highest <= {HIGHEST}"
            )
        if not 1 <= self.largest <= HIGHEST:
            raise ValueError(f"largest is {self.largest}; it must be from 1 to {HIGHEST}")
        check_split(self.split, get_args(Drawn))
        for known in self.exclude:
            if not re.fullmatch(r"\d+,\d+,\d+:\d+", known):
                raise ValueError(f"exclude holds {known!r}; write the numbers in rising order and the target: 2,3,5:10")

    @property
    def describe(self) -> str:
        """What is asked, how hard it is, what counts as right."""
        return (
            f"Countdown: three numbers to {self.largest} must make a target of {self.targets[0]} to {self.targets[1]}; "
            "right when two exact equations use every number once and end in the target"
        )

    def alphabet(self) -> list[str]:
        """The tokens of the texts, for a vocabulary of words; they hold sudoku's."""
        return list("0123456789,=+-*/\n")

    def generate(self, count: int, seed: int) -> list[Problem]:
        """`count` problems of the split, drawn independently. ValueError if `exclude` leaves nothing to draw."""
        check_draw(count, seed)
        rng = np.random.default_rng(seed)
        banned = _test_fingerprints() | {fingerprint(known) for known in self.exclude}
        problems: list[Problem] = []
        num_drawn = 0
        while len(problems) < count:
            numbers, targets, plans = self._draw(rng)
            for three, target, plan in zip(numbers.tolist(), targets.tolist(), plans.tolist(), strict=True):
                mark = fingerprint(known_by(three, target))
                if mark not in banned and drawn_for(mark) == self.split:
                    name = f"{self.split}-{seed}-{len(problems)}"
                    problems.append(self.problem(three, target, _worked(three, plan), name))
            num_drawn += DRAW
            if not problems and num_drawn > HOPELESS:
                raise ValueError(f"no {self.split} problem with {self.targets} as targets is left; exclude fewer")
        return problems[:count]

    def _draw(
        self, rng: np.random.Generator
    ) -> tuple[Int64[np.ndarray, "n 3"], Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
        """Numbers, targets, and the plan that the search finds first."""
        table = _table(self.largest)
        span = np.arange(self.targets[0], self.targets[1] + 1)
        span = span[table.start[span] < table.start[span + 1]]
        if not len(span):
            raise ValueError(f"three numbers to {self.largest} make no target in {self.targets}; raise largest")
        targets = rng.choice(span, DRAW)
        at = rng.integers(table.weight[table.start[targets]], table.weight[table.start[targets + 1]])
        member = np.searchsorted(table.weight, at, side="right") - 1
        numbers = rng.permuted(table.numbers[table.members[member]], axis=1)
        hits: Bool[np.ndarray, "n 48"] = _results(numbers) == targets[:, None]
        return numbers, targets, hits.argmax(1)

    @staticmethod
    def problem(numbers: Sequence[int], target: int, answer: str | None, id: str) -> Problem:
        """The problem of three numbers and a target."""
        prompt = ",".join(map(str, [*numbers, target])) + "\n=\n"
        return Problem(prompt=prompt, answer=answer, id=id, data={"numbers": list(numbers), "target": target})

    def read(self, path: str | PathLike[str]) -> list[Problem]:
        """Lines of either published form; the split does not matter.

        {"input": "15,44,79,50", "output": "44-15=29,79-29=50"}: the last number is the target; the output may be left
        out. {"input": "30,100,93", "output": "23"}: the output is the target. ValueError names the file and the line
        that is not JSON, holds no problem, one that cannot be solved, or a wrong answer.
        """
        return [self._parsed(*item) for item in items_of(path)]

    def _parsed(self, place: str, id: str, item: Mapping[str, Any]) -> Problem:
        given, output = item.get("input"), item.get("output")
        written = given if isinstance(given, str) else ""
        answer = output
        if written.count(",") == 2 and isinstance(output, str):  # the second form
            written, answer = f"{written},{output}", None
        if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3}){3}", written, re.ASCII):
            raise ValueError(
                f"{place}: 'input' is {given!r} and 'output' {output!r}; "
                "they must hold three numbers and a target, each from 1 to 9999, with commas between"
            )
        *numbers, target = map(int, written.split(","))
        problem = self.problem(numbers, target, answer if isinstance(answer, str) else None, id)
        if answer is not None and not self.correct(problem, str(answer)):
            raise ValueError(f"{place}: 'output' is {answer!r}, which does not solve {given!r}; correct or remove it")
        if answer is None and target not in _results(np.array([numbers])):
            raise ValueError(f"{place}: {numbers} cannot make {target}; correct or remove the line")
        return problem

    def correct(self, problem: Problem, text: str) -> bool:
        """Whether `text`, blanks at its ends aside, is two exact equations that use every number and end in the target.

        An equation takes two numbers that are there, given or made by the equation before, and puts back its result.
        """
        there = Counter(problem.data["numbers"])
        equations = text.strip().split(",")
        for equation in equations:
            parts = EQUATION.fullmatch(equation)
            if parts is None or not exact(parts):
                return False
            taken = Counter([int(parts[1]), int(parts[3])])
            if taken - there:
                return False
            there = there - taken + Counter([int(parts[4])])
        return there == Counter([problem.data["target"]])
