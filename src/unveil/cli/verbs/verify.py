"""unveil verify: does a checkpoint here give what the published code gave?"""

from pathlib import Path
from typing import Annotated

import typer

from unveil.terminal import out, plain


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

    from unveil import api
    from unveil.evaluation.verify import report_table, summary

    torch.set_num_threads(1)  # recorded models are tiny
    report = api.verify(folder)
    out().print(report_table(report), "")
    for reason in report.skipped:
        out().print(f"skipped: {plain(reason)}", style="yellow", soft_wrap=True)
    out().print(summary(report), style="bold green" if report.ok else "bold red", soft_wrap=True)
    if not report.ok:
        raise typer.Exit(1)
