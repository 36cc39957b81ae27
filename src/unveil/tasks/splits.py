"""Which split a problem belongs to. Its fingerprint says so, hence no problem is ever in two splits."""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from random import Random
from typing import Any, Literal

from unveil.tasks.task import Problem

Split = Literal["train", "validation", "test"]
Drawn = Literal["train", "validation"]  # of a task whose test is in published files: it makes no problem of them
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
HOPELESS = 20_000  # draws in a row without one that may be kept


def fingerprint(text: str) -> str:
    """Sixteen hexadecimal digits that stand for a problem."""
    return blake2b(text.encode(), digest_size=8).hexdigest()


def split_of(mark: str) -> Split:
    """The split of a fingerprint. Two problems in sixteen are not for training: one for validation, one for test."""
    held_out: dict[str, Split] = {"0": "validation", "1": "test"}
    return held_out.get(mark[-1], "train")


def drawn_for(mark: str) -> Drawn:
    """As `split_of`, where no problems are kept for a test: they are for training."""
    return "validation" if split_of(mark) == "validation" else "train"


def check_draw(count: int, seed: int) -> None:
    """ValueError if `count` is below 1 or `seed` below 0."""
    if count < 1:
        raise ValueError(f"count is {count}; it must be at least 1")
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be at least 0")


def check_split(split: str, legal: tuple[str, ...] = SPLITS) -> None:
    """ValueError if there is no such split."""
    if split not in legal:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(map(repr, legal))}")


def collect(
    draw: Callable[[Random], tuple[str, str, Mapping[str, Any]]],
    count: int,
    seed: int,
    split: Split,
    exclude: frozenset[str] = frozenset(),
) -> list[Problem]:
    """The first `count` drawn (prompt, answer, data) whose prompt is of the split and not in `exclude`.

    ValueError as `check_draw`, or if nothing can be found that is in the split and not excluded.
    """
    check_draw(count, seed)
    rng, problems, misses = Random(seed), list[Problem](), 0
    while len(problems) < count:
        prompt, answer, data = draw(rng)
        if split_of(fingerprint(prompt)) == split and prompt not in exclude:
            name = f"{split}-{seed}-{len(problems)}"
            problems.append(Problem(prompt=prompt, answer=answer, id=name, data=data))
            misses = 0
        elif (misses := misses + 1) > HOPELESS:
            raise ValueError(f"no {split} problem with these settings is left; widen them or exclude fewer problems")
    return problems
