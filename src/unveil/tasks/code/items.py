"""The items of a published data set: from a file, or from the Hugging Face hub."""

import gzip
import json
from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

from unveil.files import read_jsonl
from unveil.tasks.hub import hub_rows


class Item(NamedTuple):
    """Its fields, and where it stands: messages begin with `place`."""

    place: str
    number: int  # from 1
    fields: Mapping[str, Any]

    def text(self, *names: str) -> str:
        """The first of the fields that is a text. ValueError if none is."""
        for name in names:
            value = self.fields.get(name)
            if isinstance(value, str):
                return value
        raise ValueError(f"{self.place}: {' or '.join(map(repr, names))} is missing; it must be a text")

    def texts(self, name: str) -> list[str]:
        """A field that is a list of texts; empty where it is missing. ValueError for anything else."""
        value = self.fields.get(name, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError(f"{self.place}: {name!r} is {value!r}; it must be a list of texts")
        return value


def items_of(path: str | PathLike[str]) -> Iterator[Item]:
    """Those of JSON lines, plain or in gzip, or of one JSON list. ValueError names the file and what is broken."""
    content = Path(path).read_bytes()
    if content.startswith(b"\x1f\x8b") or content.lstrip().startswith(b"["):
        items, unit = _parsed(path, content)
    else:
        items, unit = read_jsonl(path), "line"
    for number, fields in enumerate(items, 1):
        place = f"{fspath(path)}, {unit} {number}"
        if not isinstance(fields, Mapping):
            raise ValueError(f"{place}: a {type(fields).__name__}, but every item must be an object {{...}}")
        yield Item(place, number, fields)


def _parsed(path: str | PathLike[str], content: bytes) -> tuple[list[Any], str]:
    try:
        if content.startswith(b"\x1f\x8b"):
            return [json.loads(line) for line in gzip.decompress(content).splitlines() if line.strip()], "line"
        return json.loads(content), "item"
    except (OSError, EOFError, ValueError, RecursionError) as error:
        raise ValueError(f"{fspath(path)} is neither JSON lines, plain or in gzip, nor a JSON list ({error})") from None


def fetched(name: str, *config: str, split: str, revision: str) -> Iterator[Item]:
    """Those of a split on the hub. ValueError if they cannot be had."""
    rows = hub_rows(name, *config, split=split, revision=revision)
    for number, fields in enumerate(rows, 1):
        yield Item(f"{name}, {split} row {number}", number, fields)
