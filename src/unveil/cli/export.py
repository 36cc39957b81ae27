"""unveil export: a model in another published layout, for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from unveil.cli import options
from unveil.cli.show import busy, err, out, plain

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="A new folder for the model.", file_okay=False, show_default=False)
]
Layout = Annotated[
    str,
    typer.Option(
        "--layout",
        metavar="LAYOUT",
        help=f"What the files are to look like: {', '.join(options.LAYOUTS)}. hf: llama, qwen2 or qwen3, whichever "
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
    from unveil.checkpoints.adapters import adapter_folder
    from unveil.checkpoints.export import export as write
    from unveil.checkpoints.locate import dtype_of, locate

    kind = None if dtype is None else dtype_of(dtype)
    added = None if adapter is None else adapter_folder(adapter)
    source = locate(model, revision)
    with busy(f"exporting {model}"):
        family = write(source, folder, layout, dtype=kind, adapter=added, shard=shard)
    out().print(f"{plain(model)} is in {plain(str(folder))}, in {family.model_type}'s layout", soft_wrap=True)
    err().print(f"try: unveil decode {plain(str(folder))} PROMPT", style="dim", soft_wrap=True)
