"""Bad input and interruptions end with one sentence and an exit code, not with a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

BAD_INPUT, INTERRUPTED = 2, 130


class Verbs(TyperGroup):
    """ValueError and OSError of the library exit with 2, Ctrl-C with 130. `python -X dev` shows tracebacks."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of a pipe left: typer ends quietly
        except (ValueError, OSError, FloatingPointError) as error:
            if sys.flags.dev_mode:
                raise
            _complain("error:", sentence(error))
            raise typer.Exit(BAD_INPUT) from None
        except KeyboardInterrupt as stop:
            _complain("stopped.", str(stop) or "Nothing was written.")
            raise typer.Exit(INTERRUPTED) from None


@contextmanager
def keeping(what: str) -> Iterator[None]:
    """Should Ctrl-C come inside, the user reads `what`: what is kept and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(what) from None


def sentence(error: Exception) -> str:
    """The message of an error; for an OSError the file and the reason, without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _complain(word: str, text: str) -> None:
    from rich.text import Text

    from unveil.terminal import err, plain

    err().print(Text.assemble((word, "bold red"), " ", plain(text)), soft_wrap=True)
