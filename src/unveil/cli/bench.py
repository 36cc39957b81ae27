"""unveil bench: how fast a model decodes under several samplers."""

from typing import TYPE_CHECKING, Annotated

import typer

from unveil.cli import options
from unveil.cli.load import Loading, check_samplers, loads
from unveil.cli.show import busy, check_output, err, out, plain, spaced, table, write_results

if TYPE_CHECKING:
    from rich.table import Table

    from unveil.decoding.model import Model
    from unveil.evaluation.speed import Speed

DEFAULTS = (
    "llada",
    "fast_dllm:threshold=0.9",
    "fast_dllm:threshold=0.9,block=8,cache=prefix",
    "fast_dllm:threshold=0.9,block=8,cache=dual",
)
PROMPT_TOKENS = 32  # or what the context leaves


PromptTokens = Annotated[
    int | None,
    typer.Option(
        "--prompt-tokens",
        min=1,
        help=f"Length of the random prompts. Default: {PROMPT_TOKENS}, or what the context leaves.",
        show_default=False,
    ),
]
Repeat = Annotated[int, typer.Option("--repeat", min=1, help="Decodes to take the median of.")]


@loads
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
    loading: Loading,
) -> None:
    """Measure tokens per second on random prompts, and the share of time outside the model's forward.

    Example: unveil bench lab-sudoku --sampler llada --sampler fast_dllm:threshold=0.9,block=8,cache=dual
    """
    from unveil.evaluation.speed import measure

    specs = sampler or list(DEFAULTS)
    check_output(json)
    check_samplers(specs)
    loaded = loading.model(model)
    new = loaded.new_tokens if new_tokens is None else new_tokens
    given = _prompt_tokens(loaded, new) if prompt_tokens is None else prompt_tokens
    speeds = []
    for spec in specs:
        with busy(f"measuring {spec}"):
            speeds.append(
                measure(loaded, spec, prompt_tokens=given, new_tokens=new, batch=batch, repeat=repeat, seed=seed)
            )
    out().print(speeds_table(speeds))
    if json is not None:
        write_results(json, [speed.to_json() for speed in speeds])
        err().print(f"written: {plain(str(json))}", style="dim", soft_wrap=True)


def speeds_table(speeds: "list[Speed]") -> "Table":
    """A line per sampler."""
    first = speeds[0]
    kind = first.dtype if first.bits is None else f"{first.bits} bits and {first.dtype}"
    shown = table(
        "sampler", "tokens/\nsecond", "slowest\nto fastest", "forwards", "ms per\nforward", "outside\nthe model",
        title=plain(
            f"{first.model}: {first.batch} rows, {first.prompt_tokens} + {first.new_tokens} tokens, {kind} on "
            f"{first.device}, threads {first.threads}, median of {first.repeat}"
        ),
    )  # fmt: skip
    for speed in speeds:
        shown.add_row(
            spaced(speed.sampler),
            f"{speed.tokens_per_second:,.0f}",
            f"{speed.tokens_per_second_low:,.0f}-{speed.tokens_per_second_high:,.0f}",
            str(speed.forwards),
            f"{speed.ms_per_forward:.2f}",
            f"{speed.outside:.0%}",
        )
    return shown


def _prompt_tokens(model: "Model", new: int) -> int:
    return max(1, min(PROMPT_TOKENS, model.denoiser.architecture.max_columns - new))
