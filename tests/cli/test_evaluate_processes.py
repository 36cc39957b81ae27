"""unveil evaluate and frontier among processes: items are what one process gives; the killed repeat none."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import unveil
from tests.cli.program import run, untimed
from unveil.files import read_jsonl

pytestmark = pytest.mark.slow

WORDS = ["--task", "sudoku", "--sampler", "remdm", "--batch", "2", "--seed", "3", "--device", "cpu"]


@contextmanager
def processes(count: int, *words: object) -> Iterator[list[subprocess.Popen[str]]]:
    """`count` of them, as `accelerate launch` or torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = str(Path(unveil.__file__).resolve().parents[1])
    shared = {"PYTHONPATH": home, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-m", "unveil", *map(str, words)]
    started = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)},
        )
        for rank in range(count)
    ]  # fmt: skip
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def finish(started: list[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    """What each of them prints in the end."""
    told = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * len(started), told
    return told


def kill_after(started: list[subprocess.Popen[str]], files: list[Path], lines: int) -> None:
    """SIGKILL, when each file has so many lines."""
    begun = time.monotonic()
    while not all(file.exists() and file.read_bytes().count(b"\n") >= lines for file in files):
        assert time.monotonic() - begun < 100 and all(process.poll() is None for process in started)
        time.sleep(0.005)
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.wait()


def words(model: Path, out: Path, limit: int) -> list[object]:
    """An evaluation."""
    return ["evaluate", model, *WORDS, "--limit", limit, "--json", out]


def alone(model: Path, out: Path, limit: int) -> tuple[dict, list[dict]]:
    """The result and the items of one process."""
    told = run(*words(model, out, limit))
    assert told.code == 0, told.err
    return result_of(out), items_of(out)


def result_of(out: Path) -> dict:
    result = untimed(json.loads(out.read_text()))
    result["record"].pop("processes")
    result["record"].pop("versions")  # Accelerate was used, or not
    return result


def items_of(out: Path) -> list[dict]:
    items = read_jsonl(out.with_name(f"{out.stem}.items.jsonl"))
    return [{key: x for key, x in item.items() if key != "seconds"} for item in sorted(items, key=lambda x: x["index"])]


def test_two_processes_give_what_one_gives(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "two.json"
    with processes(2, *words(tiny, out, 9)) as started:
        first, second = finish(started)
    assert "sudoku with" in first[0] and "9 problems" in first[0] and "2 processes" in first[0]
    assert second[0] == "" and "written" not in second[1]
    result, items = alone(tiny, tmp_path / "one.json", 9)
    assert result_of(out) == result and items_of(out) == items
    assert len({item["answer"] for item in items}) > 1
    assert json.loads(out.read_text())["record"]["processes"] == 2
    assert sorted(path.name for path in tmp_path.glob("two*")) == ["two.items.jsonl", "two.json"]


@pytest.mark.parametrize("then", [1, 3])
def test_two_killed_processes_are_followed_by_another_number(then: int, tiny: Path, tmp_path: Path) -> None:
    out, limit = tmp_path / "cut.json", 80
    files = [tmp_path / "cut.items.jsonl", tmp_path / "cut.items.process-1.jsonl"]
    with processes(2, *words(tiny, out, limit)) as started:
        kill_after(started, files, 3)
    kept = [line for file in files for line in file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    assert 6 <= len(kept) < limit and not out.exists()
    if then == 1:
        alone(tiny, out, limit)
    else:
        with processes(then, *words(tiny, out, limit)) as started:
            finish(started)
    lines = files[0].read_bytes().splitlines(keepends=True)
    assert len(lines) == limit and [path.name for path in tmp_path.glob("cut.items*")] == ["cut.items.jsonl"]
    parsed = [json.loads(line) for line in lines]
    assert all(json.loads(line) in parsed for line in kept)  # their seconds too: none was decoded again
    assert (result_of(out), items_of(out)) == alone(tiny, tmp_path / "one.json", limit)


def test_two_processes_find_the_frontier_of_one(tiny: Path, tmp_path: Path) -> None:
    asked = ["frontier", tiny, *WORDS, "--sampler", "fast_dllm:threshold=0.2|0.9", "--limit", 5, "--out"]
    with processes(2, *asked, tmp_path / "two") as started:
        first, second = finish(started)
    assert "threshold" in first[0] and "written: " in first[0] and second == ("", "")
    assert run(*asked, tmp_path / "one").code == 0
    assert frontier_of(tmp_path / "two", 2) == frontier_of(tmp_path / "one", 1)


def frontier_of(out: Path, processes: int) -> tuple[dict, dict]:
    """The numbers, and the answers by file."""
    told = json.loads((out / "frontier.json").read_text())
    told["results"] = [untimed(result) for result in told["results"]]
    for result in told["results"]:
        assert result["record"].pop("processes") == processes
        result["record"].pop("versions")
    kept = {path.relative_to(out): read_jsonl(path) for path in out.glob("items-*/*")}
    assert [len(items) for items in kept.values()] == [5] * 3
    return told, {path: {item["index"]: item["answer"] for item in items} for path, items in kept.items()}
