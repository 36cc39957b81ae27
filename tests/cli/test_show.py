"""Text of models and files cannot command the terminal."""
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unveil.cli.errors import sentence
from unveil.files import check_output
from unveil.terminal import plain, spaced

ANY = st.text(st.characters())  # surrogates and control characters too


@given(ANY)
def test_nothing_dangerous_is_left(text: str) -> None:
    shown = plain(text)
    assert len(shown) == len(text) and plain(shown) == shown
    assert all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") for c in shown)
    assert not {"\u202e", "\u2066", "\x1b", "\r"} & set(shown)
    shown.encode()


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S", "Z"])))
def test_ordinary_text_stays(text: str) -> None:
    assert plain(text) == text


def test_examples() -> None:
    assert plain("a\x1b[2Jb\r\n\tc\u202ed") == "a\ufffd[2Jb\ufffd\n\tc\ufffdd"
    assert plain("👩\u200d🚀 [bold]") == "👩\u200d🚀 [bold]"  # a joiner is no command
    assert spaced("a:b=1,c=2") == "a:b=1, c=2"


def test_sentences() -> None:
    assert sentence(ValueError("no")) == "no"
    assert sentence(OSError(28, "cannot write a: full")) == "cannot write a: full"
    assert sentence(FileNotFoundError(2, "No such file", "a.json")) == "a.json: No such file"
    assert sentence(ValueError()) == "ValueError"


def test_an_output_is_checked_before_the_work(tmp_path) -> None:
    check_output(None)
    check_output(tmp_path / "new.json")
    with pytest.raises(ValueError, match="there is no folder .*; make it first, or name another file"):
        check_output(tmp_path / "no" / "new.json")
    with pytest.raises(ValueError, match="is not an ordinary file; name a new file"):
        check_output(tmp_path)
