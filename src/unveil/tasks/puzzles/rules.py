r"""Rules: a few examples choose one of three words by an unstated rule; choose for the last three words.

Text: "cat, run, blue\n-> run\nsit, horse, cow\n-> sit\ngreen, pig, walk\n->" + " walk". The rule is a place (first,
middle, last) or a category (the verb, while the two others are of one other category). The examples never fit a
place and a category at once. The form follows the extractive sets of Todd et al. 2023, "Function Vectors in Large
Language Models"; the words shipped (`rules_pools.json`) are our own choice.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from unveil.tasks.sources import items_of
from unveil.tasks.splits import Split, check_split, collect
from unveil.tasks.task import Problem

PLACES = ("first", "middle", "last")
FORM = re.compile(r"(\w+, \w+, \w+\n-> \w+\n)*(\w+), (\w+), (\w+)\n->")

Pools = dict[str, tuple[str, ...]]  # category -> words


@cache
def _pools(path: str | None) -> Pools:
    """The words of each category: only such that are one word and in no other category."""
    file = Path(__file__).with_name("rules_pools.json") if path is None else Path(path)
    plain = apart(read_lists(file))
    pools = {category: words for category, words in plain.items() if len(words) >= 3}
    if len(pools) < 2:
        raise ValueError(f"{file} has {len(pools)} categories with three words of their own; two are needed")
    return pools


@dataclass(frozen=True, kw_only=True)
class Rules:
    """`rule`: first, middle, last or a category of the pools; None draws one for each problem.

    `num_examples` before the words to choose from, at least 2. `pools`: a JSON file of word lists by category, such as
    the published `categories.json`, instead of our own; words in two categories or of two words are left out.
    """

    name: ClassVar[str] = "rules"
    num_masks: ClassVar[int] = 8

    rule: str | None = None
    num_examples: int = 5
    pools: str | None = None
    split: Split = "validation"

    def __post_init__(self) -> None:
        known = (*PLACES, *_pools(self.pools))
        if self.rule is not None and self.rule not in known:
            raise ValueError(f"rule is {self.rule!r}; it must be one of {', '.join(known)}")
        if not 2 <= self.num_examples <= 100:
            raise ValueError(f"num_examples is {self.num_examples}; it must be from 2 to 100")
        check_split(self.split)

    @property
    def describe(self) -> str:
        """What is asked, how hard it is, what counts as right."""
        return (
            f"Rules: {self.num_examples} examples choose one of three words by {self.rule or 'a place or a category'}; "
            "right when the first line of the answer is the word of the last three"
        )

    def alphabet(self) -> list[str]:
        """The tokens of the texts, for a vocabulary of words: each word with and without a blank before it."""
        words = [word for pool in _pools(self.pools).values() for word in pool]
        return [*",->\n", *words, *(" " + word for word in words)]

    def generate(self, count: int, seed: int) -> list[Problem]:
        """`count` problems of the split, drawn independently."""
        return collect(self._draw, count, seed, self.split)

    def _draw(self, rng: Random) -> tuple[str, str, Mapping[str, Any]]:
        """Prompt, answer and what the judge needs."""
        pools = _pools(self.pools)
        # a place is as frequent as any category
        rule = self.rule or rng.choice((*PLACES, *pools))
        while True:
            triples = [self._triple(rng, rule) for _ in range(self.num_examples + 1)]
            examples = triples[:-1]
            places = {words.index(chosen) for words, chosen in examples}
            alone = [_category(pools, chosen) for words, chosen in examples if _differs(pools, words, chosen)]
            by_category = len(alone) == len(examples) and len(set(alone)) == 1
            if (len(places) == 1) != by_category:
                break
        *lines, last = [f"{', '.join(words)}\n->" for words, _ in triples]
        shown = "".join(f"{line} {chosen}\n" for line, (_, chosen) in zip(lines, examples, strict=True))
        answer = triples[-1][1]
        return shown + last, " " + answer, {"answer": answer}

    def _triple(self, rng: Random, rule: str) -> tuple[list[str], str]:
        """Three words and the one that the rule chooses."""
        pools = _pools(self.pools)
        if rule in PLACES:
            words = rng.sample([word for pool in pools.values() for word in pool], 3)
            return words, words[PLACES.index(rule)]
        other = rng.choice([category for category in pools if category != rule])
        chosen = rng.choice(pools[rule])
        words = [chosen, *rng.sample(pools[other], 2)]
        rng.shuffle(words)
        return words, chosen

    def read(self, path: str | PathLike[str]) -> list[Problem]:
        """Lines {"input": a prompt in this form, "output": one of its last three words}.

        ValueError names the file and the line that is not JSON or not of the form.
        """
        return [self._parsed(*item) for item in items_of(path)]

    def _parsed(self, place: str, id: str, item: Mapping[str, Any]) -> Problem:
        prompt, output = item.get("input"), item.get("output")
        form = FORM.fullmatch(prompt) if isinstance(prompt, str) else None
        if not isinstance(prompt, str) or form is None:
            raise ValueError(f"{place}: 'input' is {prompt!r}; it must be lines such as 'cat, run, blue' and '-> run'")
        if not isinstance(output, str) or output.strip() not in form.groups()[1:]:
            raise ValueError(f"{place}: 'output' is {output!r}; it must be one of {', '.join(form.groups()[1:])}")
        answer = output.strip()
        return Problem(prompt=prompt, answer=" " + answer, id=id, data={"answer": answer})

    def correct(self, problem: Problem, text: str) -> bool:
        """Whether the first line of `text`, blanks aside, is the word; base models go on with more examples."""
        lines = text.strip().splitlines()
        return bool(lines) and lines[0].strip() == str(problem.data["answer"])


def _category(pools: Pools, word: str) -> str:
    return next(category for category, words in pools.items() if word in words)


def _differs(pools: Pools, words: list[str], chosen: str) -> bool:
    """Whether no other word is of the category of the chosen one."""
    return all(word == chosen or word not in pools[_category(pools, chosen)] for word in words)


def apart(lists: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The single words of letters a-z of each category that are in no other, whatever their case."""
    once = {category: {word.lower(): word for word in words} for category, words in lists.items()}
    times = Counter(key for words in once.values() for key in words)
    return {
        category: tuple(word for key, word in words.items() if re.fullmatch("[A-Za-z]+", word) and times[key] == 1)
        for category, words in once.items()
    }


def read_lists(file: Path) -> dict[str, list[str]]:
    """A JSON file {category: [words]}. ValueError for anything else."""
    try:
        content = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON ({error}); write {{category: [words]}}") from None
    lists = list(content.values()) if isinstance(content, dict) else [None]
    if not all(isinstance(words, list) and all(isinstance(word, str) for word in words) for words in lists):
        raise ValueError(f"{file} does not hold lists of words by category; write {{category: [words]}}")
    found: dict[str, list[str]] = content
    return found
