"""The sixteen few-shot rule tasks: eight rules on words, each among examples of one of two rules on numbers.

Source: Piskorz et al. 2025, "Masks Can Be Distracting", arXiv 2511.21338 (section 3, appendix C).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice, product
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import ClassVar, Literal, get_args

from unveil.diagnostics.context.few_shot.shots import Shot, Shots
from unveil.settings import nearest
from unveil.tasks.puzzles.rules import apart, read_lists
from unveil.tasks.splits import HOPELESS, Split, check_split, fingerprint, split_of

OWN = Path(__file__).with_name("pools.json")
NEEDED = 10  # words in a pool: below it there are too few questions

Pools = Mapping[str, tuple[str, ...]]  # category -> words


@cache
def word_pools(path: str | None = None) -> Pools:
    """The words of each category: single words of letters a-z, none in two categories, whatever its case.

    `path`: a JSON file {category: [words]}, such as the published `categories.json`; a category that it lacks is ours.
    A word in two categories is left out of both. ValueError if the file has another form, or if a category that the
    tasks need has fewer than `NEEDED` words left.
    """
    own = read_lists(OWN)
    pools = apart(own if path is None else {**own, **read_lists(Path(path))})
    for category in own:
        if len(pools[category]) < NEEDED:
            raise ValueError(
                f"{path or OWN}: pool {category!r} has {len(pools[category])} single words that are in no other pool, "
                f"{NEEDED} are needed: add words, or leave {category!r} out to use our own"
            )
    return MappingProxyType(pools)


Letters = Literal["balanced", "random"]
Questions = Literal["test", "validation"]
Numbers = Literal["smallest", "largest"]

CAPITALIZED = "capitalized word"
WORD_RULES: tuple[tuple[str, tuple[str, ...]], ...] = (  # what to choose, and what the others are
    ("country", ("name",)),
    (CAPITALIZED, ()),
    ("verb", ("adjective", "preposition", "object")),
    ("adjective", ("verb", "preposition", "object")),
    ("animal", ("object", "fruit", "sport")),
    ("color", ("animal", "object")),
    ("emotion", ("color", "object", "animal")),
    ("object", ("emotion", "color", "adjective")),
)
NAMES = {rules: f"T{number:02}" for number, rules in enumerate(product(WORD_RULES, get_args(Numbers)), 1)}


@dataclass(frozen=True, kw_only=True)
class RuleTask:
    """Choose A, B or C by a rule that only the examples tell; other examples follow a rule on numbers.

    `chosen`: the category of the right word, among words of the categories `others`; or `CAPITALIZED`, among words in
    lower case of any category (`others` is empty). `numbers`: the rule of the other examples. `pools`: as in
    `word_pools`. `letters`: "balanced" has each letter right equally often, up to one, among the first examples of
    either kind and among the first questions, however many; "random" draws them, as the paper does. The words are the
    same in both. `split`: of the questions; examples are of the training split. ValueError for categories that are not
    in the pools, other numbers, letters or split, and for pools as in `word_pools`.
    """

    labels: ClassVar[tuple[str, ...]] = ("A", "B", "C")
    system: ClassVar[str] = ""

    chosen: str
    others: tuple[str, ...]
    numbers: Numbers = "smallest"
    pools: str | None = None
    letters: Letters = "balanced"
    split: Questions = "test"

    def __post_init__(self) -> None:
        for name, kind in (("numbers", Numbers), ("letters", Letters)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(get_args(kind))}")
        check_split(self.split, get_args(Questions))
        known = word_pools(self.pools)
        if self.chosen not in (CAPITALIZED, *known):
            raise ValueError(f"chosen is {self.chosen!r}; it must be {CAPITALIZED!r} or one of {', '.join(known)}")
        free = set(known) - {self.chosen} if self.chosen != CAPITALIZED else set[str]()
        if not free.issuperset(self.others) or bool(free) != bool(self.others):
            legal = f"some of {', '.join(sorted(free))}" if free else "empty"
            raise ValueError(f"others is {self.others} where {self.chosen!r} is chosen; it must be {legal}")

    @property
    def name(self) -> str:
        """T01 to T16; what the rules are, if they are not the suite's."""
        rules = ((self.chosen, self.others), self.numbers)
        return NAMES.get(rules) or f"{self.chosen} of {'+'.join(self.others)}, {self.numbers}"

    @property
    def describe(self) -> str:
        """What is asked."""
        among = ", ".join(f"{other}s" for other in self.others) or "words in lower case"
        return f"choose the {self.chosen} (others: {among}), among numbers: choose the {self.numbers}"

    def shots(self, relevant: int, distractors: int, draw: int) -> Shots:
        """So many examples on words and on numbers; fewer of a draw are the first ones of more.

        ValueError for a negative argument, and if the pools have not so many.
        """
        for name, value in (("relevant", relevant), ("distractors", distractors), ("draw", draw)):
            if value < 0:
                raise ValueError(f"{name} is {value}; it must be at least 0")
        word_seed, number_seed = f"{self.name} words {draw}", f"{self.name} numbers {draw}"
        return Shots(
            self._lettered(islice(self._words(word_seed, "train"), relevant), word_seed),
            self._lettered(islice(self._numbers(number_seed), distractors), number_seed),
        )

    def questions(self, count: int) -> list[Shot]:
        """The first `count` questions: on words, no three words twice or in an example of any draw.

        ValueError if `count` is negative, and if the pools have not so many.
        """
        if count < 0:
            raise ValueError(f"count is {count}; it must be at least 0")
        seed = f"{self.name} questions"
        return self._lettered(islice(self._words(seed, self.split), count), seed)

    def _words(self, seed: str, split: Split) -> Iterator[list[str]]:
        """Three words, the right one first. They are of the split and never twice the same, in whatever order."""
        rng, pools = Random(seed), word_pools(self.pools)
        # words in lower case, of all categories, where capitals are the rule
        rest = [word for other in self.others or pools for word in pools[other] if self.others or word.islower()]
        seen, misses = set[str](), 0
        while misses < HOPELESS:
            if self.chosen == CAPITALIZED:
                right, *wrong = rng.sample(rest, 3)
                right = right.capitalize()
            else:
                right, wrong = rng.choice(pools[self.chosen]), rng.sample(rest, 2)
            mark = fingerprint(" ".join(sorted(word.lower() for word in (right, *wrong))))
            if mark in seen or split_of(mark) != split:
                misses += 1
                continue
            seen.add(mark)
            misses = 0
            yield [right, *wrong]
        kind = "examples" if split == "train" else "questions"
        raise ValueError(f"{self.name} has only {len(seen)} {kind} with these pools; ask for fewer or give more words")

    def _numbers(self, seed: str) -> Iterator[list[str]]:
        """Three numbers, the right one first."""
        rng, choose = Random(seed), min if self.numbers == "smallest" else max
        while True:
            numbers = rng.sample(range(1, 1001), 3)
            right = choose(numbers)
            yield [str(right), *(str(number) for number in numbers if number != right)]

    def _lettered(self, items: Iterator[list[str]], seed: str) -> list[Shot]:
        """Put the first option of each item in its place."""
        placed = zip(items, self._places(Random(f"{seed} letters")), strict=False)  # places have no end
        return [choice([*wrong[:place], right, *wrong[place:]], place) for (right, *wrong), place in placed]

    def _places(self, rng: Random) -> Iterator[int]:
        while True:
            # groups of three keep the balance of every beginning
            yield from rng.sample(range(3), 3) if self.letters == "balanced" else [rng.randrange(3)]


def choice(options: list[str], right: int) -> Shot:
    """The text of a choice between three; `right` is the place of the answer, from 0."""
    listed = ", ".join(f"({letter}) {option}" for letter, option in zip(RuleTask.labels, options, strict=True))
    return Shot(ask=f"Options: {listed}", opening="Answer:[", answer=RuleTask.labels[right], closing="].")


def suite(pools: str | None = None, letters: Letters = "balanced") -> tuple[RuleTask, ...]:
    """All sixteen. ValueError as `RuleTask`."""
    return tuple(
        RuleTask(chosen=chosen, others=others, numbers=numbers, pools=pools, letters=letters)
        for (chosen, others), numbers in NAMES
    )


def rule_task(name: str, pools: str | None = None, letters: Letters = "balanced") -> RuleTask:
    """The task of this name, such as "T05". ValueError for an unknown name, and as `RuleTask`."""
    known = {task.name: task for task in suite(pools, letters)}
    if name not in known:
        raise ValueError(f"unknown task {name!r}: {nearest(name, known)}")
    return known[name]
