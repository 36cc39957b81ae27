"""The legal range of every setting that is a number: one place, for specs, --set, options, and calls from Python.

A table says for each name what a value means and where it may lie. NaN and infinity are legal nowhere.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from numbers import Real
from typing import Any, TypeVar

Made = TypeVar("Made", bound=Callable[..., Any])

MOST = 10**9  # of anything that is counted
OPEN = 2**53  # from here on a greatest number says nothing to a reader
FORWARDS = 65536  # a row ends after so many, whatever its sampler


@dataclass(frozen=True)
class Range:
    """From `low` to `high`, the ends included unless they are open."""

    low: int | float
    high: int | float
    meaning: str = ""  # goes on after a colon: what the number is, or what to give instead
    above: bool = False  # `low` itself is not legal
    below: bool = False  # `high` itself is not legal

    def __contains__(self, value: Any) -> bool:
        high_enough = value > self.low if self.above else value >= self.low
        return bool(high_enough and (value < self.high if self.below else value <= self.high))

    def __str__(self) -> str:
        low = f"above {_short(self.low)}" if self.above else f"from {_short(self.low)}"
        high = f"below {_short(self.high)}" if self.below else f"to {_short(self.high)}"
        return f"{low} {high}"


def _short(number: int | float) -> str:
    return f"{number:,.0f}" if number == int(number) and abs(number) < 1e15 else f"{number:g}"


def share(meaning: str = "") -> Range:
    """From 0 to 1."""
    return Range(0, 1, meaning)


def count(most: int = MOST, least: int = 1, meaning: str = "") -> Range:
    """So many of something."""
    return Range(least, most, meaning)


SEED = count(2**62, 0, "row i draws its noise from seed + i")

SAMPLERS: Mapping[str, Range] = {
    "steps": count(FORWARDS, meaning="the total of forwards over all blocks"),
    "block": count(FORWARDS, meaning="leave it out for one block"),
    "within": count(FORWARDS, meaning="a bound on forwards, the total over all blocks"),
    "temperature": Range(0, 1e6, "0 is greedy"),
    "top_p": Range(0, 1, "1 draws from everything", above=True),
    "top_k": count(MOST, 0, "0 draws from everything"),
    "alg_temp": Range(0, 1e6, "0 takes the best columns"),
    "eps": Range(0, 1, "the time at which the schedule ends", above=True, below=True),
    "threshold": share("a mask opens at this probability"),
    "factor": Range(0, 1e6, "Fast-dLLM's dynamic rule; the larger, the more masks a forward opens"),
    "gamma": Range(0, 1e6, "nats that the opened masks may have"),
    "eta": share("a token is masked again with at most this probability"),
    "k": count(64, meaning="candidates of a soft token"),
    "mask_share": share("the weight of [MASK]"),
    "least_share": share("the weight of [MASK]"),
    "settle": count(FORWARDS, 0, "forwards after a block is full"),
    "converged": share("a block ends once all its masks are that sure"),
    "scale": Range(0, 1e6, "1 leaves the rates of a policy as they are", above=True),
    "alpha": Range(0, 1e6, "the weight of speed, 0 is correctness alone"),
}

TRAININGS: Mapping[str, Range] = {
    "steps": count(),
    "lr": Range(0, 1e3, "the learning rate", above=True),
    "warm_lr": Range(0, 1e3, "the learning rate of the warm start", above=True),
    "warmup": count(MOST, 0, "steps"),
    "warm_rounds": count(MOST, 0, "rounds"),
    "weight_decay": Range(0, 1e3),
    "betas": Range(0, 1, "AdamW's", below=True),
    "clip": Range(0, 1e9, "the norm that gradients are cut to", above=True),
    "ema": Range(0, 1, "a decay, 0 for none", below=True),
    "micro_rows": count(MOST, 0, "rows at a time, 0 for all"),
    "patience": count(),
    "seed": SEED,
    "validate_every": count(),
    "save_every": count(),
    "rows": count(2**20),
    "canvas": count(FORWARDS),
    "validation": Range(0, MOST, "a share of the data, or a number of problems", above=True),
    "prompts": count(2**20),
    "batch": count(2**20),
    "updates": count(2**16),
    "copies": count(2**16, 2, "a group needs at least 2 answers to be compared"),
    "block": count(FORWARDS, meaning="leave it out for the whole canvas"),
    "alpha": Range(0, 1e6),
    "beta": Range(0, 1e6),
    "masked": share("the share of an answer that is masked"),
    "max_masks": count(FORWARDS),
    "context": count(2**20),
    "curriculum": count(MOST, 0),
    "micro_steps": count(),
    "depth": count(64, meaning="the number of forwards learned from"),
    "sizes": count(FORWARDS),
    "opens": count(FORWARDS),
    "whole": share("the share of rows with no open token at first"),
    "k": count(64, meaning="candidates of a soft token"),
    "mask_shares": share("the weight of [MASK]"),
    "ratio": Range(0, 1e3, "a ratio may move this far from 1", above=True),
    "chunk": count(2**20),
    "threads": count(1024, meaning="of each process"),
}

LORA: Mapping[str, Range] = {
    "r": count(2**16, meaning="the rank of an adapter"),
    "alpha": count(2**20, meaning="the change is scaled by alpha / r"),
    "dropout": Range(0, 1, "0 is none", below=True),
}

OPTIONS: Mapping[str, Range] = {
    "seed": SEED,
    "tune_seed": SEED,
    "batch": count(2**20, meaning="rows decoded at a time"),
    "limit": count(),
    "draws": count(),
    "tune_limit": count(),
    "new_tokens": count(FORWARDS),
    "prompt_tokens": count(2**20),
    "repeat": count(10**6),
    "guidance": Range(-(10**6), 10**6, "0 is off"),
    "threads": count(1024, meaning="CPU threads"),
    "tokens": count(2**30, meaning="tokens computed at a time"),
    "budgets": Range(1, MOST, "forwards"),
    "samples": count(2**20),
    "delay": Range(0, 3600, "seconds"),
    "canvas": count(FORWARDS),
}


def ranges(table: Mapping[str, Range], names: Iterable[str] | None = None) -> str:
    """The ranges of a table in words, each with the numbers that lie there: "from 0 to 1: threshold, eta; ..."

    Of the `names` alone that the table has; by default of all.
    """
    found = dict[str, list[str]]()
    for name in table if names is None else [name for name in names if name in table]:
        legal = table[name]
        words = str(legal) if legal.high < OPEN else f"from {_short(legal.low)}"
        found.setdefault(words, []).append(name)
    return "; ".join(f"{words}: {', '.join(numbers)}" for words, numbers in found.items())


def check(table: Mapping[str, Range], **values: Any) -> None:
    """ValueError, with name, value, range and meaning, for a number outside the range that the table has for it.

    None, words and names that the table does not have are passed over; of several numbers each is checked.
    """
    for name, value in values.items():
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, bool) or not isinstance(one, int | float | Real):  # numpy's are Real
                continue
            legal = table.get(name)
            if not isinstance(one, int) and not math.isfinite(one):
                told = "" if legal is None else f" {legal}"
                raise ValueError(f"{name}={value} is not a finite number: give one{told}")
            if legal is not None and one not in legal:
                raise ValueError(f"{name}={value} is outside its range, {legal}{legal.meaning and ': '}{legal.meaning}")


def check_fields(part: Any, table: Mapping[str, Range]) -> None:
    """`check` for all fields of a dataclass."""
    check(table, **{field.name: getattr(part, field.name) for field in fields(part)})


def checked(recipe: Made) -> Made:
    """A sampler's recipe whose settings are checked by SAMPLERS before anything is built of them."""

    @wraps(recipe)
    def made(*args: Any, **settings: Any) -> Any:
        check(SAMPLERS, **settings)
        return recipe(*args, **settings)

    return made  # type: ignore[return-value]
