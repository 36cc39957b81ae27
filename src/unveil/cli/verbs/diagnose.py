"""unveil diagnose: how a model reads its context, and what appended masks cost it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from unveil import catalogue
from unveil.cli import options
from unveil.cli.errors import keeping
from unveil.terminal import err, out, plain

PROBES = tuple(catalogue.probes())
QUICK = tuple(name for name, entry in catalogue.probes().items() if entry.constants.get("quick"))

Probes = Annotated[
    list[str] | None,
    typer.Option(
        "--probe",
        metavar="NAME",
        help=f"What to measure: {', '.join(PROBES)}, or all (without points, points-masks and hotpotqa, "
        f"which have questions of their own). Repeat it for several. Default: {', '.join(QUICK)} (with one "
        "order of a question's examples, not 30).",
        show_default=False,
    ),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        metavar="NAME",
        help="One of the sixteen few-shot tasks, T01 to T16. Repeat it for several. Default: all.",
        show_default=False,
    ),
]
Masks = Annotated[
    str | None,
    typer.Option(
        "--masks",
        metavar="LIST",
        help="Numbers of masks, the answer's included, such as 2,5,10,20,50,100,150,200. Default: each probe's own.",
        show_default=False,
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="Questions a task.")]
Draws = Annotated[
    str,
    typer.Option(
        "--draws",
        metavar="fresh|NUMBER",
        help="fresh: examples drawn anew for each question. A number: so many draws, each for all questions; the paper "
        "has 1.",
    ),
]
Pools = Annotated[
    Path | None,
    typer.Option(
        "--pools",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Words of the tasks, JSON {category: list of words}, such as the published categories.json. "
        "Default: our own.",
        show_default=False,
    ),
]


class Letter(StrEnum):
    """Which letter is right."""

    BALANCED = "balanced"
    RANDOM = "random"


Letters = Annotated[
    Letter,
    typer.Option(
        "--letters", help="balanced: each letter is right equally often. random: they are drawn, as in the paper."
    ),
]
Hotpot = Annotated[
    Path | None,
    typer.Option(
        "--hotpotqa",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="The questions of the probe hotpotqa, as the data set has them. Default: from the hub, through datasets.",
        show_default=False,
    ),
]
Chat = Annotated[bool, typer.Option("--chat", help="Ask in the model's chat template, for instruct models.")]
Tokens = Annotated[
    int,
    typer.Option(
        "--tokens",
        **options.legal("tokens"),
        help="Tokens computed at a time. It changes the speed, never the result.",
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="DIR",
        file_okay=False,
        help="Folder for the report and every answer; it is made if need be. The same command, interrupted or with "
        "more probes, tasks or questions, goes on from the answers there.",
        show_default=False,
    ),
]


@options.loads
def diagnose(
    model: options.ModelName,
    out_dir: Out,
    probe: Probes = None,
    task: Tasks = None,
    masks: Masks = None,
    limit: Limit = 50,
    draws: Draws = "fresh",
    pools: Pools = None,
    letters: Letters = Letter.BALANCED,
    hotpotqa: Hotpot = None,
    chat: Chat = False,
    tokens: Tokens = 16384,
    *,
    loading: dict[str, Any],
) -> None:
    """Find out how far a model reads its prompt and what appended masks cost it; write a report with a card on top.

    Example: unveil diagnose lab-rules --probe masks --probe position --out runs/diagnosis
    """
    from unveil import api
    from unveil.diagnostics.context.diagnosis import ITEMS
    from unveil.diagnostics.context.report import card_table

    with keeping(f"The answers so far are kept in {out_dir / ITEMS}. The same command goes on from there."):
        report = api.diagnose(
            model, probes=probe, tasks=task, masks=numbers_of(masks), limit=limit, draws=draws_of(draws), pools=pools,
            letters=letters.value, hotpotqa=hotpotqa, chat=chat, tokens=tokens, out=out_dir, **loading,
        )  # fmt: skip
    out().print(card_table(report))
    out().print(plain(f"\n{report.how}"), style="dim")
    out().print(plain(f"\nThe report: {out_dir / 'report.html'}"), soft_wrap=True)
    err().print(f"every answer: {plain(str(out_dir / ITEMS))}", style="dim", soft_wrap=True)


def numbers_of(text: str | None) -> tuple[int, ...] | None:
    """The numbers of masks of "2,50,200", in order. ValueError for what is no list of whole numbers."""
    try:
        return None if text is None else tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise ValueError(f"--masks is {text!r}; write whole numbers and commas, such as 2,50,200") from None


def draws_of(text: str) -> Any:
    """A number, or "fresh". ValueError for anything else."""
    if text != "fresh" and not (text.isdecimal() and int(text) > 0):
        raise ValueError(f"--draws is {text!r}; write fresh, or how many draws: 1 or more")
    return text if text == "fresh" else int(text)
