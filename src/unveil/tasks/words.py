"""Lists of words by category, from JSON files."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path


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
