"""Words by category: our own (`pools.json`), or the published ones with ours for what they lack.

Source: Todd et al. 2023, "Function Vectors in Large Language Models", arXiv 2310.15213 (`categories.json`).
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

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
