"""What an evaluation found: sums over its items, with intervals."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from unveil.evaluation.evaluation import Evaluation, Record
from unveil.evaluation.items import Item
from unveil.evaluation.statistics import ratio_interval, wilson
from unveil.terminal import plain, rendered, spaced, table

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Result:
    """One evaluation. Intervals are 95 %: Wilson's for shares, the bootstrap over items for means and ratios.

    A token counts if it was decoded before the first end id and stop text: not the prompt, the end, what follows it or
    a mask that a step limit left.
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
    forms: dict[str, int]  # in which other forms than the asked one the strict grader read answers, and how often
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


class Results(tuple[Result, ...]):
    """The results of one command, a sampler each; printed they are its tables."""

    def tables(self) -> "list[Table | str]":
        """Accuracy and cost, and the same answers by the published rule where the task has one.

        Then, where there are such, how many answers the strict grader read in another form than the asked one.
        """
        shown: list[Table | str] = [results_table(self)]
        shown += [published_table(self)] if self[0].compat is not None else []
        forms = sum((Counter(result.forms) for result in self), Counter[str]())
        told = ", ".join(f"{form} {count}" for form, count in forms.most_common())
        return [*shown, f"Read strictly, though not in the form that is asked for: {told}"] if told else shown

    def to_json(self) -> dict[str, Any]:
        """One result as its fields, several as {"results": [...]}."""
        return self[0].to_json() if len(self) == 1 else {"results": [one.to_json() for one in self]}

    def __str__(self) -> str:
        return rendered(*self.tables())


def summed(evaluation: Evaluation, items: Sequence[Item], *, batch: int, record: Record) -> Result:
    """The result of judged items, one for each problem."""
    assert evaluation.spec is not None
    plan = evaluation.plan
    nfe, tokens, columns, seconds = ([x[name] for x in items] for name in ("nfe", "tokens", "columns", "seconds"))
    return Result(
        task=evaluation.task.name,
        difficulty=evaluation.task.describe,
        model=evaluation.model.name,
        sampler=evaluation.spec,
        guidance=evaluation.guidance,
        n=len(items),
        **_share(items, "correct", ("accuracy", "ci_low", "ci_high")),
        **_share(items, "compat", ("compat", "compat_low", "compat_high")),
        remarks=dict(Counter(item["remark"] for item in items if item.get("remark")).most_common()),
        forms=dict(Counter(item["form"] for item in items if item.get("form")).most_common()),
        **_ratio(nfe, None, ("nfe_mean", "nfe_low", "nfe_high")),
        tokens=sum(tokens),
        **_ratio(tokens, nfe, ("tokens_per_forward", "tokens_per_forward_low", "tokens_per_forward_high")),
        token_forwards=sum(columns) / len(items),
        tokens_per_second=sum(tokens) / max(sum(seconds), 1e-9),
        seconds=sum(seconds),
        incomplete=sum(not item["complete"] for item in items),
        num_masks=evaluation.task.num_masks,
        steps=plan.steps,
        block=plan.block,
        seed=evaluation.seed,
        batch=batch,
        dtype=str(evaluation.model.dtype).removeprefix("torch."),
        device=str(evaluation.model.device),
        revision=evaluation.model.revision,
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


def results_table(results: Sequence[Result]) -> "Table":
    """A line per sampler."""
    first = results[0]
    title = f"{first.task} with {first.model}: {first.n} problems, {first.num_masks} masks, seed {first.seed}"
    shown = table(
        "sampler", "correct", "95 %\ninterval", "forwards", "tokens/\nforward", "token-\nforwards", "tokens/\nsecond",
        "steps/\nblock", title=plain(title) + (f", guidance {first.guidance}" if first.guidance else ""),
    )  # fmt: skip
    for result in results:
        shown.add_row(
            spaced(result.sampler),
            f"{result.accuracy:.1%}",
            f"{100 * result.ci_low:.1f}-{100 * result.ci_high:.1f}",
            f"{result.nfe_mean:.2f}",
            f"{result.tokens_per_forward:.2f}",
            f"{result.token_forwards:,.0f}",
            f"{result.tokens_per_second:,.0f}",
            f"{'-' if result.steps is None else result.steps}/{result.block}",
        )
    return shown


def published_table(results: Sequence[Result]) -> "Table":
    """The same answers by the published rule, a line per sampler."""
    shown = table("sampler", "correct", "95 %\ninterval", "<remarks", title="By the published rule")
    for result in results:
        assert result.compat is not None and result.compat_low is not None and result.compat_high is not None
        remarks = ", ".join(f"{remark} {count}" for remark, count in result.remarks.items())
        interval = f"{100 * result.compat_low:.1f}-{100 * result.compat_high:.1f}"
        shown.add_row(spaced(result.sampler), f"{result.compat:.1%}", interval, plain(remarks) or "-")
    return shown
