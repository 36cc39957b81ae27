"""Ctrl-C at any moment, full disks and readers that leave: an exit code and at most one sentence, never a traceback."""

import gc
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from importlib import import_module

import pytest

from tests.cli.program import Outcome
from unveil import interrupts
from unveil.cli.errors import keeping
from unveil.terminal import bars, busy

PUZZLE = "1000\n0002\n4003\n0000\n=\n"
READY = "ready\n"  # the program has begun; what comes before it is Python's own start
START = f"""
import signal, sys
from unveil import __main__, interrupts
note = interrupts.note
def noted():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    note()
    print({READY.strip()!r}, file=sys.stderr, flush=True)
interrupts.note = noted
__main__.main()
"""


def interrupted(seconds: float, *words: str) -> Outcome:
    """What the program leaves behind that gets Ctrl-C after so many seconds."""
    pipe = subprocess.PIPE
    program = subprocess.Popen([sys.executable, "-c", START, *words], stdout=pipe, stderr=pipe, text=True)
    assert program.stderr is not None and program.stderr.readline() == READY
    time.sleep(seconds)
    program.send_signal(signal.SIGINT)
    try:
        out, err = program.communicate(timeout=120)
    finally:
        program.kill()
    return Outcome(program.returncode, out, err)


def duration(*words: str) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", START, *words], capture_output=True, check=True)
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["--help"], ["decode", "lab-sudoku", PUZZLE, "--device", "cpu"]], ids=["help", "decode"]
)
def test_ctrl_c_at_any_moment(words: list[str]) -> None:
    whole, codes = duration(*words), []
    for number in range(12):
        told = interrupted(whole * number / 11, *words)
        assert "Traceback" not in told.err and "Exception" not in told.err
        assert told.code == 130 or (told.code == 0 and told.out), told
        assert len(told.err.splitlines()) <= 2, told.err
        codes.append(told.code)
    assert codes[:3] == [130] * 3


@pytest.fixture
def noted() -> Iterator[None]:
    """As the program begins; Python's own handler again in the end."""
    before, hook = signal.signal(signal.SIGINT, signal.default_int_handler), sys.unraisablehook
    interrupts.note()
    yield
    sys.unraisablehook = hook
    signal.signal(signal.SIGINT, before)


def swallow() -> None:
    """Ctrl-C in a destructor's callback, which Python cannot raise from."""

    class Thing:
        pass

    thing = Thing()
    mark = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    gc.collect()
    assert mark() is None


def test_a_ctrl_c_that_was_swallowed_ends_the_program_later(noted: None, capsys: pytest.CaptureFixture[str]) -> None:
    interrupts.check()
    with busy("working"), bars():
        pass
    with pytest.raises(KeyboardInterrupt), busy("working"):
        swallow()
    for part in (busy("working"), bars()):
        with pytest.raises(KeyboardInterrupt), part:
            raise AssertionError("no work is begun")
    assert "Traceback" not in capsys.readouterr().err


def test_what_comes_of_a_ctrl_c_that_was_swallowed_is_no_error(noted: None) -> None:
    with pytest.raises(ImportError), keeping("all of it"):
        raise ImportError("no Ctrl-C came")
    swallow()
    with pytest.raises(KeyboardInterrupt, match="^all of it$"), keeping("all of it"):
        raise ImportError("numpy's core failed to import")


def test_other_handlers_are_left_alone() -> None:
    before, hook = signal.signal(signal.SIGINT, signal.SIG_IGN), sys.unraisablehook
    try:
        interrupts.note()
        with interrupts.last_lines():
            pass
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN and sys.unraisablehook is hook
        assert not interrupts.came()
    finally:
        signal.signal(signal.SIGINT, before)


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """`unveil` in a shell; PIPESTATUS of bash's is what the program itself ended with."""
    code = f'unveil() {{ "{sys.executable}" -m unveil "$@"; }}; {line}'
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["--help", "decode --help", "models"])
def test_a_full_disk_is_one_sentence(words: str) -> None:
    told = shell(f"unveil {words} > /dev/full")
    assert told.returncode not in (0, 1), told
    assert len(told.stderr.splitlines()) == 1 and "No space left on device" in told.stderr


@pytest.mark.slow
@pytest.mark.parametrize("line", ["unveil --help | head -1", "unveil --help | true", "unveil models | head -1"])
def test_a_reader_that_leaves_is_told_nothing(line: str) -> None:
    told = shell(line)
    assert told.stderr == "" and told.returncode == 0


def test_the_program_of_this_process_has_no_handler() -> None:
    """Only the program notes Ctrl-C; whoever imports the library keeps his handler."""
    import_module("unveil.api")
    assert not isinstance(signal.getsignal(signal.SIGINT), interrupts.Noted)
