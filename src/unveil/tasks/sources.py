"""The items of a data set: from a file, or from the Hugging Face hub."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

from unveil.files import read_line

GZIP = b"\x1f\x8b"  # how such a file begins


class Item(NamedTuple):
    """Its fields, and where it stands."""

    place: str  # "data/a.jsonl, line 3": messages begin with it
    id: str  # "a:3"
    fields: Mapping[str, Any]

    def text(self, *names: str) -> str:
        """The first of the fields that is a text and not blank. ValueError, with what is there, if none is."""
        values = [self.fields.get(name) for name in names]
        for value in values:
            if isinstance(value, str) and value.strip():
                return value
        there = next((value for value in values if value is not None), None)
        raise ValueError(f"{self.place}: {' or '.join(map(repr, names))} is {there!r}; it must be a text")

    def texts(self, name: str) -> list[str]:
        """A field that is a list of texts; empty where it is missing. ValueError for anything else."""
        value = self.fields.get(name, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError(f"{self.place}: {name!r} is {value!r}; it must be a list of texts")
        return value


def items_of(path: str | PathLike[str]) -> Iterator[Item]:
    """Those of JSON lines or of one JSON list, plain or in gzip; blank lines are none.

    ValueError names the file and the line or item that is broken.
    """
    name, stem, content = fspath(path), Path(path).stem, Path(path).read_bytes()
    try:
        content = gzip.decompress(content) if content.startswith(GZIP) else content
        listed = json.loads(content) if content.lstrip().startswith(b"[") else None
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise ValueError(
            f"{name} is neither JSON lines, plain or in gzip, nor a JSON list ({error}): correct or download it again"
        ) from None
    if listed is None:
        for number, line in enumerate(content.split(b"\n"), 1):
            if line.strip():
                yield Item(f"{name}, line {number}", f"{stem}:{number}", read_line(path, number, line))
        return
    for number, fields in enumerate(listed, 1):
        if not isinstance(fields, dict):
            raise ValueError(
                f"{name}, item {number}: a {type(fields).__name__}, but every item must be an object {{...}}"
            )
        yield Item(f"{name}, item {number}", f"{stem}:{number}", fields)


def fetched(name: str, *config: str, split: str, revision: str, extra: str = "tasks") -> Iterator[Item]:
    """Those of a split on the hub; errors as `hub_rows`."""
    for number, fields in enumerate(hub_rows(name, *config, split=split, revision=revision, extra=extra), 1):
        yield Item(f"{name}, {split} row {number}", f"{split}:{number}", fields)


def hub_rows(
    name: str, *config: str, split: str, revision: str | None, called: str | None = None, extra: str = "tasks"
) -> Iterable[dict[str, Any]]:
    """All rows of a split. `called` is what errors call the set, `extra` the one of ours that brings `datasets`.

    ValueError, in one sentence, for what cannot be had.
    """
    called = called or name
    try:
        from datasets import load_dataset
    except ImportError:
        raise ValueError(
            f"{called} needs datasets: pip install 'unveil[{extra}]', or download it and give a file"
        ) from None
    rows: Iterable[dict[str, Any]]
    try:
        rows = load_dataset(name, *config, revision=revision, split=split)
    except Exception as error:  # of many kinds, also of the libraries below
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"{called} could not be had from the hub ({reason}): check the name, the split and the network, "
            "or download it and give a file"
        ) from None
    return rows
