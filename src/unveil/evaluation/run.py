"""Accuracy and forwards of a model on a task under a sampler, item by item, resumable, by one process or several."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from unveil.decoding.model import Model
from unveil.decoding.prompt import until
from unveil.decoding.spec import mark, parse_sampler, read_sampler
from unveil.evaluation.evaluation import Evaluation, record_of
from unveil.evaluation.items import Item, Items
from unveil.evaluation.result import Result, Results, summed
from unveil.processes import Processes
from unveil.tasks.splits import fingerprint
from unveil.tasks.task import Compared, Forgiving, Problem, Task
from unveil.terminal import bars, plain


def evaluate(
    model: Model,
    task: Task,
    problems: Sequence[Problem],
    spec: str,
    *,
    seed: int = 0,
    batch: int = 32,
    guidance: float = 0.0,
    chat: bool | None = None,
    stop: Sequence[str] | None = None,
    data: Path | None = None,
    items: Path | None = None,
    processes: Processes = Processes(),  # noqa: B008  frozen
    on_item: Callable[[int, int], None] | None = None,
) -> Result:
    """Decode every problem with the sampler `spec` and judge the answers.

    `chat`: whether the model is asked in its chat template; default: where it has one. An answer is cut before the
    first of the `stop` texts; default: the task's own where the model is asked with text alone. `data`: the file that
    the problems are from, for the record. `items` is a JSON-lines file with a line per problem, which holds the text
    that was judged; what is in it of the same evaluation is not decoded again. `on_item(done, total)` is called as
    items of this process finish. Item i draws its noise from seed + i, in whichever process. Raises ValueError for no
    problems, one that does not fit the model, a sampler that does not fit, an items file of another evaluation, and in
    the end for answers that could not be judged: they stay in `items`, to be judged by the same call.
    """
    if not problems:
        raise ValueError("no problems to evaluate: the file is empty or the limit is 0")
    began = time.perf_counter()
    evaluation = Evaluation(
        model=model, task=task, problems=problems, spec=spec, seed=seed, guidance=guidance, chat=chat, stop=stop
    )
    kept = Items(path=items, run=evaluation.run, total=len(problems), processes=processes)
    known = kept.together()
    open_ones = [index for index in range(len(problems)) if "correct" not in known.get(index, {})]
    mine, done = processes.share(open_ones), len(problems) - len(open_ones)
    total = done + len(mine)
    for item in _finished(evaluation, mine, known, batch):
        kept.add({"run": kept.run, **item})
        done += 1
        if on_item is not None:
            on_item(done, total)
    found = kept.together()
    judged = [found[index] for index in range(len(problems))]
    _check(judged, items)
    about = record_of(evaluation, data=data, processes=processes.count, began=began)
    return summed(evaluation, judged, batch=batch, record=about)


def evaluate_each(
    model: Model,
    task: Task,
    problems: Sequence[Problem],
    specs: Sequence[str],
    items: Sequence[Path | None],
    **settings: Any,
) -> Results:
    """One evaluation after the other, with a bar for each while it runs; settings and errors as for `evaluate`."""
    results = []
    with bars() as progress:
        for number, (spec, path) in enumerate(zip(specs, items, strict=True), 1):
            bar = progress.add_task(f"{number}/{len(specs)} {plain(spec)}", total=len(problems))
            results.append(
                evaluate(
                    model,
                    task,
                    problems,
                    spec,
                    items=path,
                    **settings,
                    on_item=lambda done, total, bar=bar: progress.update(bar, completed=done, total=total),  # type: ignore[misc]
                )  # fmt: skip
            )
            progress.remove_task(bar)
    return Results(results)


def check_fit(specs: Sequence[str], task: Task, stop: Sequence[str] | None = None) -> None:
    """ValueError if there is no sampler, one that is unknown or does not fit the task's masks, or an empty stop."""
    until("", stop or ())
    if not specs:
        raise ValueError("no sampler to evaluate: give at least one, such as llada")
    for spec in specs:
        read_sampler(spec)  # all names and keys before any policy is read
    for spec in specs:
        parse_sampler(spec, task.num_masks)


def item_name(spec: str) -> str:
    """The name of a file for a sampler's items; another one where the policy that it names has changed."""
    readable = re.sub(r"[^\w.=]+", "-", spec)[:70]
    return f"{readable}-{fingerprint(mark(spec))}.jsonl"


def _finished(evaluation: Evaluation, indices: Sequence[int], known: Mapping[int, Item], batch: int) -> Iterator[Item]:
    """Items as they finish; the `known` ones were decoded before and are only judged."""
    for index in indices:
        if index in known:
            decoded = {name: value for name, value in known[index].items() if name != "fault"}
            yield decoded | _verdict(evaluation, index, decoded["answer"])
    for decoded in _decoded(evaluation, [index for index in indices if index not in known], batch):
        yield decoded | _verdict(evaluation, decoded["index"], decoded["answer"])


@torch.inference_mode()
def _decoded(evaluation: Evaluation, indices: Sequence[int], batch: int) -> Iterator[Item]:
    """The answers, with what they cost."""
    model, rows = evaluation.model, [evaluation.canvas(index) for index in indices]
    columns = {evaluation.seed + index: 0 for index in indices}  # a row is known by its noise
    branches = 2 if evaluation.guidance else 1
    last = time.perf_counter()
    for step, finished in model.stream(rows, evaluation.sampler, batch=batch, guidance=evaluation.guidance):
        seconds = (time.perf_counter() - last) / max(1, len(finished))
        for seed, count in zip(step.before.seed.tolist(), step.fresh.sum(1).tolist(), strict=True):
            columns[seed] += count * branches
        for number, row in finished:
            index, answer = indices[number], model.answer(row, evaluation.stops)
            yield {
                "index": index, "id": evaluation.problems[index].id, "nfe": answer.nfe,
                "tokens": sum(token != row.mask_id for token in answer.tokens),
                "columns": columns[evaluation.seed + index],
                "complete": answer.complete, "seconds": seconds, "prompt": evaluation.problems[index].prompt,
                "answer": answer.text,
            }  # fmt: skip
            last = time.perf_counter()


def _verdict(evaluation: Evaluation, index: int, text: str) -> Item:
    """What the task's graders say. A grader that fails loses no answer: the item says how it failed."""
    problem, task = evaluation.problems[index], evaluation.task
    try:
        verdict: Item = {"correct": task.correct(problem, text)}
        if isinstance(task, Compared):
            right, remark = task.compat(problem, text)
            verdict |= {"compat": right, "remark": remark}
        if isinstance(task, Forgiving) and (form := task.form(problem, text)):
            verdict |= {"form": form}
    except Exception as error:
        return {"fault": f"{type(error).__name__}: {error}"}
    return verdict


def _check(items: Sequence[Item], path: Path | None) -> None:
    """ValueError if some could not be judged."""
    faults = [item for item in items if "fault" in item]
    if faults:
        kept = "" if path is None else f" The answers are kept in {path}: the same command judges them again."
        raise ValueError(
            f"{len(faults)} of {len(items)} answers could not be judged; the first is {faults[0]['id']}, "
            f"{faults[0]['fault']}.{kept}"
        )
