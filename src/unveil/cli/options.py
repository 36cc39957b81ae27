"""The arguments and options that several verbs share, each explained once."""

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from unveil import catalogue
from unveil.legal import OPEN, OPTIONS, Range


def legal(name: str, table: Mapping[str, Range] = OPTIONS) -> dict[str, Any]:
    """The least and the greatest number that an option takes, for typer; without the greatest where it says nothing."""
    found = table[name]
    return {"min": found.low} | ({"max": found.high} if found.high < OPEN else {})


SAMPLERS, TASKS = tuple(catalogue.samplers()), tuple(catalogue.tasks())

ModelName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A shipped model (`unveil models` lists them), a folder with a published model, or a Hugging Face "
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
Seed = Annotated[
    int, typer.Option("--seed", **legal("seed"), help="Seed of all that is drawn; row i draws from seed + i.")
]
Batch = Annotated[
    int,
    typer.Option(
        "--batch",
        **legal("batch"),
        help="Rows decoded at a time: the speed. Results differ at most by rounding, with --exact never.",
    ),
]
NewTokens = Annotated[
    int | None,
    typer.Option(
        "--new-tokens",
        **legal("new_tokens"),
        help="Length of an answer. Default: what the model's settings say, or 128.",
        show_default=False,
    ),
]
Guidance = Annotated[
    float,
    typer.Option(
        "--guidance",
        **legal("guidance"),
        help="Scale of classifier-free guidance; 0 is off. Each forward sees two rows.",
    ),
]
Chat = Annotated[
    bool | None,
    typer.Option(
        "--chat/--raw",
        help="Ask in the model's chat template, or with the text alone. Default: a chat if the model has a template.",
        show_default=False,
    ),
]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code-execution", help="Run the code that the model wrote, in a sandbox: humaneval and mbpp need it."
    ),
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Also write the results there as JSON.", show_default=False),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        **legal("threads"),
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
AdapterName = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        metavar="FOLDER",
        help="A LoRA adapter in PEFT's format, a folder or a Hugging Face repository; it is added to the weights. "
        "Needs the extra lora.",
        show_default=False,
    ),
]
Bits = Annotated[
    int | None,
    typer.Option(
        "--bits",
        metavar="8|4",
        help="Round the layers' weights to 8 or 4 bits, so that they take less memory. Needs the extra quantise.",
        show_default=False,
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Let a repository's own Python code run, for a model that neither we nor transformers know. It can do "
        "whatever you can.",
    ),
]
TaskSpec = Annotated[
    str,
    typer.Option(
        "--task",
        metavar="TASK",
        help=f"What is asked and judged: NAME or NAME:key=value,...; names are {', '.join(TASKS)}. "
        "For example sudoku:givens=4-6.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Problems, a file as the task publishes them. Default: fresh ones where the task makes them, else the "
        "published test split, from the hub.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        **legal("limit"),
        help="How many problems. Default: all of them, or 200 where they are made fresh.",
        show_default=False,
    ),
]
Stops = Annotated[
    list[str] | None,
    typer.Option(
        "--stop",
        metavar="TEXT",
        help="Cut an answer before this text, and judge what stands before it. Repeat the option for several. Default: "
        "the task's own where the model is asked with text alone, else none.",
        show_default=False,
    ),
]

Exact = Annotated[
    bool,
    typer.Option(
        "--exact",
        help="Compute in float64, where no row's answer depends on the batch it is in, not even by rounding.",
    ),
]

LOADING: dict[str, Any] = {  # the fields of Loading that are options
    "threads": Threads,
    "device": Device,
    "dtype": Dtype,
    "revision": Revision,
    "adapter": AdapterName,
    "bits": Bits,
    "trust_remote_code": TrustRemoteCode,
    "exact": Exact,
}


def loads(verb: Callable[..., None]) -> Callable[..., None]:
    """Put the options of LOADING in the place of a verb's parameter `loading`, a dict."""
    own = signature(verb)

    @wraps(verb)
    def spread(**given: Any) -> None:
        loading = {name: given.pop(name) for name in LOADING}
        verb(loading=loading, **given)

    kept = [parameter for name, parameter in own.parameters.items() if name != "loading"]
    added = [
        Parameter(
            name, Parameter.KEYWORD_ONLY, default=False if kind in (TrustRemoteCode, Exact) else None, annotation=kind
        )
        for name, kind in LOADING.items()
    ]
    spread.__signature__ = own.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
    return spread
