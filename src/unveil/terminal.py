"""What is shown to people: two consoles, progress, tables, and text of models made harmless."""

import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Literal

from unveil import interrupts

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

PIPED_WIDTH = 140  # columns where the output is no terminal
FIRST_WIDTH = 11  # of a table's first column, at least
TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # reorder what is read


def out() -> "Console":
    """Standard output: results."""
    return _console(stderr=False)


def err() -> "Console":
    """Standard error: progress, remarks, errors."""
    return _console(stderr=True)


def _console(stderr: bool) -> "Console":
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console


@contextmanager
def busy(text: str) -> Iterator[None]:
    """A moving sign with a text, on a terminal. KeyboardInterrupt, before and after, if one was swallowed."""
    interrupts.check()
    console = err()
    with console.status(plain(text)) if console.is_terminal and speaks() else nullcontext():
        yield
    interrupts.check()


@contextmanager
def bars() -> "Iterator[Progress]":
    """Bars that show how far something is, on a terminal; they leave no trace. KeyboardInterrupt: as `busy`."""
    interrupts.check()
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = err()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    silent = not (console.is_terminal and speaks())
    with Progress(*columns, console=console, transient=True, disable=silent) as progress:
        yield progress
    interrupts.check()


def speaks() -> bool:
    """Whether this process speaks: of several on one evaluation or training, which launchers number, only the first."""
    return os.environ.get("RANK", "0") == "0"


def plain(text: str) -> str:
    """The text with control characters (line breaks and tabs aside) and marks that reverse its order as U+FFFD.

    What a model writes, or what a file holds, must not be able to command the terminal.
    """
    return "".join("\ufffd" if _dangerous(character) else character for character in text)


def _dangerous(character: str) -> bool:
    return character in TURNS or (character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cs"))


def table(*columns: str, title: str | None = None) -> "Table":
    """An empty table: its first column is text, the others are numbers; a name that starts with '<' is text too."""
    from rich import box
    from rich.table import Table

    empty = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True,
        title=title, title_justify="left", title_style="bold",
    )  # fmt: skip
    for place, name in enumerate(columns):
        text = place == 0 or name.startswith("<")
        side: Literal["left", "right"] = "left" if text else "right"
        least = FIRST_WIDTH if place == 0 else None
        empty.add_column(name.removeprefix("<"), justify=side, overflow="fold", no_wrap=not text, min_width=least)
    return empty


def spaced(spec: str) -> str:
    """A sampler's spec that can be wrapped at its commas."""
    return plain(spec).replace(",", ", ")


def rendered(*parts: "Table | str") -> str:
    """Tables and lines as plain text, an empty line between them."""
    from io import StringIO

    from rich.console import Console

    text = StringIO()
    console = Console(file=text, width=PIPED_WIDTH, highlight=False, markup=False, emoji=False, no_color=True)
    for number, part in enumerate(parts):
        console.print(*([""] if number else []), part, sep="\n", soft_wrap=isinstance(part, str))
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip().split("\n"))
