"""What was written stays whole, whatever happens to the next writing."""

import errno
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unveil.files import append_line, read_jsonl, read_settings, replacing, write_bytes, write_json, write_text


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """The system itself refuses to let any file grow beyond this, after taking what fits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def refuse(code: int) -> Callable[..., None]:
    def raises(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    return raises


def test_writing_replaces_wholly_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_bytes(path, b"\x00old")
    write_text(path, "ü")
    assert path.read_bytes() == "ü".encode()
    write_json(path, {"x": [1, "ü"]})
    assert json.loads(path.read_text()) == {"x": [1, "ü"]}
    assert os.listdir(tmp_path) == ["a.json"]


def test_the_temporary_file_is_a_hidden_neighbour_of_the_same_kind(tmp_path: Path) -> None:
    with replacing(tmp_path / "plot.png") as one, replacing(tmp_path / "plot.png") as two:
        assert one != two
        for temporary in (one, two):
            assert temporary.parent == tmp_path and temporary.name.startswith(".") and temporary.suffix == ".png"
            temporary.write_bytes(b"x")
    assert os.listdir(tmp_path) == ["plot.png"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_keeps_the_old_file_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    monkeypatch.setattr(os, "fsync", refuse(code))
    with pytest.raises(OSError) as caught:
        write_text(path, "new")
    message = str(caught.value)
    assert caught.value.errno == code and str(path) in message and os.strerror(code) in message
    assert "The file that was there is unchanged." in message
    assert ("Free space" in message) == (code != errno.EIO)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_file_that_does_not_fit_leaves_none(tmp_path: Path) -> None:
    with largest_file(10), pytest.raises(OSError, match="No file was left there. Free space") as caught:
        write_bytes(tmp_path / "a.bin", bytes(100_000))
    assert caught.value.errno == errno.EFBIG and os.listdir(tmp_path) == []


def test_any_failure_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_missing_folder_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"Make the folder {tmp_path / 'no'} first"):
        write_text(tmp_path / "no" / "a.txt", "")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="No file was left there. Make the folder"):
        write_text(tmp_path / "file" / "a.txt", "")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for write in (write_text, append_line):
        with pytest.raises(ValueError, match="is not an ordinary file"):
            write(tmp_path, "")
        with pytest.raises(ValueError, match="/dev/null is not an ordinary file"):
            write("/dev/null", "")


def test_a_link_stays_a_link_and_the_mode_stays(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    write_text(link, "new")
    assert link.is_symlink() and real.read_text() == "new" and real.stat().st_mode & 0o777 == 0o640


def test_json_holds_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert os.listdir(tmp_path) == []


def test_settings_are_an_object_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert read_settings(path) == read_settings(str(tmp_path / "no" / "a.json")) == {}
    write_json(path, {"x": [1, "ü"]})
    assert read_settings(path) == {"x": [1, "ü"]}
    path.write_text("[1, 2]")
    with pytest.raises(ValueError) as caught:
        read_settings(path)
    assert str(caught.value) == f"{path} is not a JSON object: download it again"
    for broken in (b'{"x": ', b"\xff\xfe\x00", b"[" * 100_000):
        path.write_bytes(broken)
        with pytest.raises(ValueError) as caught:
            read_settings(path)
        assert str(caught.value).startswith(f"{path} is not valid JSON (")
        assert str(caught.value).endswith("): download it again")


ITEMS = st.lists(st.dictionaries(st.text(max_size=3), st.text() | st.integers(), max_size=3), max_size=5)


@given(items=ITEMS, keep=st.integers(0, 10_000))
def test_after_a_crash_at_any_byte_the_log_goes_on(
    tmp_path_factory: pytest.TempPathFactory, items: list[dict], keep: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    for item in items:
        append_line(path, json.dumps(item))
    whole = path.read_bytes() if items else b""
    path.write_bytes(whole[:keep])
    survived = whole[:keep].count(b"\n")
    assert read_jsonl(path, drop_incomplete=True) == items[:survived]
    append_line(path, '{"next": 1}')
    assert read_jsonl(path) == [*items[:survived], {"next": 1}]


def test_a_long_incomplete_line_is_cut_too(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b"x" * 200_000)
    append_line(path, '{"b": 2}')
    assert path.read_bytes() == b'{"a": 1}\n{"b": 2}\n'


def test_a_line_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_line(path, '{"a": 1}')
    with largest_file(path.stat().st_size + 5), pytest.raises(OSError, match="All complete lines before") as caught:
        append_line(path, '{"b": 22222222}')
    assert caught.value.errno == errno.EFBIG and str(path) in str(caught.value)
    assert path.read_bytes() == b'{"a": 1}\n'


def test_a_log_line_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one line at a time"):
        append_line(tmp_path / "log.jsonl", "a\nb")


@pytest.mark.parametrize("broken", [b'{"a": ', b"\xff", b"", b"[1]", b"3", b"[" * 100_000])
def test_a_broken_line_is_named(tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n' + broken + b'\n{"a": 4}\n')
    with pytest.raises(ValueError, match=r"data\.jsonl, line 3: "):
        read_jsonl(path, drop_incomplete=True)


def test_the_last_line_may_lack_its_break_and_blank_lines_may_follow(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"a": 1}\r\n{"a": 2}')
    assert read_jsonl(path) == [{"a": 1}, {"a": 2}]
    assert read_jsonl(path, drop_incomplete=True) == [{"a": 1}]
    path.write_bytes(b'{"a": 1}\n\n \n')
    assert read_jsonl(path) == [{"a": 1}]
    path.write_bytes(b"")
    assert read_jsonl(path) == []
