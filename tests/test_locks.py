"""One output, one writer: a second run is told who holds it; death frees it; what a killed run left goes."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import unveil
from unveil import files
from unveil.files import held, replacing, write_text

HOLD = """
import sys, time
from unveil.files import held
with held(sys.argv[1]):
    print('held', flush=True)
    time.sleep(60)
"""


def holder(place: Path) -> subprocess.Popen[str]:
    """Another process, which holds the place."""
    program = subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None and program.stdout.readline() == "held\n"
    return program


@pytest.mark.parametrize("name", ["folder", "out.json"])
def test_a_second_run_is_told_who_holds_the_output_until_that_is_killed(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    if name == "folder":
        place.mkdir()
    program = holder(place)
    try:
        told = rf"{name} is being written by process {program.pid} on .*: -c .*Wait until"
        with pytest.raises(ValueError, match=told):
            with held(place):
                raise AssertionError("two writers")
        with held(place, ours=False), held(tmp_path / "another.json"):  # other ranks of a run, and other outputs
            pass
    finally:
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
    with held(place):
        assert len([*tmp_path.rglob(".*lock")]) == 1
    assert [*tmp_path.rglob(".*lock")] == []


def test_one_of_many_that_begin_together_gets_it(tmp_path: Path) -> None:
    code = HOLD.replace("sleep(60)", "sleep(3)")
    programs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    told = [program.communicate() for program in programs]
    assert sorted(out for out, _ in told) == [b"", b"", b"", b"held\n"]
    assert all(b"is being written by process" in error for out, error in told if not out)


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    code = HOLD.replace("held(", "replacing(").replace("import held", "import replacing")
    (tmp_path / "model").mkdir()
    for name in ("out.json", "model/model.safetensors", "other.json"):
        program = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name)], stdout=subprocess.PIPE)
        assert program.stdout is not None and program.stdout.readline()
        program.kill()
        program.wait()
    write_text(tmp_path / ".keep.me", "mine")
    left = {path.name.split(".")[1] for path in tmp_path.rglob(".*")}
    assert left == {"out", "model", "other", "keep"}
    with held(tmp_path / "out.json"):
        assert {path.name.split(".")[1] for path in tmp_path.rglob(".*") if "lock" not in path.name} == left - {"out"}
    with held(tmp_path):
        assert [path.name for path in tmp_path.rglob(".*") if path.name != ".lock"] == [".keep.me"]


def test_what_another_run_is_writing_is_left_alone(tmp_path: Path) -> None:
    """Beside it under a longer name, and in a folder below with a lock of its own."""
    (tmp_path / "below").mkdir()
    written = [tmp_path / ".output.0123456789ab.json", tmp_path / "below" / ".model.0123456789ab.safetensors"]
    for path in written:
        path.write_text("half")
    with held(tmp_path / "out.json"):
        assert all(path.exists() for path in written)
    with held(tmp_path / "below"):
        written[1].write_text("half")
        with held(tmp_path):
            assert [path.exists() for path in written] == [False, True]


def test_a_place_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot write .*Nothing was changed"), held(tmp_path / "absent" / "out.json"):
        pass


def test_it_is_free_again_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyError), held(tmp_path):
            raise KeyError
    with held(tmp_path), replacing(tmp_path / "a") as temporary:
        temporary.write_text(str(time.time()))


def test_the_second_evaluation_training_and_diagnosis_into_one_output_are_refused(tmp_path: Path) -> None:
    """And the first goes on: nothing of it was touched."""
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(f'{{"prompt": "{n}000\\n=\\n", "answer": "1234"}}\n' for n in range(1, 5)))
    (tmp_path / "run").mkdir()
    settings = {"steps": 1, "rows": 2, "canvas": 8, "warmup": 1}
    works = {
        tmp_path / "a.json": lambda: unveil.evaluate("lab-sudoku", "sudoku", limit=1, json=tmp_path / "a.json"),
        tmp_path / "run": lambda: unveil.train.sft("lab-sudoku", data, out=tmp_path / "run", **settings),
    }
    for place, work in works.items():
        program = holder(place)
        with pytest.raises(ValueError, match="is being written by process"):
            work()
        program.kill()
        program.wait()
        work()


def test_without_locks_nothing_is_held_and_another_error_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems of networks have none."""
    number = errno.ENOLCK

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.fcntl, "flock", flock)
    for place in (tmp_path, tmp_path / "out.json"):
        with held(place):
            write_text(tmp_path / "written", "all")
    assert [path.name for path in tmp_path.iterdir()] == ["written"]
    number = errno.EIO
    with pytest.raises(OSError, match="Nothing was changed"), held(tmp_path / "out.json"):
        pass
