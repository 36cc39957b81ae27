"""Accuracy and forwards of a model on a task under a sampler, item by item, resumable."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from unveil.decoding.model import Model
from unveil.decoding.spec import mark, parse_sampler
from unveil.evaluation.statistics import wilson
from unveil.files import append_line, read_jsonl
from unveil.sampling.sampler import Sampler, Select
from unveil.tasks.task import Problem, Task


@dataclass(frozen=True, kw_only=True)
class Result:
    """One evaluation, with all that is needed to repeat it."""

    task: str
    difficulty: str  # what the task says of itself, its settings included
    model: str
    sampler: str
    guidance: float
    n: int
    accuracy: float
    ci_low: float  # 95 %, Wilson
    ci_high: float
    nfe_mean: float  # forwards per item
    tokens_per_forward: float  # tokens up to the end id, over forwards, both summed over the items
    tokens_per_second: float
    seconds: float  # spent decoding, over all sittings
    incomplete: int  # items in which a step limit left masks
    num_masks: int
    steps: int | None  # forwards planned over all blocks, None where the rule decides
    block: int
    seed: int
    batch: int
    dtype: str
    device: str
    revision: str

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)


@torch.inference_mode()
def evaluate(
    model: Model,
    task: Task,
    problems: Sequence[Problem],
    spec: str,
    *,
    seed: int = 0,
    batch: int = 32,
    guidance: float = 0.0,
    items: Path | None = None,
    on_item: Callable[[int, int], None] | None = None,
) -> Result:
    """Decode every problem with the sampler `spec` and judge the answers.

    `items` is a JSON-lines file with a line per problem; lines of the same evaluation in it are not decoded again.
    `on_item(done, total)` is called as items finish. Item i draws its noise from seed + i. Raises ValueError for no
    problems, a sampler that does not fit, or an items file of another evaluation.
    """
    if not problems:
        raise ValueError("no problems to evaluate: the file is empty or the limit is 0")
    sampler = parse_sampler(spec, task.num_masks)
    run = run_id(model, task, problems, spec, seed, guidance)
    records = _known(items, run, len(problems))
    todo = [index for index in range(len(problems)) if index not in records]
    rows = [model.canvas(problems[i].prompt, new_tokens=task.num_masks, seed=seed + i) for i in todo]
    last = time.perf_counter()
    for _, finished in model.stream(rows, sampler, batch=batch, guidance=guidance):
        seconds = (time.perf_counter() - last) / max(1, len(finished))
        for number, row in finished:
            index = todo[number]
            answer, problem = model.answer(row), problems[index]
            records[index] = {
                "run": run, "index": index, "id": problem.id, "correct": task.correct(problem, answer.text),
                "nfe": answer.nfe, "tokens": len(answer.tokens), "complete": answer.complete, "seconds": seconds,
                "prompt": problem.prompt, "answer": answer.text,
            }  # fmt: skip
            last = time.perf_counter()
            if items is not None:
                append_line(items, json.dumps(records[index]))
            if on_item is not None:
                on_item(len(records), len(problems))
    done = [records[index] for index in range(len(problems))]
    return _result(model, task, sampler, spec, done, seed=seed, batch=batch, guidance=guidance)


def _result(
    model: Model,
    task: Task,
    sampler: Sampler,
    spec: str,
    records: list[dict[str, Any]],
    *,
    seed: int,
    batch: int,
    guidance: float,
) -> Result:
    n = len(records)
    right, forwards, tokens, seconds = (_sum(records, name) for name in ("correct", "nfe", "tokens", "seconds"))
    low, high = wilson(right, n)
    block = min(sampler.blocks.size or task.num_masks, task.num_masks)
    weight = model.denoiser.embed.weight
    return Result(
        task=task.name,
        difficulty=task.describe,
        model=model.name,
        sampler=spec,
        guidance=guidance,
        n=n,
        accuracy=right / n,
        ci_low=low,
        ci_high=high,
        nfe_mean=forwards / n,
        tokens_per_forward=tokens / max(1, forwards),
        tokens_per_second=tokens / max(seconds, 1e-9),
        seconds=seconds,
        incomplete=sum(not record["complete"] for record in records),
        num_masks=task.num_masks,
        steps=_steps(sampler, -(-task.num_masks // block)),
        block=block,
        seed=seed,
        batch=batch,
        dtype=str(weight.dtype).removeprefix("torch."),
        device=str(weight.device),
        revision=model.revision,
    )


def _sum(records: list[dict[str, Any]], name: str) -> Any:
    return sum(record[name] for record in records)


def _steps(sampler: Sampler, blocks: int) -> int | None:
    pick = sampler.unmask.pick if isinstance(sampler.unmask, Select) else None
    steps: int | None = getattr(pick, "steps", None)
    return None if steps is None else steps * blocks


def run_id(
    model: Model, task: Task, problems: Sequence[Problem], spec: str | None, seed: int, guidance: float
) -> str:
    """What makes two evaluations the same, None: but for the sampler. The batch does not: a row never depends on it."""
    dtype, sampler = str(model.denoiser.embed.weight.dtype), None if spec is None else mark(spec)
    about = [model.revision, dtype, repr(task), [p.prompt for p in problems], sampler, seed, guidance]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]


def _known(items: Path | None, run: str, total: int) -> dict[int, dict[str, Any]]:
    if items is None or not items.exists():
        return {}
    records = read_jsonl(items, drop_incomplete=True)
    for number, record in enumerate(records, 1):
        if record.get("run") != run or not 0 <= record.get("index", -1) < total:
            raise ValueError(
                f"{items}, line {number} belongs to another evaluation (other model, data, sampler, seed or limit): "
                "name another file, or remove it"
            )
    return {record["index"]: record for record in records}
