"""unveil frontier: accuracy against forwards for samplers and grids of their settings; searched first, if wanted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unveil.cli import options
from unveil.cli.errors import keeping
from unveil.cli.evaluate import (
    DEFAULT_LIMIT,
    Data,
    Limit,
    TaskSpec,
    check_fit,
    evaluate_each,
    item_name,
    problems_of,
    task_from,
)
from unveil.cli.load import Loading, loads
from unveil.cli.show import out, speaks

if TYPE_CHECKING:
    from unveil.decoding.model import Model
    from unveil.evaluation.frontier import Family, Measured, Search, Span
    from unveil.evaluation.processes import Processes
    from unveil.tasks import Problem, Task

Samplers = Annotated[
    list[str] | None,
    typer.Option(
        "--sampler",
        metavar="SPEC",
        help=f"NAME or NAME:key=value,...; names are {', '.join(options.SAMPLERS)}. A setting may be a grid, in "
        "quotes: 'fast_dllm:threshold=0.3|0.5|0.9,block=8|32' is six samplers. Repeat the option for several.",
        show_default=False,
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="DIR",
        file_okay=False,
        help="Folder for frontier.png, .csv, .json and every item; it is made if need be. The same command, "
        "interrupted or with more samplers, goes on from the items there.",
        show_default=False,
    ),
]
Budgets = Annotated[
    list[float] | None,
    typer.Option(
        "--budget",
        metavar="N",
        min=1,
        help="Also show each family's best setting with at most N forwards. Repeat the option for several.",
        show_default=False,
    ),
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="LOW-HIGH",
        help="Forwards over which areas are taken, such as 2-32, so that they can be compared with another command's. "
        "Default: from the fastest setting to the slowest.",
        show_default=False,
    ),
]
Tune = Annotated[
    bool,
    typer.Option(
        "--tune",
        help="First search on generated validation problems, none of them a test problem: the samplers given, and "
        "fast_dllm's threshold and factor and eb_sampler's gamma with every block size. Only the efficient settings of "
        "each family go on to the test problems.",
    ),
]
TuneLimit = Annotated[int, typer.Option("--tune-limit", min=1, help="How many validation problems --tune uses.")]
TuneSeed = Annotated[int, typer.Option("--tune-seed", min=0, help="Their seed.")]
BlockSizes = Annotated[
    str | None,
    typer.Option(
        "--blocks",
        metavar="LIST",
        help="Block sizes that --tune tries with the heuristics, such as 8,32. Default: 8, 16, 32 and so on to the "
        "whole canvas.",
        show_default=False,
    ),
]


@loads
def frontier(
    model: options.ModelName,
    task: TaskSpec,
    out_dir: Out,
    sampler: Samplers = None,
    budget: Budgets = None,
    range_: Range = None,
    tune: Tune = False,
    tune_limit: TuneLimit = DEFAULT_LIMIT,
    tune_seed: TuneSeed = 1,
    blocks: BlockSizes = None,
    data: Data = None,
    limit: Limit = None,
    seed: options.Seed = 0,
    batch: options.Batch = 32,
    guidance: options.Guidance = 0.0,
    code: options.AllowCode = False,
    *,
    loading: Loading,
) -> None:
    """Measure accuracy against forwards for samplers and grids: table, plot, areas, the best setting for a budget.

    Among several processes each takes its share of the problems, as in `unveil evaluate`.

    Example: unveil frontier lab-sudoku --task sudoku --sampler 'fast_dllm:threshold=0.3|0.6|0.9' --sampler
    'llada:steps=1|2|5|10' --budget 2 --out frontier
    """
    from unveil.cli.frontier_report import report
    from unveil.evaluation.frontier import families_of
    from unveil.evaluation.processes import launched

    chosen = task_from(task, code)
    families, span = families_of([*(sampler or []), *heuristics(tune, blocks, chosen)]), span_from(range_)
    check_fit(settings_of(families), chosen)
    problems = problems_of(chosen, data, limit, seed)
    found = searched_on(chosen, tune_limit, tune_seed, problems) if tune else []
    out_dir.mkdir(parents=True, exist_ok=True)
    kept = f"What was done is kept in {out_dir}. The same command goes on from there."
    with launched() as processes, keeping(kept):
        loaded = replace(loading, device=loading.device or processes.device).model(model)
        measure = partial(measured, loaded, chosen, batch=batch, guidance=guidance, processes=processes)
        search = searched(measure, families, found, out_dir, seed=tune_seed) if tune else None
        families = families if search is None else search.kept
        results = measure(problems, families, out_dir / "items-test", seed=seed, data=data)
        test = drawn_from(chosen, len(problems), data, seed)
        if speaks():
            report(out_dir, families, results, test=test, span=span, budgets=budget or [], search=search)


def heuristics(tune: bool, blocks: str | None, task: "Task") -> list[str]:
    """The grids that --tune adds. ValueError for block sizes that the task's canvas does not admit."""
    from unveil.evaluation.frontier import block_sizes, heuristic_grids

    if not tune:
        if blocks is not None:
            raise ValueError(f"--blocks {blocks} has no meaning without --tune: write blocks into --sampler, or tune")
        return []
    if blocks is None:
        return heuristic_grids(block_sizes(task.num_masks))
    try:
        sizes = sorted({int(part) for part in blocks.split(",")})
    except ValueError:
        raise ValueError(f"--blocks is {blocks!r}; write whole numbers and commas, such as 8,32") from None
    for size in sizes:
        if not 1 <= size <= task.num_masks:
            raise ValueError(
                f"--blocks holds {size}; {task.name} has {task.num_masks} masks, so a block has 1 to {task.num_masks}"
            )
    return heuristic_grids(sizes)


