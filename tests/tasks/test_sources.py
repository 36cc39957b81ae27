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
from hypothesis import given
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


@given(items=st.lists(OBJECTS, max_size=4), pack=st.sampled_from(PACKINGS), indent=st.sampled_from([None, 1]))
def test_a_list_has_the_same_items(path: Path, items: list[Any], pack: Callable[[bytes], bytes], indent: Any) -> None:
    path.write_bytes(pack(b"\n" + json.dumps(items, indent=indent).encode()))
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
