"""unveil export: a model in another published layout, for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from unveil import catalogue
from unveil.cli import options
from unveil.terminal import busy, err, out, plain

LAYOUTS = (*map(str.lower, catalogue.layouts()), "hf")

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="A new folder for the model.", file_okay=False, show_default=False)
]
Layout = Annotated[
    str,
    typer.Option(
        "--layout",
        metavar="LAYOUT",
        help=f"What the files are to look like: {', '.join(LAYOUTS)}. hf: llama, qwen2 or qwen3, whichever "
        "fits; transformers loads it without remote code.",
        show_default=False,
    ),
]
Shard = Annotated[str, typer.Option("--shard-size", metavar="SIZE", help="Size of a file of weights, with MB or GB.")]
StoredDtype = Annotated[
    str | None,
    typer.Option(
        "--dtype", help="float32, float64, bfloat16 or float16. Default: as the model is stored.", show_default=False
    ),
]


def export(
    model: options.ModelName,
    folder: Folder,
    layout: Layout,
    dtype: StoredDtype = None,
    adapter: options.AdapterName = None,
    shard: Shard = "5GB",
    revision: options.Revision = None,
) -> None:
    """Write a model, with an adapter added if wanted, in another published layout: config, weights, tokenizer.

    The new folder gives the same logits, bit for bit where the dtype stays. A layout that cannot hold the model is
    refused: Dream's code, for example, reads a column's token from the column before.

    Example: unveil export lab-sudoku runs/lab-sudoku-hf --layout hf
    """
    from unveil import api

    with busy(f"exporting {model}"):
        made = api.export(model, folder, layout, dtype=dtype, adapter=adapter, shard_size=shard, revision=revision)
    kind = made.layout[0].model_type
    out().print(f"{plain(model)} is in {plain(str(folder))}, in {kind}'s layout", soft_wrap=True)
    err().print(f"try: unveil decode {plain(str(folder))} PROMPT", style="dim", soft_wrap=True)
