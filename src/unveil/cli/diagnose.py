"""unveil diagnose: how a model reads its context, and what appended masks cost it."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unveil.cli import options
from unveil.cli.errors import keeping
from unveil.cli.load import Loading, loads
from unveil.cli.show import bars, err, out, plain, table

if TYPE_CHECKING:
    from rich.table import Table

    from unveil.decoding.model import Model
    from unveil.diagnostics.cells import Cell, Record
    from unveil.diagnostics.probe import Probe
    from unveil.diagnostics.report import Report
    from unveil.diagnostics.rows import ChatTemplate
    from unveil.tasks.few_shot.shots import FewShot
    from unveil.tasks.few_shot.suite import RuleTask

# The registry without its imports; held equal by a test.
PROBES = (
    "masks", "position", "dots", "gradients", "question", "gradients-infill", "length", "steps", "masks-position",
    "need", "confidence", "degradation", "points", "points-masks", "hotpotqa",
)  # fmt: skip
QUICK = PROBES[:4]
ITEMS = "items.jsonl"

Probes = Annotated[
    list[str] | None,
    typer.Option(
        "--probe",
        metavar="NAME",
        help=f"What to measure: {', '.join(PROBES)}, or all (without the last three, which have questions of their "
        f"own). Repeat it for several. Default: {', '.join(QUICK)} (with one order of a question's examples, not 30).",
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
    typer.Option("--tokens", min=1, help="Tokens computed at a time. It changes the speed, never the result."),
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


@loads
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
    loading: Loading,
) -> None:
    """Find out how far a model reads its prompt and what appended masks cost it; write a report with a card on top.

    Example: unveil diagnose lab-rules --probe masks --probe position --out runs/diagnosis
    """
    from unveil.diagnostics.probes import chosen

    grid, number = numbers_of(masks), draws_of(draws)
    tasks = tasks_of(task, pools, letters.value)
    wanted = reading(chosen(probe, grid, chat=chat), hotpotqa)
    check_questions(wanted, tasks, limit)
    template = template_of(model, loading.revision) if chat else None
    loaded = loading.model(model)
    fit = {one.name for one in chosen(probe, causal=is_causal(loaded), chat=chat)}
    probes = [one for one in wanted if one.name in fit]
    if left := ", ".join(one.name for one in wanted if one.name not in fit):
        err().print(f"left out, for the model is causal and they need one that reads [MASK]: {left}", soft_wrap=True)
    out_dir.mkdir(parents=True, exist_ok=True)
    settings = {
        "tasks": {one.name: one.describe for one in tasks}, "limit": limit, "draws": number, "letters": letters.value,
        "pools": str(pools or "shipped"), "chat": chat,
    }  # fmt: skip
    with keeping(f"The answers so far are kept in {out_dir / ITEMS}. The same command goes on from there."):
        asked = {"limit": limit, "draws": number, "chat": template, "tokens": tokens}
        records = answers(loaded, tasks, probes, out_dir / ITEMS, **asked)
        _told(loaded, probes, records, tasks, settings, out_dir)


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


def tasks_of(names: list[str] | None, pools: Path | None, letters: str) -> "list[RuleTask]":
    """The tasks of these names, each once; without names all. ValueError as `rule_task`."""
    from unveil.tasks.few_shot.suite import rule_task, suite

    words: Any = (None if pools is None else str(pools), letters)
    return [rule_task(name, *words) for name in dict.fromkeys(names)] if names else list(suite(*words))


def reading(probes: "Sequence[Probe]", hotpotqa: Path | None) -> "list[Probe]":
    """The same probes, with the file that the one on texts reads. ValueError for a file that none reads."""
    from unveil.diagnostics.elsewhere import Texts

    if hotpotqa is not None and not any(isinstance(probe, Texts) for probe in probes):
        raise ValueError("--hotpotqa names a file, but no probe reads it: add --probe hotpotqa")
    path = None if hotpotqa is None else str(hotpotqa)
    return [replace(probe, path=path) if isinstance(probe, Texts) else probe for probe in probes]


def check_questions(probes: "Sequence[Probe]", tasks: "Sequence[RuleTask]", limit: int) -> None:
    """ValueError, before a large model is loaded, if a probe has not so many questions or lacks what they come from."""
    for probe in probes:
        for source in probe.sources(tasks):
            source.questions(min(limit, probe.num_questions or limit))


def is_causal(model: "Model") -> bool:
    """Whether columns see only what is left of them."""
    from unveil.models.attention import Causal

    return isinstance(model.denoiser.architecture.rule, Causal)


def template_of(name: str, revision: str | None) -> "ChatTemplate":
    """The model's chat template. ValueError if it has none."""
    from unveil.checkpoints.chat import chat_template
    from unveil.checkpoints.locate import locate

    return chat_template(locate(name, revision))


def answers(
    model: "Model", tasks: "Sequence[RuleTask]", probes: "Sequence[Probe]", items: Path, *, limit: int, **more: Any
) -> "list[Record]":
    """The records of all cells of the probes, with a bar; cells that need fewer questions are asked fewer."""
    from unveil.diagnostics.run import measure

    groups: dict[tuple[int, tuple[FewShot, ...]], dict[str, Cell]] = {}
    for probe in probes:
        cells = groups.setdefault((min(limit, probe.num_questions or limit), tuple(probe.sources(tasks))), {})
        cells.update({point.cell.key: point.cell for point in probe.points()})
    records = []
    with bars() as progress:
        for number, ((count, sources), cells) in enumerate(groups.items(), 1):
            about = f"{number}/{len(groups)} {len(cells)} settings, {count} questions a task"
            bar = progress.add_task(about, total=None)
            records += measure(
                model, sources, list(cells.values()), limit=count, items=items,
                on_item=lambda done, total, bar=bar: progress.update(bar, completed=done, total=total),  # type: ignore[misc]
                **more,
            )  # fmt: skip
            progress.remove_task(bar)
    return records


def card_table(report: "Report") -> "Table":
    """The report card, a line a finding."""
    shown = table(
        "probe", "<what", "value", "95 %\ninterval", "questions", "tasks",
        title=plain(f"How {report.model} reads its context"),
    )  # fmt: skip
    for name, findings in report.card.items():
        for finding in findings:
            shown.add_row(name, finding.name, *finding.shown, str(finding.test_points), str(finding.tasks))
    return shown


def _told(
    model: "Model",
    probes: "Sequence[Probe]",
    records: "list[Record]",
    tasks: "Sequence[RuleTask]",
    settings: dict[str, Any],
    out_dir: Path,
) -> None:
    """Write the report, show the card and where the report is."""
    from unveil.diagnostics.page import write_report
    from unveil.diagnostics.report import report_of

    settings |= {"dtype": str(model.dtype).removeprefix("torch."), "device": str(model.device)}
    settings |= {"adapter": model.adapter, "bits": model.bits}
    report = report_of(
        probes, records, tasks, model=model.name, revision=model.revision, settings=settings, chat=settings["chat"]
    )
    page = write_report(report, out_dir)
    out().print(card_table(report))
    out().print(plain(f"\n{report.how}"), style="dim")
    out().print(plain(f"\nThe report: {page}"), soft_wrap=True)
    err().print(f"every answer: {plain(str(out_dir / ITEMS))}", style="dim", soft_wrap=True)
