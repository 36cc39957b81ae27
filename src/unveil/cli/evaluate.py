"""unveil evaluate: how often and how fast a model solves a task, under one or several samplers."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unveil.cli import options
from unveil.cli.errors import keeping
from unveil.cli.load import check_samplers, load_model
from unveil.cli.show import bars, check_output, err, out, plain, spaced, table, write_results

if TYPE_CHECKING:
    from rich.table import Table

    from unveil.decoding.model import Model
    from unveil.evaluation.evaluate import Result
    from unveil.tasks import Problem, Task

DEFAULT_LIMIT = 200  # problems, where no file is given


TaskSpec = Annotated[
    str,
    typer.Option(
        "--task",
        metavar="TASK",
        help=f"What is asked and judged: NAME or NAME:key=value,...; names are {', '.join(options.TASKS)}. "
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
        help="Problems, a JSON-lines file in the task's format. Default: fresh ones from the task's generator.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help=f"How many problems. Default: all of FILE, or {DEFAULT_LIMIT} fresh ones.",
        show_default=False,
    ),
]
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


def evaluate(
    model: options.ModelName,
    task: TaskSpec,
    data: Data = None,
    sampler: options.Samplers = None,
    limit: Limit = None,
    seed: options.Seed = 0,
    batch: options.Batch = 32,
    guidance: options.Guidance = 0.0,
    json: JsonAndItems = None,
    threads: options.Threads = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    revision: options.Revision = None,
) -> None:
    """Measure accuracy (with a 95 % interval) and forwards of a model on a task.

    Example: unveil evaluate lab-sudoku --task sudoku --sampler llada --sampler fast_dllm:threshold=0.9 --json out.json
    """
    from unveil.tasks import task as task_of

    specs = sampler or ["llada"]
    check_output(json)
    chosen = task_of(task)
    problems = problems_of(chosen, data, limit, seed)
    check_fit(specs, chosen)
    loaded = load_model(model, threads=threads, device=device, dtype=dtype, revision=revision)
    items = items_beside(json, len(specs))
    with keeping(_kept(items)):
        results = evaluate_each(loaded, chosen, problems, specs, items, seed=seed, batch=batch, guidance=guidance)
        out().print(results_table(results))
        if json is not None:
            write_results(json, [result.to_json() for result in results])
            err().print(f"written: {plain(str(json))} and {plain(str(items[0]))}", style="dim", soft_wrap=True)


def problems_of(task: "Task", data: Path | None, limit: int | None, seed: int) -> "list[Problem]":
    """Those of the file, or fresh ones. ValueError for an empty file."""
    if data is None:
        return task.generate(DEFAULT_LIMIT if limit is None else limit, seed)
    problems = task.read(data)[:limit]
    if not problems:
        raise ValueError(f"{data} holds no problem: every line must be one")
    return problems


def check_fit(specs: Sequence[str], task: "Task") -> None:
    """ValueError if any sampler is unknown or does not fit the task's number of masks."""
    from unveil.decoding.spec import parse_sampler

    check_samplers(list(specs))
    for spec in specs:
        parse_sampler(spec, task.num_masks)


def items_beside(json: Path | None, count: int) -> list[Path | None]:
    """One JSON-lines file per sampler: out.json has out.items.jsonl, or out.items.1.jsonl and so on."""
    if json is None:
        return [None] * count
    numbers = [""] if count == 1 else [f".{number}" for number in range(1, count + 1)]
    return [json.with_name(f"{json.stem}.items{number}.jsonl") for number in numbers]


def item_name(spec: str) -> str:
    """The file of a sampler's items; another one where the policy that it names has changed."""
    from unveil.decoding.spec import mark
    from unveil.tasks.splits import fingerprint

    readable = re.sub(r"[^\w.=]+", "-", spec)[:70]
    return f"{readable}-{fingerprint(mark(spec))}.jsonl"


def evaluate_each(
    model: "Model",
    task: "Task",
    problems: "Sequence[Problem]",
    specs: Sequence[str],
    items: Sequence[Path | None],
    *,
    seed: int,
    batch: int,
    guidance: float = 0.0,
) -> "list[Result]":
    """One evaluation after the other, with a bar for each while it runs."""
    from unveil.evaluation.evaluate import evaluate as run

    results = []
    with bars() as progress:
        for number, (spec, path) in enumerate(zip(specs, items, strict=True), 1):
            bar = progress.add_task(f"{number}/{len(specs)} {plain(spec)}", total=len(problems))
            results.append(
                run(
                    model, task, problems, spec, seed=seed, batch=batch, guidance=guidance, items=path,
                    on_item=lambda done, _, bar=bar: progress.update(bar, completed=done),  # type: ignore[misc]
                )  # fmt: skip
            )
            progress.remove_task(bar)
    return results


def results_table(results: "Sequence[Result]") -> "Table":
    """A line per sampler."""
    first = results[0]
    title = f"{first.task} with {first.model}: {first.n} problems, {first.num_masks} masks, seed {first.seed}"
    shown = table(
        "sampler", "correct", "95 %\ninterval", "forwards", "tokens/\nforward", "tokens/\nsecond", "steps/\nblock",
        title=plain(title) + (f", guidance {first.guidance}" if first.guidance else ""),
    )  # fmt: skip
    for result in results:
        shown.add_row(
            spaced(result.sampler),
            f"{result.accuracy:.1%}",
            f"{100 * result.ci_low:.1f}-{100 * result.ci_high:.1f}",
            f"{result.nfe_mean:.2f}",
            f"{result.tokens_per_forward:.2f}",
            f"{result.tokens_per_second:,.0f}",
            f"{'-' if result.steps is None else result.steps}/{result.block}",
        )
    return shown


def _kept(items: Sequence[Path | None]) -> str:
    if items[0] is None:
        return "Nothing was written: with --json FILE an evaluation can be resumed."
    names = items[0].name if len(items) == 1 else f"{items[0].name} to {items[-1].name}"  # type: ignore[union-attr]
    return f"The items that were done are kept in {items[0].parent}: {names}. The same command goes on from there."