def searched_on(task: "Task", count: int, seed: int, test: "Sequence[Problem]") -> "list[Problem]":
    """The problems that --tune uses. ValueError if the task makes none, or too few."""
    from unveil.evaluation.frontier import held_out
    from unveil.tasks import generated

    remedy = "leave out --tune; settings can be compared on problems that are not for the test, --data FILE"
    return held_out(generated(task, remedy), count, seed, {one.prompt for one in test})


def drawn_from(task: "Task", count: int, data: Path | None, seed: int) -> str:
    """What the test problems are."""
    from unveil.tasks import Generated

    if data is not None:
        return f"{count} problems of {data}"
    if not isinstance(task, Generated):
        return f"{count} problems of the published test split"
    return f"{count} generated problems, {getattr(task, 'split', 'no')} split, seed {seed}"


def span_from(text: str | None) -> "Span | None":
    """The range of "2-32". ValueError unless 0 < low < high."""
    from unveil.evaluation.frontier import Span, area

    if text is None:
        return None
    low, _, high = text.partition("-")
    try:
        span = Span(float(low), float(high))
    except ValueError:
        raise ValueError(f"--range is {text!r}; write two numbers of forwards, such as 2-32") from None
    area([], span)
    return span


def searched(
    measure: "Callable[..., dict[str, Measured]]",
    families: "list[Family]",
    problems: "Sequence[Problem]",
    out_dir: Path,
    *,
    seed: int,
) -> "Search":
    """All settings on the validation problems, shown, and which of them go on."""
    from unveil.cli.frontier_report import search_table
    from unveil.evaluation.frontier import Search, kept_of

    tried = measure(problems, families, out_dir / "items-validation", seed=seed)
    points = {spec: one.point for spec, one in tried.items()}
    kept = [kept_of(family, points) for family in families]
    search = Search(len(problems), seed, families, kept, tried)
    if speaks():
        out().print(search_table(search), "")
    return search


def measured(
    model: "Model",
    task: "Task",
    problems: "Sequence[Problem]",
    families: "Sequence[Family]",
    folder: Path,
    *,
    seed: int,
    batch: int,
    guidance: float,
    processes: "Processes",
    data: Path | None = None,
) -> "dict[str, Measured]":
    """Every setting of the families on the problems. Items of other models, problems or seeds are in other folders."""
    from unveil.evaluation.setup import Setup

    specs = settings_of(families)
    setup = Setup(model=model, task=task, problems=problems, spec=None, seed=seed, guidance=guidance)
    folder = folder.with_name(f"{folder.name}-{setup.run}")
    folder.mkdir(exist_ok=True)
    items = [folder / item_name(spec) for spec in specs]
    results = evaluate_each(
        model, task, problems, specs, items, seed=seed, batch=batch, guidance=guidance, data=data, processes=processes
    )
    return {spec: _measured(result.to_json(), path) for spec, result, path in zip(specs, results, items, strict=True)}


def settings_of(families: "Sequence[Family]") -> list[str]:
    """Every setting once. ValueError if there is none."""
    settings = list(dict.fromkeys(spec for family in families for spec in family.settings))
    if not settings:
        raise ValueError("nothing to compare: give --sampler SPEC at least once, or --tune")
    return settings


def _measured(result: Mapping[str, Any], items: Path) -> "Measured":
    import numpy as np

    from unveil.evaluation.frontier import Measured
    from unveil.evaluation.items import read_items

    records = read_items(items)
    correct, forwards = (np.array([float(record[name]) for record in records]) for name in ("correct", "nfe"))
    return Measured(result=result, correct=correct, forwards=forwards)
