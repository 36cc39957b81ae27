"""Items of published data: whatever the form of the file, the same items, each with its place; read once."""

import gzip
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tasks.sources import hub
from unveil.tasks.sources import Item, fetched, items_of

OBJECTS = st.dictionaries(st.text(max_size=3), st.text("a[{\n\u2028\x85", max_size=3) | st.integers(), max_size=3)
BLANKS = st.sampled_from([b"", b" ", b"\t", b"\r"])
PACKINGS: list[Callable[[bytes], bytes]] = [bytes, gzip.compress]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("items") / "a.jsonl"


@given(lines=st.lists(OBJECTS | BLANKS, max_size=6), pack=st.sampled_from(PACKINGS), end=st.sampled_from([b"", b"\n"]))
def test_every_item_of_lines_says_where_it_stands(
    path: Path, lines: list[Any], pack: Callable[[bytes], bytes], end: bytes
) -> None:
    texts = [line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode() for line in lines]
    path.write_bytes(pack(b"\n".join(texts) + end))
    kept = [(number, line) for number, line in enumerate(lines, 1) if not isinstance(line, bytes)]
    assert list(items_of(path)) == [Item(f"{path}, line {number}", f"a:{number}", line) for number, line in kept]


MARK = b"\xef\xbb\xbf"


@given(lines=st.lists(OBJECTS | BLANKS, max_size=4), marked=st.sets(st.integers(0, 3)), pack=st.sampled_from(PACKINGS))
def test_byte_order_marks_are_passed_over(
    path: Path, lines: list[Any], marked: set[int], pack: Callable[[bytes], bytes]
) -> None:
    """The first line's, and those of files that were put together."""
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(pack(b"\n".join(MARK * (number in marked) + text for number, text in enumerate(texts))))
    kept = [(number, line) for number, line in enumerate(lines, 1) if not isinstance(line, bytes)]
    assert list(items_of(path)) == [Item(f"{path}, line {number}", f"a:{number}", line) for number, line in kept]


@given(items=st.lists(OBJECTS, max_size=4), pack=st.sampled_from(PACKINGS), indent=st.sampled_from([None, 1]))
def test_a_list_has_the_same_items(path: Path, items: list[Any], pack: Callable[[bytes], bytes], indent: Any) -> None:
    path.write_bytes(pack(MARK * (indent is None) + b"\n" + json.dumps(items, indent=indent).encode()))
    assert list(items_of(path)) == [Item(f"{path}, item {n}", f"a:{n}", item) for n, item in enumerate(items, 1)]


@pytest.mark.parametrize("content", [b'{"a": 1}\n{"a": 2}\n', b'[{"a": 1}, {"a": 2}]'])
@pytest.mark.parametrize("pack", PACKINGS)
def test_a_pipe_is_read_which_can_be_read_once_only(content: bytes, pack: Callable[[bytes], bytes]) -> None:
    source, target = os.pipe()
    try:
        with os.fdopen(target, "wb") as file:
            file.write(pack(content))
        assert [item.fields for item in items_of(f"/dev/fd/{source}")] == [{"a": 1}, {"a": 2}]
    finally:
        os.close(source)


@pytest.mark.parametrize("pack", PACKINGS)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"{", "not JSON "),
        (b'{"a": "\xff"}', "not JSON "),
        (b'{"a":' + b"[" * 10**5, "not JSON "),
        (b"1", "a int, but every line must be an object {...}"),
    ],
)
def test_a_broken_line_is_named(path: Path, pack: Callable[[bytes], bytes], bad: bytes, message: str) -> None:
    path.write_bytes(pack(b"{}\n\n" + bad + b"\n{}\n"))
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}, line 3: {message}')}"):
        list(items_of(path))


NEITHER = r" is neither JSON lines, plain or in gzip, nor a JSON list \(.*\): correct or download it again$"


PACKED = gzip.compress(b"{}")
BROKEN = [b"[{", b"[" * 10**5, b'["\xff"]', b"[]\n{}", PACKED[:2], PACKED[:-5], PACKED[:10] + b"\xff" + PACKED[11:]]


@pytest.mark.parametrize("content", BROKEN)
def test_a_file_of_no_form_is_named(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}{NEITHER}"):
        list(items_of(path))


def test_a_listed_item_is_an_object(path: Path) -> None:
    path.write_bytes(b"[{}, 1]")
    with pytest.raises(ValueError, match=r"a\.jsonl, item 2: a int, but every item must be an object {\.\.\.}$"):
        list(items_of(path))


