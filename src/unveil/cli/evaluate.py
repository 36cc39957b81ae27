"""unveil evaluate: how often and how fast a model solves a task, under one or several samplers."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unveil.cli import options
from unveil.cli.errors import keeping
from unveil.cli.evaluate_report import tell, write
from unveil.cli.load import Loading, check_samplers, loads
from unveil.cli.show import bars, check_output, plain, speaks

if TYPE_CHECKING:
    from unveil.decoding.model import Model
    from unveil.evaluation.result import Result
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
        help="Problems, a file as the task publishes them. Default: fresh ones where the task makes them, else the "
        "published test split, from the hub.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help=f"How many problems. Default: all of them, or {DEFAULT_LIMIT} where they are made fresh.",
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


@loads
def evaluate(
    model: options.ModelName,
    task: TaskSpec,
    data: Data = None,
    sampler: options.Samplers = None,
    limit: Limit = None,
    seed: options.Seed = 0,
    batch: options.Batch = 32,
    guidance: options.Guidance = 0.0,
    code: options.AllowCode = False,
    chat: options.Chat = None,
    json: JsonAndItems = None,
    *,
    loading: Loading,
) -> None:
    """Measure accuracy (with a 95 % interval) and forwards of a model on a task.

    Among several processes (`accelerate launch -m unveil evaluate ...`, or torchrun) each takes its share of the
    problems; every item is what one process gives, and any number of processes may go on with what others began.

    Example: unveil evaluate lab-sudoku --task sudoku --sampler llada --sampler fast_dllm:threshold=0.9 --json out.json
    """
    from unveil.evaluation.items import check_file, items_beside
    from unveil.evaluation.processes import launched

    specs = sampler or ["llada"]
    check_output(json)
    chosen = task_from(task, code)
    problems = problems_of(chosen, data, limit, seed)
    check_fit(specs, chosen)
    items = [None] * len(specs) if json is None else items_beside(json, len(specs))
    with launched() as processes, keeping(_kept(items)):
        check_file(json, processes)
        loaded = replace(loading, device=loading.device or processes.device).model(model)
        results = evaluate_each(
            loaded, chosen, problems, specs, items, seed=seed, batch=batch, guidance=guidance, chat=chat, data=data,
            processes=processes,
        )  # fmt: skip
        if speaks():
            tell(results)
            write(results, json, items)


def task_from(spec: str, code: bool) -> "Task":
    """The task of --task, with a sandbox where code may run. Errors: as `tasks.task` and `allow_code`."""
    from unveil.tasks import task
    from unveil.tasks.code.sandbox import allow_code

    return allow_code(task(spec), code)


def problems_of(task: "Task", data: Path | None, limit: int | None, seed: int) -> "list[Problem]":
    """Those of the file; else fresh ones where the task makes them, or the published ones.

    ValueError for an empty file, or where none can be had.
    """
    from unveil.tasks import Benchmark, Generated

    if data is not None:
        problems = task.read(data)[:limit]
        if not problems:
            raise ValueError(f"{data} holds no problem: every line must be one")
        return problems
    if isinstance(task, Generated):
        return task.generate(DEFAULT_LIMIT if limit is None else limit, seed)
    if isinstance(task, Benchmark):
        return task.fetch()[:limit]
    raise ValueError(f"task {task.name} neither makes problems nor fetches them: give --data FILE")


def check_fit(specs: Sequence[str], task: "Task") -> None:
    """ValueError if any sampler is unknown or does not fit the task's number of masks."""
    from unveil.decoding.spec import parse_sampler

    check_samplers(list(specs))
    for spec in specs:
        parse_sampler(spec, task.num_masks)


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
    **settings: Any,
) -> "list[Result]":
    """One evaluation after the other, with a bar for each while it runs; settings as for `evaluate` of the library."""
    from unveil.evaluation.evaluate import evaluate as run

    results = []
    with bars() as progress:
        for number, (spec, path) in enumerate(zip(specs, items, strict=True), 1):
            bar = progress.add_task(f"{number}/{len(specs)} {plain(spec)}", total=len(problems))
            results.append(
                run(
                    model, task, problems, spec, items=path, **settings,
                    on_item=lambda done, total, bar=bar: progress.update(bar, completed=done, total=total),  # type: ignore[misc]
                )  # fmt: skip
            )
            progress.remove_task(bar)
    return results


def _kept(items: Sequence[Path | None]) -> str:
    if items[0] is None:
        return "Nothing was written: with --json FILE an evaluation can be resumed."
    names = items[0].name if len(items) == 1 else f"{items[0].name} to {items[-1].name}"  # type: ignore[union-attr]
    return f"The items that were done are kept in {items[0].parent}: {names}. The same command goes on from there."
