"""Programs for what others' files compute (chat templates, regular expressions): in a process of its own, with limits.

Each has a function `answer`, which takes a JSON object and gives one; `serve` calls it, line by line.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CPU_SECONDS = 5  # for one question
WALL_SECONDS = 300  # a busy machine gives a process little of each second
MEMORY = 1 << 30
LONGEST = 1 << 24  # bytes of an answer


class Ended(ValueError):
    """The program was stopped at a limit, or died."""


class Apart:
    """A program beside this file, in a process that lives until this value does; questions are asked one by one."""

    def __init__(self, program: str) -> None:
        self._program = Path(__file__).with_name(f"{program}.py")
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The program's answer. Ended, saying why, where it took more than its limits; after that it starts anew."""
        with self._lock:
            process = self._running()
            try:
                return json.loads(self._exchange(process, json.dumps(question, default=_inert).encode()))
            except BaseException:
                _end(process)
                self._process = None
                raise

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._owner != os.getpid():  # a fork has pipes, but no process of its own
            path = [place for place in sys.path if isinstance(place, str)]  # Python passes over all else, too
            limits = {"path": path, "cpu": CPU_SECONDS, "memory": MEMORY, "longest": LONGEST}
            serve = Path(__file__).with_name("serve.py")
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(serve), str(self._program), json.dumps(limits)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            )  # fmt: skip
            self._owner = os.getpid()
            weakref.finalize(self, _end, self._process, os.getpid())
        return self._process

    def _exchange(self, process: "subprocess.Popen[bytes]", line: bytes) -> bytes:
        assert process.stdin is not None and process.stdout is not None
        until, found = time.monotonic() + WALL_SECONDS, bytearray()
        try:
            rest = memoryview(line + b"\n")
            while rest:
                rest = rest[process.stdin.write(rest) or 0 :]
            while not found.endswith(b"\n"):
                ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
                piece = os.read(process.stdout.fileno(), 1 << 16) if ready else b""
                if not piece:
                    raise Ended(_why(process, bool(ready)))
                found += piece
        except OSError:
            raise Ended(_why(process, True)) from None
        return bytes(found)


def _why(process: "subprocess.Popen[bytes]", died: bool) -> str:
    """In words what stopped it."""
    if died and process.wait() != -signal.SIGXCPU:
        return f"died with exit status {process.returncode}; it may take {MEMORY >> 20} MiB of memory"
    return f"took more than {CPU_SECONDS if died else WALL_SECONDS} seconds"


def _end(process: "subprocess.Popen[bytes]", owner: int = 0) -> None:
    if owner and owner != os.getpid():
        return
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _inert(value: Any) -> str:
    """What JSON cannot hold, as transformers shows it to a template."""
    return f"<{type(value).__name__}>"
