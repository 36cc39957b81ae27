"""Measuring a frontier: families of settings on a task's problems; searched on validation problems first, if wanted."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unveil.decoding.model import Model
from unveil.evaluation.evaluation import Evaluation
from unveil.evaluation.frontier import Family, Measured, Search, Span, block_sizes, held_out, heuristic_grids, kept_of
from unveil.evaluation.frontier_report import Frontier
from unveil.evaluation.items import read_items
from unveil.evaluation.run import evaluate_each, item_name
from unveil.processes import Processes
from unveil.tasks.task import Generated, Problem, Task, generated


def frontier(
    model: Model,
    task: Task,
    problems: Sequence[Problem],
    families: Sequence[Family],
    folder: Path,
    *,
    validation: Sequence[Problem] = (),
    tune_seed: int = 1,
    seed: int = 0,
    data: Path | None = None,
    span: Span | None = None,
    budgets: Sequence[float] = (),
    batch: int = 32,
    guidance: float = 0.0,
    stop: Sequence[str] | None = None,
    processes: Processes = Processes(),  # noqa: B008  frozen
    on_search: Callable[[Search], object] = lambda search: None,
) -> Frontier:
    """Measure every setting on the problems; with `validation` problems, of `tune_seed`, only the efficient ones there.

    The items of each setting are kept in `folder`, where the same call, stopped, goes on.
    """
    measure = partial(measured, model, task, batch=batch, guidance=guidance, stop=stop, processes=processes)
    search = None
    if validation:
        tried = measure(validation, families, folder / "items-validation", seed=tune_seed)
        points = {spec: one.point for spec, one in tried.items()}
        kept = [kept_of(family, points) for family in families]
        search = Search(len(validation), tune_seed, list(families), kept, tried)
        on_search(search)
        families = kept
    results = measure(problems, families, folder / "items-test", seed=seed, data=data)
    test = drawn_from(task, len(problems), data, seed)
    return Frontier.of(families, results, test=test, span=span, budgets=budgets, search=search)


def measured(
    model: Model,
    task: Task,
    problems: Sequence[Problem],
    families: Sequence[Family],
    folder: Path,
    *,
    seed: int,
    batch: int,
    guidance: float,
    stop: Sequence[str] | None,
    processes: Processes,
    data: Path | None = None,
) -> dict[str, Measured]:
    """Every setting of the families on the problems. Items of other models, problems or seeds are in other folders."""
    specs = settings_of(families)
    evaluation = Evaluation(
        model=model, task=task, problems=problems, spec=None, seed=seed, guidance=guidance, stop=stop
    )
    folder = folder.with_name(f"{folder.name}-{evaluation.run}")
    folder.mkdir(exist_ok=True)
    items = [folder / item_name(spec) for spec in specs]
    results = evaluate_each(
        model, task, problems, specs, items, seed=seed, batch=batch, guidance=guidance, stop=stop, data=data,
        processes=processes,
    )  # fmt: skip
    return {spec: _measured(result.to_json(), path) for spec, result, path in zip(specs, results, items, strict=True)}


def settings_of(families: Sequence[Family]) -> list[str]:
    """Every setting once. ValueError if there is none."""
    settings = list(dict.fromkeys(spec for family in families for spec in family.settings))
    if not settings:
        raise ValueError("nothing to compare: give --sampler SPEC at least once, or --tune")
    return settings


def _measured(result: Mapping[str, Any], items: Path) -> Measured:
    records = read_items(items)
    correct, forwards = (np.array([float(record[name]) for record in records]) for name in ("correct", "nfe"))
    return Measured(result=result, correct=correct, forwards=forwards)


def folder_of(out: Path | None, scratch: str, processes: Processes) -> Path:
    """The folder of a frontier, made if need be; without `out` it is `scratch`, for a single process alone."""
    if out is None and processes.count > 1:
        raise ValueError(f"{processes.count} processes put their items together in a folder: give out")
    folder = Path(scratch) if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def heuristics(tune: bool, blocks: str | None, task: Task) -> list[str]:
    """The grids that --tune adds. ValueError for block sizes that the task's canvas does not admit."""
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


def searched_on(task: Task, count: int, seed: int, test: Sequence[Problem]) -> list[Problem]:
    """The problems that --tune uses. ValueError if the task makes none, or too few."""
    remedy = "leave out --tune; settings can be compared on problems that are not for the test, --data FILE"
    return held_out(generated(task, remedy), count, seed, {one.prompt for one in test})


def drawn_from(task: Task, count: int, data: Path | None, seed: int) -> str:
    """What the test problems are."""
    if data is not None:
        return f"{count} problems of {data}"
    if not isinstance(task, Generated):
        return f"{count} problems of the published test split"
    return f"{count} generated problems, {getattr(task, 'split', 'no')} split, seed {seed}"