KINDS = {
    b'{\n "data": [{}]\n}': " is one JSON object: give a list of items, [{...}, ...], or one item a line",
    '{"a": 1}'.encode("utf-16"): " is in UTF-16: save it in UTF-8",
    b"\x28\xb5\x2f\xfd\x00": " is packed with zstd: unpack it, or pack it with gzip",
    b"BZh91AY": " is packed with bzip2: unpack it, or pack it with gzip",
    b"\xfd7zXZ\x00": " is packed with xz: unpack it, or pack it with gzip",
    b"PK\x03\x04..": " is a zip archive: unpack it, or pack it with gzip",
    b"ARROW1\x00\x00": " is an Arrow file: write it as parquet or JSON lines",
    b"version https://git-lfs.github.com/spec/v1\n": " is a pointer of Git LFS, without the data: fetch it with",
}


@pytest.mark.parametrize(("content", "told"), KINDS.items(), ids=KINDS.values())
def test_a_known_kind_of_file_is_named(path: Path, content: bytes, told: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path) + told)}"):
        list(items_of(path))


@pytest.mark.parametrize("device", ["/dev/full", "/dev/zero", "/dev/null"])
def test_a_device_has_no_end(device: str) -> None:
    with pytest.raises(ValueError, match=f"^{device} is a device: give a file, or a pipe$"):
        list(items_of(device))


def table(path: Path, items: list[dict[str, Any]]) -> bytes:
    """The items as a parquet file."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(items), path)
    return path.read_bytes()


CELLS = st.fixed_dictionaries({"a": st.none() | st.text(max_size=3), "b": st.lists(st.integers(0, 9), max_size=2)})


@given(items=st.lists(CELLS, min_size=1, max_size=5))
def test_a_parquet_file_has_the_same_items_whatever_its_name(path: Path, items: list[dict[str, Any]]) -> None:
    table(path, items)
    assert list(items_of(path)) == [Item(f"{path}, row {n}", f"a:{n}", item) for n, item in enumerate(items, 1)]


@settings(max_examples=200)
@given(data=st.data())
def test_a_broken_parquet_file_is_named(path: Path, data: st.DataObject) -> None:
    content = bytearray(table(path, [{"a": "x", "b": [number]} for number in range(4)]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(4, len(content)))])
    try:
        list(items_of(path))
    except ValueError as error:
        assert str(error).startswith(f"{path} is not a whole parquet file (") and "\n" not in str(error)


def test_without_pyarrow_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ValueError, match=r"parquet file, which needs pyarrow: pip install 'unveil\[data\]', or write it"
    ):
        list(items_of(path))


@settings(max_examples=300)
@given(text=st.text('[]{}":,01a\n \\u', max_size=30), pack=st.sampled_from(PACKINGS), noise=st.binary(max_size=4))
def test_whatever_a_file_holds_it_is_read_or_named(
    path: Path, text: str, pack: Callable[[bytes], bytes], noise: bytes
) -> None:
    path.write_bytes(pack(text.encode() + noise))
    try:
        assert all(isinstance(item.fields, dict) for item in items_of(path))
    except ValueError as error:
        assert str(error).startswith(str(path))


# Fields ---------------------------------------------------------------------------------------------------------------


def test_the_first_field_that_is_a_text() -> None:
    item = Item("here", "a:1", {"a": 1, "b": " ", "c": "x\n", "d": ["x"], "e": ["x", 1]})
    assert item.text("c") == item.text("a", "b", "c") == "x\n"
    for names, what in (
        (("a",), "'a' is 1"), (("b",), "'b' is ' '"), (("z",), "'z' is None"), (("z", "a"), "'z' or 'a' is 1"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"^here: {what}; it must be a text$"):
            item.text(*names)
    assert item.texts("d") == ["x"] and item.texts("z") == []
    with pytest.raises(ValueError, match=r"^here: 'e' is \['x', 1\]; it must be a list of texts$"):
        item.texts("e")


def test_a_value_in_an_error_is_short() -> None:
    item = Item("here", "a:1", {"a": [1] * 10**5})
    for ask in (item.text, item.texts):
        with pytest.raises(ValueError) as caught:
            ask("a")
        assert len(str(caught.value)) < 300


# The hub --------------------------------------------------------------------------------------------------------------


def test_rows_of_the_hub_say_where_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*names: str, split: str, revision: str) -> list[dict[str, Any]]:
        assert (names, split, revision) == (("own/set", "main"), "test", "1234")
        return [{"a": 1}, {}]

    hub(monkeypatch, load_dataset)
    found = fetched("own/set", "main", split="test", revision="1234")
    assert list(found) == [Item("own/set, test row 1", "test:1", {"a": 1}), Item("own/set, test row 2", "test:2", {})]
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"own/set needs datasets: pip install 'unveil\[diagnose\]', or download it"):
        list(fetched("own/set", split="test", revision="1234", extra="diagnose"))
