r"""Sums: word problems in templated English; the answer is a chain of worked steps and a marked result.

Text: "Tom has 5 apples. He buys 3 more. Then he gives 2 apples to Ann. How many apples does Tom have?\n=\n" +
"5+3=8 Tom\n8-2=6 Tom\n#6". All texts are our own.

A problem is one chain: somebody's number, people compared with those before ("Ann has 3 more apples than Tom"), then
what happens to the last of them, perhaps at the end the sum with another one. In `shuffled` problems who has how many
is told in any order: there the order of the steps must be found, which is by far the hardest. Answers have very
different lengths: on a canvas they are followed by EOS. A step says whose number it makes (the sum of two is nobody's):
small models hardly learn to find the next comparison without. It takes at most nine characters with numbers of two
digits, and a name: two to six steps fit 64 tokens, four to ten fit 128, where a name is one token.

What is held out. The text's fingerprint says its split (train, validation, test), so no text is in two of them.
But texts are made of few sentences: problems of another split differ in names and numbers, not in kind.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from random import Random
from typing import Any, ClassVar, NamedTuple

from unveil.tasks.grading.expressions import EQUATION, NUMBER, exact
from unveil.tasks.puzzles.sums_words import (
    ASKED,
    ASKED_OF_TWO,
    BESIDE,
    COMPARED,
    EATEN,
    FOOD,
    HAPPENS,
    HE,
    LINKS,
    SHE,
    START,
    THINGS,
)  # fmt: skip
from unveil.tasks.sources import items_of
from unveil.tasks.splits import Split, check_split, collect
from unveil.tasks.task import Problem

OPERATIONS = ("+", "+", "+", "-", "-", "-", "*", "/")
OF_TWO = 0.25  # share of problems with people compared that ask for two of them together
STEPS = {64: (2, 6), 128: (4, 10)}
STEP = re.compile(EQUATION.pattern + "(?: [A-Z][a-z]+)?")
RESULT = re.compile(NUMBER)


class _Move(NamedTuple):
    operation: str  # + - * /
    number: int  # the right side of the operation; the text says it for + and -
    step: str
    result: int


class _Chain(NamedTuple):
    """What a problem computes, and about whom."""

    people: list[str]  # each is compared with the one before
    others: list[str]  # three who have no number that matters
    values: list[int]  # values[i] is the number before moves[i], the last one is that of the last of the people
    moves: list[_Move]  # the comparisons, then what happens
    second: int | None  # whose number is added in the end


def _right(step: str) -> bool:
    """Whether a line is one exact step; it may say whose number it makes."""
    found = STEP.fullmatch(step)
    return found is not None and exact(found)


def _result(text: str) -> str | None:
    """What follows the only '#', if it is a number."""
    _, mark, tail = text.partition("#")
    return tail.strip() if mark and RESULT.fullmatch(tail.strip()) else None


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Word problems for a canvas of 64 or 128 columns.

    `steps` (fewest, most): drawn evenly; None stands for 2-6 on canvas 64 and 4-10 on 128. `largest`: bound of every
    number in text and answer (numbers in the text are at least 2, results at least 1). `distractors`: share of problems
    with a sentence whose number does not matter. `shuffled`: share of problems with comparisons in any order instead of
    that of the steps. `exclude`: prompts never to yield.
    """

    name: ClassVar[str] = "sums"

    canvas: int = 64
    steps: tuple[int, int] | None = None
    largest: int = 20
    distractors: float = 0.2
    shuffled: float = 0.0
    split: Split = "validation"
    exclude: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.canvas not in STEPS:
            raise ValueError(f"canvas is {self.canvas}; it must be 64 or 128")
        if not 4 <= self.largest <= 999:
            raise ValueError(f"largest is {self.largest}; it must be from 4 to 999")
        digits = len(str(self.largest))
        room = (self.canvas - 1 - digits) // (3 * digits + 4)  # "12+8=20 Tom\n", and "#20" at the end
        fewest, most = self.chain
        if not 1 <= fewest <= most <= room:
            raise ValueError(
                f"steps is {self.chain}; it must be (fewest, most) with 1 <= fewest <= most <= {room}, "
                f"which numbers to {self.largest} fit on canvas {self.canvas}"
            )
        for name in ("distractors", "shuffled"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a share from 0 to 1")
        check_split(self.split)

    @property
    def chain(self) -> tuple[int, int]:
        """The fewest and the most steps."""
        return self.steps or STEPS[self.canvas]

    @property
    def num_masks(self) -> int:
        """The canvas."""
        return self.canvas

    @property
    def describe(self) -> str:
        """What is asked, how hard it is, what counts as right."""
        return (
            f"Sums: word problems of {self.chain[0]} to {self.chain[1]} worked steps with numbers to {self.largest}, "
            f"{self.distractors:.0%} with a number that does not matter, {self.shuffled:.0%} shuffled; right when the "
            "number after '#' is"
        )

    def alphabet(self) -> list[str]:
        """The tokens of the texts, for a vocabulary of words; words and digits with the blank before them, too."""
        templates = [*START, *EATEN, *ASKED, *ASKED_OF_TWO, *BESIDE, *LINKS]
        templates += [text for kind in (COMPARED, HAPPENS) for group in kind.values() for text in group]
        words = {word for text in templates for word in re.findall("[A-Za-z]+", re.sub(r"{\w+}", "", text))}
        words |= {*HE, *SHE, *THINGS, "he", "He", "she", "She", "The"}
        return [*"0123456789+-*/=#.?\n", *HE, *SHE, *(" " + piece for piece in [*"123456789", *sorted(words)])]

    def generate(self, count: int, seed: int) -> list[Problem]:
        """`count` problems of the split, drawn independently. ValueError if nothing is left to draw."""
        return collect(self._draw, count, seed, self.split, self.exclude)

    def _move(self, rng: Random, value: int) -> _Move:
        """A step from `value` that stays within 1 to `largest`."""
        while True:
            operation = rng.choice(OPERATIONS)
            if operation == "+" and value + 2 <= self.largest:
                number = rng.randint(2, self.largest - value)
                return _Move("+", number, f"{value}+{number}={value + number}", value + number)
            if operation == "-" and value > 2:
                number = rng.randint(2, value - 1)
                return _Move("-", number, f"{value}-{number}={value - number}", value - number)
            if operation == "*" and 2 * value <= self.largest:
                return _Move("*", 2, f"{value}*2={2 * value}", 2 * value)
            if operation == "/" and value % 2 == 0:
                return _Move("/", 2, f"{value}/2={value // 2}", value // 2)

    def _chain(self, rng: Random) -> _Chain:
        while True:
            num_steps = rng.randint(*self.chain)
            num_compared = min(rng.choice((0, num_steps, rng.randint(0, num_steps))), len(HE + SHE) - 4)
            of_two = num_compared > 0 and num_steps > 1 and rng.random() < OF_TWO
            moves, values = list[_Move](), [rng.randint(2, self.largest)]
            for _ in range(num_steps - of_two):
                moves.append(self._move(rng, values[-1]))
                values.append(moves[-1].result)
            num_compared = min(num_compared, len(moves))
            second = rng.randrange(num_compared) if of_two else None
            if second is None or values[second] + values[-1] <= self.largest:
                names = rng.sample(HE + SHE, num_compared + 4)
                return _Chain(names[:-3], names[-3:], values, moves, second)

    def _draw(self, rng: Random) -> tuple[str, str, Mapping[str, Any]]:
        """Prompt, answer and what the judge needs."""
        chain = self._chain(rng)
        things, beside = rng.sample(THINGS, 2)
        facts, story = _facts(rng, chain, things, self.shuffled), _story(rng, chain, things)
        if rng.random() < self.distractors:
            values = {"other": chain.others[0], "name": rng.choice(chain.people), "things": things, "others": beside}
            sentence = rng.choice(BESIDE).format(n=rng.randint(2, self.largest), **values)
            at = rng.randrange(len(facts) + 1)
            # before a fact or at the end: "them" and "he" in the story must not point at it
            facts.insert(at, sentence) if at < len(facts) else story.append(sentence)
        asked, step = _asked(rng, chain, things)
        owners = chain.people[1:] + chain.people[-1:] * len(chain.moves)
        steps = [f"{move.step} {owner}" for move, owner in zip(chain.moves, owners, strict=False)] + step
        result = chain.values[-1] + (0 if chain.second is None else chain.values[chain.second])
        prompt = " ".join([*facts, *story, asked]) + "\n=\n"
        return prompt, "\n".join([*steps, f"#{result}"]), {"result": result}

    def read(self, path: str | PathLike[str]) -> list[Problem]:
        r"""Lines {"input": the text and the question, "output": steps, a line each, then "#" and the result}.

        The steps may be left out; the split does not matter. ValueError names the file and the line that is not JSON,
        has no text, no marked result, or a wrong step.
        """
        return [_parsed(*item) for item in items_of(path)]

    def correct(self, problem: Problem, text: str) -> bool:
        """Whether the number after the only '#' is the result, blanks around it aside; the steps do not matter."""
        return _result(text) == str(problem.data["result"])

    def worked(self, problem: Problem, text: str) -> bool:
        """Whether it is correct, every line before the '#' is an exact step, and the last step makes the result."""
        *steps, rest = text.strip().partition("#")[0].split("\n")
        right = bool(steps) and not rest and all(map(_right, steps)) and self.correct(problem, text)
        return right and f"={problem.data['result']} " in steps[-1] + " "


def _facts(rng: Random, chain: _Chain, things: str, shuffled: float) -> list[str]:
    """Who has how many, in the order of the steps, or sometimes in any."""
    facts = [rng.choice(START).format(name=chain.people[0], n=chain.values[0], things=things)]
    for base, name, move in zip(chain.people, chain.people[1:], chain.moves, strict=False):
        template = rng.choice(COMPARED[move.operation])
        facts.append(template.format(name=name, base=base, n=move.number, things=things))
    if rng.random() < shuffled:
        rng.shuffle(facts)
    return facts


def _story(rng: Random, chain: _Chain, things: str) -> list[str]:
    """What happens to the last of the people, in order."""
    name, num_compared = chain.people[-1], len(chain.people) - 1
    pronoun = "he" if name in HE else "she"
    alone = num_compared == 0  # the sentence before is about nobody else: the pronoun is clear
    story = []
    for move in chain.moves[num_compared:]:
        template = rng.choice(HAPPENS[move.operation] + (EATEN if move.operation == "-" and things in FOOD else ()))
        who = pronoun if alone and rng.random() < 0.6 else name
        other = rng.choice(chain.others[1:])
        sentence = template.format(who=who, name=name, other=other, n=move.number, things=things)
        link = rng.choice(LINKS)
        story.append(link + sentence if link else sentence[0].upper() + sentence[1:])
        alone = "{other}" not in template
    return story


def _asked(rng: Random, chain: _Chain, things: str) -> tuple[str, list[str]]:
    """The question, and the step that it adds, if any."""
    if chain.second is None:
        return rng.choice(ASKED).format(name=chain.people[-1], things=things), []
    both = [(chain.people[-1], chain.values[-1]), (chain.people[chain.second], chain.values[chain.second])]
    rng.shuffle(both)
    (name, x), (base, y) = both
    return rng.choice(ASKED_OF_TWO).format(name=name, base=base, things=things), [f"{x}+{y}={x + y}"]


def _parsed(place: str, id: str, item: Mapping[str, Any]) -> Problem:
    text, output = item.get("input"), item.get("output")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{place}: 'input' is {text!r}; it must be the text of a problem")
    result = _result(output) if isinstance(output, str) else None
    if not isinstance(output, str) or result is None:
        raise ValueError(f"{place}: 'output' is {output!r}; it must end with one '#' and a whole number, as '#8'")
    for step in output.strip().partition("#")[0].split("\n"):
        if step and not _right(step):
            raise ValueError(f"{place}: 'output' has the step {step!r}, which is not exact; write a line such as 5+3=8")
    return Problem(prompt=text.strip() + "\n=\n", answer=output.strip(), id=id, data={"result": int(result)})
