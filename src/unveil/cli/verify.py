"""unveil verify: does a checkpoint here give what the published code gave?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unveil.cli.show import bars, out, plain, table

if TYPE_CHECKING:
    from rich.table import Table

    from unveil.evaluation.verify import Report


def verify(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="A checkpoint with recorded outputs: forward.safetensors (input_ids, logits) and *decodes*.json.",
        ),
    ],
) -> None:
    """Compare logits, tokens and forwards with the recorded outputs of the published code.

    Exit code 0: all that could be checked agrees; 1: something differs; 2: the folder cannot be read.

    Example: unveil verify ../shared/data/parity/llada_tiny
    """
    import torch

    from unveil.evaluation.verify import verify as run

    torch.set_num_threads(1)  # recorded models are tiny
    with bars() as progress:
        bar = progress.add_task("decodes", total=None)
        report = run(folder, lambda done, total: progress.update(bar, completed=done, total=total))
    out().print(report_table(report), "")
    for reason in report.skipped:
        out().print(f"skipped: {plain(reason)}", style="yellow", soft_wrap=True)
    out().print(summary(report), style="bold green" if report.ok else "bold red", soft_wrap=True)
    if not report.ok:
        raise typer.Exit(1)


def report_table(report: "Report") -> "Table":
    """A line per sampler and setting."""
    shown = table("sampler", "<settings", "runs", "tokens\nequal", "forwards\nequal", "logit\ndifference", "<")
    for row in report.rows:
        decoded = row.logit_difference is None
        shown.add_row(
            plain(row.sampler),
            plain(row.settings),
            str(row.num),
            str(row.tokens_equal) if decoded else "-",
            str(row.forwards_equal) if decoded else "-",
            "-" if decoded else f"{row.logit_difference:.1e}",
            "agrees" if row.ok else "DIFFERS",
            style="" if row.ok else "red",
        )
    return shown


def summary(report: "Report") -> str:
    """One line."""
    decodes = [row for row in report.rows if row.logit_difference is None]
    num, faults = sum(row.num for row in decodes), sum(not row.ok for row in report.rows)
    skipped = f", {len(report.skipped)} kinds skipped" if report.skipped else ""
    if not report.rows:
        return f"Nothing could be checked{skipped}."
    checked = f"{num} decodes{' and the logits' if len(decodes) < len(report.rows) else ''}{skipped}"
    return f"All agree: {checked}." if report.ok else f"{faults} of {len(report.rows)} lines differ: {checked}."
