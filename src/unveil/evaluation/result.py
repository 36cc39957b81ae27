"""What an evaluation found: sums over its items, with intervals."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from unveil.evaluation.items import Item
from unveil.evaluation.planned import planned
from unveil.evaluation.record import Record
from unveil.evaluation.setup import Setup
from unveil.evaluation.statistics import ratio_interval, wilson


@dataclass(frozen=True, kw_only=True)
class Result:
    """One evaluation. Intervals are 95 %: Wilson's for shares, the bootstrap over items for means and ratios.

    A token counts if it was decoded before the first end id: not the prompt, the end id, what follows it or a mask that
    a step limit left.
    """

    task: str
    difficulty: str  # what the task says of itself, its settings included
    model: str
    sampler: str
    guidance: float
    n: int
    accuracy: float  # by the task's own, strict grader
    ci_low: float
    ci_high: float
    compat: float | None  # accuracy by the published rule, None where the task has none
    compat_low: float | None
    compat_high: float | None
    remarks: dict[str, int]  # why the published rule was not followed to its end ("beyond bounds"), and how often
    nfe_mean: float  # forwards per item
    nfe_low: float
    nfe_high: float
    tokens: int  # in all items
    tokens_per_forward: float  # both summed over the items
    tokens_per_forward_low: float
    tokens_per_forward_high: float
    token_forwards: float  # columns computed per item, over its forwards and the branches of guidance: caches show here
    tokens_per_second: float  # of one process
    seconds: float  # spent decoding, over all sittings and processes
    incomplete: int  # items in which a step limit left masks
    num_masks: int
    steps: int | None  # forwards planned over all blocks, None where the rule decides
    block: int
    seed: int
    batch: int
    dtype: str
    device: str
    revision: str  # a fingerprint of the checkpoint
    record: Record

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)


def summed(setup: Setup, items: Sequence[Item], *, batch: int, record: Record) -> Result:
    """The result of judged items, one for each problem."""
    assert setup.spec is not None
    plan = planned(setup.sampler, setup.task.num_masks)
    nfe, tokens, columns, seconds = ([x[name] for x in items] for name in ("nfe", "tokens", "columns", "seconds"))
    return Result(
        task=setup.task.name,
        difficulty=setup.task.describe,
        model=setup.model.name,
        sampler=setup.spec,
        guidance=setup.guidance,
        n=len(items),
        **_share(items, "correct", ("accuracy", "ci_low", "ci_high")),
        **_share(items, "compat", ("compat", "compat_low", "compat_high")),
        remarks=dict(Counter(item["remark"] for item in items if item.get("remark")).most_common()),
        **_ratio(nfe, None, ("nfe_mean", "nfe_low", "nfe_high")),
        tokens=sum(tokens),
        **_ratio(tokens, nfe, ("tokens_per_forward", "tokens_per_forward_low", "tokens_per_forward_high")),
        token_forwards=sum(columns) / len(items),
        tokens_per_second=sum(tokens) / max(sum(seconds), 1e-9),
        seconds=sum(seconds),
        incomplete=sum(not item["complete"] for item in items),
        num_masks=setup.task.num_masks,
        steps=plan.steps,
        block=plan.block,
        seed=setup.seed,
        batch=batch,
        dtype=str(setup.model.dtype).removeprefix("torch."),
        device=str(setup.model.device),
        revision=setup.model.revision,
        record=record,
    )


def _share(items: Sequence[Item], grader: str, names: tuple[str, str, str]) -> dict[str, Any]:
    """How many are right, and the interval; nothing where the task has no such grader."""
    if grader not in items[0]:
        return dict.fromkeys(names)
    right = sum(item[grader] for item in items)
    return dict(zip(names, (right / len(items), *wilson(right, len(items))), strict=True))


def _ratio(tops: Sequence[int], bottoms: Sequence[int] | None, names: tuple[str, str, str]) -> dict[str, Any]:
    """A ratio of sums (without bottoms the mean), and its interval."""
    ratio = sum(tops) / (len(tops) if bottoms is None else sum(bottoms))
    return dict(zip(names, (ratio, *ratio_interval(tops, bottoms)), strict=True))
