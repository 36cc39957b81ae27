"""The program as a user calls it, in this process."""
import subprocess
from typing import NamedTuple

from typer.testing import CliRunner

from unveil.cli import app

PUZZLE = "1000\n0002\n4003\n0000\n=\n"


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


def words_typed(command: str) -> list[str]:
    """The words that a program gets from a command as it is typed: bash reads it."""
    told = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True)
    return told.stdout.split("\0")[:-1]


def words_of(text: str) -> str:
    """Text without frames and line breaks, so that a wrapped message can be searched."""
    return " ".join(text.replace("│", " ").split())


def untimed(result: dict) -> dict:
    """A result without what the clock says."""
    kept = {key: value for key, value in result.items() if key not in {"seconds", "tokens_per_second"}}
    about = {key: value for key, value in result["record"].items() if key not in {"date", "wall_seconds"}}
    return {**kept, "record": about}
