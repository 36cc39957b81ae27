"""The program as a user calls it, in this process."""
from typing import NamedTuple

from typer.testing import CliRunner

from unveil.cli import app

PUZZLE = r"1000\n0002\n4003\n0000\n=\n"  # as typed: the shell leaves \n as it is


class Outcome(NamedTuple):
    """What the user sees."""

    code: int
    out: str
    err: str


def run(*words: object, text: str | None = None) -> Outcome:
    """`unveil` with these words; `text` is on standard input. An exception that no user should see is raised."""
    result = CliRunner().invoke(app, [str(word) for word in words], input=text)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def words_of(text: str) -> str:
    """Text without frames and line breaks, so that a wrapped message can be searched."""
    return " ".join(text.replace("│", " ").split())


def untimed(result: dict) -> dict:
    """A result without what the clock says."""
    kept = {key: value for key, value in result.items() if key not in {"seconds", "tokens_per_second"}}
    about = {key: value for key, value in result["record"].items() if key not in {"date", "wall_seconds"}}
    return {**kept, "record": about}
