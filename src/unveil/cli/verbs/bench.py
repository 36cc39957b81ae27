"""unveil bench: how fast a model decodes under several samplers."""

from typing import Annotated, Any

import typer

from unveil.cli import options
from unveil.terminal import err, out, plain

PromptTokens = Annotated[
    int | None,
    typer.Option(
        "--prompt-tokens",
        **options.legal("prompt_tokens"),
        help="Length of the random prompts. Default: 32, or what the context leaves.",
        show_default=False,
    ),
]
Repeat = Annotated[int, typer.Option("--repeat", **options.legal("repeat"), help="Decodes to take the median of.")]


@options.loads
def bench(
    model: options.ModelName,
    sampler: options.Samplers = None,
    prompt_tokens: PromptTokens = None,
    new_tokens: options.NewTokens = None,
    batch: options.Batch = 8,
    repeat: Repeat = 5,
    seed: options.Seed = 0,
    json: options.JsonFile = None,
    *,
    loading: dict[str, Any],
) -> None:
    """Measure tokens per second on random prompts, and the share of time outside the model's forward.

    Example: unveil bench lab-sudoku --sampler llada --sampler fast_dllm:threshold=0.9,block=8,cache=dual
    """
    from unveil import api
    from unveil.evaluation.speed import DEFAULTS, speeds_table

    speeds = api.bench(
        model, samplers=sampler or DEFAULTS, prompt_tokens=prompt_tokens, new_tokens=new_tokens, batch=batch,
        repeat=repeat, seed=seed, json=json, **loading,
    )  # fmt: skip
    out().print(speeds_table(speeds))
    if json is not None:
        err().print(f"written: {plain(str(json))}", style="dim", soft_wrap=True)
