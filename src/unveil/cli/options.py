"""The arguments and options that several verbs share, each explained once."""

from pathlib import Path
from typing import Annotated

import typer

SAMPLERS = ("llada", "dream", "fast_dllm", "eb_sampler", "remdm", "evotoken", "policy")  # as in decoding.spec
TASKS = ("sudoku", "countdown", "sums", "rules")  # the same for tasks

ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A shipped model (`unveil models` lists them), a folder in LLaDA's or Dream's layout, or a Hugging Face "
        "repository owner/name.",
        show_default=False,
    ),
]
Spec = typer.Option(
    "--sampler",
    metavar="SPEC",
    help=f"NAME or NAME:key=value,...; names are {', '.join(SAMPLERS)}. For example llada:steps=32,block=16 "
    "(`steps` is the total over all blocks). The settings are listed in `unveil decode --help`.",
)
OneSampler = Annotated[str, Spec]
Samplers = Annotated[
    list[str] | None,
    typer.Option(
        "--sampler",
        metavar="SPEC",
        help=f"{Spec.help} Repeat the option to compare several.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of all that is drawn; row i draws from seed + i.")]
Batch = Annotated[
    int, typer.Option("--batch", min=1, help="Rows decoded at a time. It changes the speed, never the result.")
]
NewTokens = Annotated[
    int | None,
    typer.Option(
        "--new-tokens",
        min=1,
        help="Length of an answer. Default: what the model's settings say, or 128.",
        show_default=False,
    ),
]
Guidance = Annotated[
    float, typer.Option("--guidance", help="Scale of classifier-free guidance; 0 is off. Each forward sees two rows.")
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Also write the results there as JSON.", show_default=False),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="CPU threads. Default: 1 for small models, which are fastest so, and all cores for large ones.",
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="cpu, cuda, cuda:1 or mps. Default: a GPU if there is one.", show_default=False),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="float32, float64, bfloat16 or float16. Default: float32 on a CPU, else as stored.",
        show_default=False,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option("--revision", help="Branch, tag or commit of a Hugging Face repository.", show_default=False),
]
