"""The arguments and options that several verbs share, each explained once."""

from pathlib import Path
from typing import Annotated

import typer

SAMPLERS = (  # as in decoding.spec
    "llada", "dream", "fast_dllm", "eb_sampler", "remdm", "evotoken", "left_to_right", "policy",
)  # fmt: skip
TASKS = (  # the same for tasks
    "sudoku", "countdown", "sums", "rules", "gsm8k", "math500", "svamp", "countdown-text", "sudoku-text", "humaneval",
    "mbpp",
)  # fmt: skip
LAYOUTS = ("llada", "dream", "llama", "qwen2", "qwen3", "a2d-llama", "a2d-qwen2", "a2d-qwen3", "hf")  # of checkpoints

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
