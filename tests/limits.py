"""Programs of tests in a child with limits on memory, time, processes and disk: what they are given may be hostile."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
GIB = 1 << 30


class Ended(NamedTuple):
    """How a child ended."""

    code: int
    out: str
    err: str


class Hang(BaseException):
    """A case that took too long; no code catches it."""


def limited(*words: str, seconds: int, memory: int = 6 * GIB, disk: int = GIB // 4, **environ: str) -> Ended:
    """Run `python words...` from the root, and end it with all that it started after that time."""

    def limit() -> None:
        for name, most in (("AS", memory), ("CPU", seconds), ("FSIZE", disk), ("CORE", 0), ("NPROC", 4096)):
            kind = getattr(resource, f"RLIMIT_{name}")
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (most if hard < 0 else min(most, hard),) * 2)

    given = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"} | environ
    child = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, env=given, preexec_fn=limit, start_new_session=True, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = child.communicate(timeout=4 * seconds)  # a busy machine gives it a part of each second
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return Ended(child.returncode, out, err)


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Hang, where what is inside takes longer."""

    def stop(number: int, frame: object) -> None:
        raise Hang(f"more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@cache
def slowness() -> float:
    """How many times longer than on a processor of 2024 a piece of work takes here, at least 1: for limits on time."""
    text, spent = "x" * 10**6, []
    for _ in range(3):
        began = time.process_time()
        assert sum(letter == "y" for letter in text) == 0
        spent.append(time.process_time() - began)
    return max(1.0, min(spent) / 0.03)
