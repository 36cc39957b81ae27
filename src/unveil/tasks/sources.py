"""The items of a data set: from a file, or from the Hugging Face hub."""

import gzip
import json
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

from unveil.fields import shown
from unveil.files import read_line

GZIP, PARQUET = b"\x1f\x8b", b"PAR1"  # how such files begin
UTF8 = "save it in UTF-8"
UNPACK = "unpack it, or pack it with gzip"
OTHERS: Mapping[bytes, tuple[str, str]] = {  # and others: what they are, and what to do
    b"\xff\xfe": ("in UTF-16", UTF8),
    b"\xfe\xff": ("in UTF-16", UTF8),
    b"\x28\xb5\x2f\xfd": ("packed with zstd", UNPACK),
    b"BZh": ("packed with bzip2", UNPACK),
    b"\xfd7zXZ": ("packed with xz", UNPACK),
    b"PK\x03\x04": ("a zip archive", UNPACK),
    b"ARROW1": ("an Arrow file", "write it as parquet or JSON lines"),
    b"version https://git-lfs": ("a pointer of Git LFS, without the data", "fetch it with git lfs pull"),
}
SHOWN = 200  # characters of a value in an error
HEAD = 65536  # bytes in which the first line ends, of a file that is one object over many lines


class Item(NamedTuple):
    """One problem of a data set: its fields, and where it stands, for errors."""

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
        raise ValueError(f"{self.place}: {' or '.join(map(repr, names))} is {shown(there, SHOWN)}; it must be a text")

    def texts(self, name: str) -> list[str]:
        """A field that is a list of texts; empty where it is missing. ValueError for anything else."""
        value = self.fields.get(name, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError(f"{self.place}: {name!r} is {shown(value, SHOWN)}; it must be a list of texts")
        return value


def items_of(path: str | PathLike[str]) -> Iterator[Item]:
    """The items of JSON lines or of one JSON list, plain or in gzip, or of a parquet file; blank lines are none.

    A byte order mark is passed over. ValueError names the file and the line or item that is broken, or what it is.
    """
    name, stem, content = fspath(path), Path(path).stem, _content(path)
    if content.startswith(PARQUET):
        yield from _rows(name, stem, content)
        return
    _check_known(name, content)
    try:
        listed = json.loads(content) if content.lstrip().startswith(b"[") else None
    except (ValueError, RecursionError) as error:
        raise _unreadable(name, error) from None
    if listed is None:
        for number, line in enumerate(content.split(b"\n"), 1):
            line = line.removeprefix(BOM_UTF8)  # files that were put together have several
            if line.strip():
                yield Item(f"{name}, line {number}", f"{stem}:{number}", read_line(path, number, line))
        return
    for number, fields in enumerate(listed, 1):
        if not isinstance(fields, dict):
            raise ValueError(
                f"{name}, item {number}: a {type(fields).__name__}, but every item must be an object {{...}}"
            )
        yield Item(f"{name}, item {number}", f"{stem}:{number}", fields)


def _content(path: str | PathLike[str]) -> bytes:
    """What a file holds, unpacked, without a byte order mark. ValueError for a device, which has no end."""
    if Path(path).is_char_device() or Path(path).is_block_device():
        raise ValueError(f"{fspath(path)} is a device: give a file, or a pipe")
    content = Path(path).read_bytes()
    try:
        content = gzip.decompress(content) if content.startswith(GZIP) else content
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(fspath(path), error) from None
    return content.removeprefix(BOM_UTF8)


def _unreadable(name: str, error: Exception) -> ValueError:
    return ValueError(
        f"{name} is neither JSON lines, plain or in gzip, nor a JSON list ({error}): correct or download it again"
    )


def _check_known(name: str, content: bytes) -> None:
    """ValueError for kinds of files that are known and not read, with the remedy."""
    for start, (what, remedy) in OTHERS.items():
        if content.startswith(start):
            raise ValueError(f"{name} is {what}: {remedy}")
    begin = content[:HEAD].strip()
    if begin.startswith(b"{") and b"\n" in begin and not _is_json(begin.partition(b"\n")[0]) and _is_json(content):
        raise ValueError(f"{name} is one JSON object: give a list of items, [{{...}}, ...], or one item a line")


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _rows(name: str, stem: str, content: bytes) -> Iterator[Item]:
    """The rows of a parquet file."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ValueError(
            f"{name} is a parquet file, which needs pyarrow: pip install 'unveil[data]', or write it as JSON lines"
        ) from None
    number = 0
    try:
        for batch in ParquetFile(BytesIO(content)).iter_batches():
            for fields in batch.to_pylist():
                number += 1
                yield Item(f"{name}, row {number}", f"{stem}:{number}", fields)
    except (ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{name} is not a whole parquet file ({reason}): download it again") from None


def fetched(name: str, *config: str, split: str, revision: str, extra: str = "tasks") -> Iterator[Item]:
    """The items of a split on the hub; errors as `hub_rows`."""
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
