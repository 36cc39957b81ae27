"""Bad input and interruptions end with one sentence and an exit code, not with a traceback."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import typer
from typer.core import TyperGroup

from unveil import interrupts
from unveil.terminal import err, plain, speaks

BAD_INPUT = 2


class Verbs(TyperGroup):
    """ValueError and OSError of the library exit with 2, Ctrl-C with 130. `python -X dev` shows tracebacks."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        warnings.showwarning = cast(Any, _remark)
        try:
            return super().invoke(ctx)
        except (BrokenPipeError, typer.Exit):
            raise  # where the reader of a pipe left, typer ends quietly
        except KeyboardInterrupt as stop:
            raise _stopped(str(stop)) from None
        except Exception as error:
            if interrupts.came():  # it was swallowed, and this is what came of it
                raise _stopped("") from None
            if sys.flags.dev_mode or not isinstance(error, ValueError | OSError | FloatingPointError):
                raise
            _complain("error:", sentence(error))
            raise typer.Exit(BAD_INPUT) from None


@contextmanager
def keeping(what: str) -> Iterator[None]:
    """Should Ctrl-C come inside, the user reads `what`: what is kept and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(what) from None
    except Exception:
        if interrupts.came():  # it was swallowed, and this is what came of it
            raise KeyboardInterrupt(what) from None
        raise


def sentence(error: Exception) -> str:
    """The message of an error; for an OSError the file and the reason, without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _remark(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning of the library is one sentence too, of the first process only."""
    if speaks():
        _complain("note:", str(message), "bold")


def _stopped(kept: str) -> typer.Exit:
    _complain("stopped.", kept or "Nothing was written.")
    return typer.Exit(interrupts.INTERRUPTED)


def _complain(word: str, text: str, style: str = "bold red") -> None:
    from rich.text import Text

    err().print(Text.assemble((word, style), " ", plain(text)), soft_wrap=True)
