"""Ctrl-C that ends the program even where it is swallowed: in an extension's import, a callback, a destructor.

What must be remembered is kept by the handler itself, of which a process has one anyway: there is no state beside it,
and a program that only imports the library keeps its own handler.
"""

import atexit
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

INTERRUPTED = 130  # the exit code: 128 and the signal's number


class Noted:
    """A handler of Ctrl-C that raises KeyboardInterrupt, as Python's own, and remembers that it did."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal, and break off what runs."""
        self.came = True
        raise KeyboardInterrupt


def note() -> None:
    """From now on Ctrl-C is noted; where it ends a callback, Python does not print a traceback of it.

    Not where whoever started the program turned Ctrl-C off, or has a handler of his own.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    before = sys.unraisablehook

    def quiet(error: Any) -> None:
        if not issubclass(error.exc_type, KeyboardInterrupt):
            before(error)

    sys.unraisablehook = quiet
    signal.signal(signal.SIGINT, Noted())


def came() -> bool:
    """Whether there was a Ctrl-C, swallowed or not."""
    handler = signal.getsignal(signal.SIGINT)
    return isinstance(handler, Noted) and handler.came


def check() -> None:
    """KeyboardInterrupt if there was one and nobody has ended the program for it: call it where that is safe."""
    if came():
        raise KeyboardInterrupt


@contextmanager
def last_lines() -> Iterator[None]:
    """The work is done: inside Ctrl-C does nothing; after it, it ends the wait for threads, and then nothing again."""
    noted = isinstance(signal.getsignal(signal.SIGINT), Noted)
    if noted:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        if noted:
            signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
