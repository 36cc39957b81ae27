"""unveil evaluate: how often and how fast a model solves a task, under one or several samplers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unveil.cli import options
from unveil.cli.errors import keeping
from unveil.terminal import err, out, plain, speaks

if TYPE_CHECKING:
    from unveil.evaluation.result import Results

JsonAndItems = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Write the results there, and beside it every item (FILE's stem + .items.jsonl) as soon as it is done. "
        "The same command, interrupted, goes on from these items.",
        show_default=False,
    ),
]


@options.loads
def evaluate(
    model: options.ModelName,
    task: options.TaskSpec,
    data: options.Data = None,
    sampler: options.Samplers = None,
    limit: options.Limit = None,
    seed: options.Seed = 0,
    batch: options.Batch = 32,
    guidance: options.Guidance = 0.0,
    code: options.AllowCode = False,
    chat: options.Chat = None,
    stop: options.Stops = None,
    json: JsonAndItems = None,
    *,
    loading: dict[str, Any],
) -> None:
    """Measure accuracy (with a 95 % interval) and forwards of a model on a task.

    Among several processes (`accelerate launch -m unveil evaluate ...`, or torchrun) each takes its share of the
    problems; every item is what one process gives, and any number of processes may go on with what others began.

    Example: unveil evaluate lab-sudoku --task sudoku --sampler llada --sampler fast_dllm:threshold=0.9 --json out.json
    """
    from unveil import api
    from unveil.evaluation.items import items_beside

    specs = sampler or ["llada"]
    items = [] if json is None else items_beside(json, len(specs))
    with keeping(_kept(items)):
        results = api.evaluate(
            model, task, data=data, samplers=specs, limit=limit, seed=seed, batch=batch, guidance=guidance,
            allow_code_execution=code, chat=chat, stop=stop or None, json=json, **loading,
        )  # fmt: skip
    if speaks():
        tell(results)
        if json is not None:
            err().print(f"written: {plain(str(json))} and {plain(str(items[0]))}", style="dim", soft_wrap=True)


def tell(results: "Results") -> None:
    """The tables, and on what they were measured."""
    for number, shown in enumerate(results.tables()):
        out().print(*([""] if number else []), shown, sep="\n")
    runs = ", ".join(result.record.run for result in results)
    out().print(plain(f"\nrun {runs}: {results[0].record.line()}"), style="dim", soft_wrap=True)


def _kept(items: Sequence[Path]) -> str:
    if not items:
        return "Nothing was written: with --json FILE an evaluation can be resumed."
    names = items[0].name if len(items) == 1 else f"{items[0].name} to {items[-1].name}"
    return f"The items that were done are kept in {items[0].parent}: {names}. The same command goes on from there."
