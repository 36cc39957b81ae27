"""Results on the same problems against the first of them: paired differences, McNemar's test, Holm's correction."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from unveil.evaluation.items import Item, items_beside
from unveil.evaluation.statistics import Difference, holm, mcnemar, paired_difference, wilson
from unveil.fields import Fields
from unveil.files import read_jsonl
from unveil.terminal import plain, rendered, spaced, table

if TYPE_CHECKING:
    from rich.table import Table

Grader = Literal["strict", "compat"]
FIELDS = {"strict": "correct", "compat": "compat"}  # of an item
RESULT = frozenset(  # what is read here of a result, of its record and of its items
    ("task", "n", "nfe_mean", "model", "revision", "sampler", "guidance", "num_masks", "dtype", "seed", "record")
)
RECORD = frozenset(("run", "chat", "chat_hash", "adapter", "bits"))
ITEM = frozenset(("run", "index", "id", "prompt", "correct"))
AGAIN = "run the same unveil evaluate again"
MANY = 5  # problems that an error names


class Judged(NamedTuple):
    """A result with its items."""

    file: Path
    number: int  # within the file, from 1; 0 where it is alone
    result: dict[str, Any]  # as `Result.to_json` gives it
    items: dict[str, Item]  # by the problem's id

    @property
    def name(self) -> str:
        """For errors and, where nothing else tells results apart, for labels."""
        return f"{self.file.name}, result {self.number}" if self.number else self.file.name


class Behind(NamedTuple):
    """How a result differs from the first one."""

    difference: Difference  # of accuracy, this one minus the first; the paired bootstrap's 95 %
    only_this: int  # problems that only this one has right
    only_first: int
    p: float  # McNemar's test, exact
    p_holm: float  # corrected for the number of comparisons


@dataclass(frozen=True, kw_only=True)
class Line:
    """One of the results that are compared."""

    label: str  # what tells it from the others
    file: str
    accuracy: float
    ci_low: float  # 95 %, Wilson
    ci_high: float
    nfe_mean: float
    behind: Behind | None  # None for the first


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All results on the same problems."""

    task: str
    n: int
    grader: Grader
    lines: list[Line]

    def __str__(self) -> str:
        return rendered(comparison_table(self))

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        told = asdict(self)
        for line, one in zip(told["lines"], self.lines, strict=True):
            if one.behind is not None:
                line["behind"] = {**one.behind._asdict(), "difference": one.behind.difference._asdict()}
        return told


def read_judged(path: Path) -> list[Judged]:
    """The results that `unveil evaluate --json` wrote, with the items beside them.

    ValueError for another file, and for items that are absent, unfinished or of another evaluation.
    """
    results, found = _results(path), []
    for number, (result, beside) in enumerate(zip(results, items_beside(path, len(results)), strict=True), 1):
        if not beside.is_file():
            raise ValueError(f"{path} has no items beside it: put {beside.name} there, a comparison is item by item")
        run, lines = result["record"]["run"], read_jsonl(beside, drop_incomplete=True)
        own = [line for line in lines if line.keys() >= ITEM and line["run"] == run]
        mine = {_check_item(beside, line)["index"]: line for line in own}
        items = {mine[index]["id"]: mine[index] for index in sorted(mine)}
        if len(items) != result["n"]:
            raise ValueError(f"{beside} has not the items of {path}: run the same unveil evaluate again")
        found.append(Judged(path, number if len(results) > 1 else 0, result, items))
    return found


def _results(path: Path) -> list[dict[str, Any]]:
    try:
        told = json.loads(path.read_text("utf-8"))
        results: list[dict[str, Any]] = told.get("results", [told])
        whole = all(result.keys() >= RESULT and result["record"].keys() >= RECORD for result in results)
    except (ValueError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise ValueError(f"{path} holds no results: give a file that this version's unveil evaluate --json wrote")
    for number, result in enumerate(results, 1):
        _check_result(Fields(f"{path}, result {number}" if len(results) > 1 else str(path), result, AGAIN, AGAIN))
    return results


def _check_result(told: Fields) -> None:
    """ValueError, naming the field, for a value of another type or out of its range."""
    for name in ("task", "model", "revision", "sampler", "dtype"):
        told.text(name)
    told.whole("n", least=1)
    told.number("nfe_mean")
    told.number("guidance", least=-1e6, most=1e6)
    for name in ("num_masks", "seed"):
        told.whole(name)
    record = told.inner("record")
    record.text("run")
    record.flag("chat")
    for name in ("chat_hash", "adapter"):
        record.text(name, None)
    record.whole("bits", None)
    record.texts("stops", [])


def _check_item(path: Path, item: Item) -> Item:
    """The same item. Errors: as `_check_result`."""
    told = Fields(f"{path}, an item", item, AGAIN, AGAIN)
    told = Fields(f"{path}, item {told.whole('index')}", item, AGAIN, AGAIN)
    told.text("id")
    told.text("prompt")
    told.flag("correct")
    told.flag("compat", None)
    return item


def compare(judged: Sequence[Judged], grader: Grader = "strict") -> Comparison:
    """Every result against the first one. ValueError for fewer than two, for different problems, and without grader."""
    if len(judged) < 2:
        raise ValueError(f"{len(judged)} result to compare: give two or more, in one file or several")
    for other in judged[1:]:
        _check_same(judged[0], other)
    first, *others = (_right(one, list(judged[0].items), grader) for one in judged)
    counts = [_discordant(right, first) for right in others]
    p_values = [mcnemar(*count) for count in counts]
    behind = [
        Behind(paired_difference(right, first), *count, p, corrected)
        for right, count, p, corrected in zip(others, counts, p_values, holm(p_values), strict=True)
    ]
    lines = [
        _line(label, one, right, against)
        for label, one, right, against in zip(labels(judged), judged, [first, *others], [None, *behind], strict=True)
    ]
    return Comparison(task=judged[0].result["task"], n=len(first), grader=grader, lines=lines)


def labels(judged: Sequence[Judged]) -> list[str]:
    """What differs between the results, for each of them; its file too where that does not tell them apart."""
    told = [_told(one.result) for one in judged]
    varying = [name for name in told[0] if len({one[name] for one in told}) > 1]
    if {"model", "adapter", "bits"} & set(varying):  # the checkpoint's fingerprint follows
        varying = [name for name in varying if name != "checkpoint"]
    texts = [", ".join(one[name] for name in varying) for one in told]
    times = Counter(texts)
    return [
        text if text and times[text] == 1 else f"{text} ({one.name})".lstrip()
        for text, one in zip(texts, judged, strict=True)
    ]


def _told(result: dict[str, Any]) -> dict[str, str]:
    """What may differ between results, readable."""
    record = result["record"]
    return {
        "model": result["model"],
        "checkpoint": f"checkpoint {result['revision']}",
        "adapter": "no adapter" if record["adapter"] is None else f"adapter {record['adapter']}",
        "bits": "whole weights" if record["bits"] is None else f"{record['bits']} bits",
        "sampler": result["sampler"],
        "guidance": f"guidance {result['guidance']}",
        "masks": f"{result['num_masks']} masks",
        "chat": f"chat {record['chat_hash']}" if record["chat"] else "raw prompts",
        "stops": f"stops {', '.join(map(repr, stops))}" if (stops := record.get("stops")) else "no stops",
        "dtype": result["dtype"],
        "seed": f"seed {result['seed']}",
    }


def _line(label: str, one: Judged, right: Sequence[bool], behind: Behind | None) -> Line:
    low, high = wilson(sum(right), len(right))
    return Line(
        label=label,
        file=one.file.name,
        accuracy=sum(right) / len(right),
        ci_low=low,
        ci_high=high,
        nfe_mean=one.result["nfe_mean"],
        behind=behind,
    )


def _discordant(this: Sequence[bool], first: Sequence[bool]) -> tuple[int, int]:
    """How many only this one has right, and how many only the first one."""
    pairs = Counter(zip(this, first, strict=True))
    return pairs[True, False], pairs[False, True]


def _right(one: Judged, ids: Sequence[str], grader: Grader) -> list[bool]:
    items = [one.items[id] for id in ids]
    if any(item.get(FIELDS[grader]) is None for item in items):
        raise ValueError(f"{one.name} was not judged by a published rule, which {one.result['task']} does not have")
    return [item[FIELDS[grader]] for item in items]


def _check_same(first: Judged, other: Judged) -> None:
    """ValueError unless both are of one task, with the same problems."""
    mine, theirs = first.result["task"], other.result["task"]
    if mine != theirs:
        raise ValueError(f"{first.name} is of task {mine} and {other.name} of {theirs}: compare results of one task")
    lacking, more = ([id for id in a.items if id not in b.items] for a, b in ((first, other), (other, first)))
    changed = [
        id for id, item in first.items.items() if id in other.items and other.items[id]["prompt"] != item["prompt"]
    ]
    faults = {"lacks": lacking, "has besides": more, "asks otherwise": changed}
    told = "; ".join(f"{fault} {_some(ids)}" for fault, ids in faults.items() if ids)
    if told:
        raise ValueError(
            f"{other.name} has not the problems of {first.name}, it {told}: evaluate both with one --task, --data, "
            "--limit and, where problems are generated, --seed"
        )


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - MANY} more" if len(ids) > MANY else ""
    return ", ".join(ids[:MANY]) + more


def comparison_table(found: Comparison) -> "Table":
    """A line per result."""
    corrected = "p (McNemar,\nHolm)" if len(found.lines) > 2 else "p\n(McNemar)"
    by = {"strict": "the strict grader", "compat": "the published rule"}[found.grader]
    shown = table(
        "result", "correct", "95 %\ninterval", "to the first, points\n(paired 95 %)", "only this/\nonly first",
        corrected, title=plain(f"{found.task}: {found.n} problems by {by}"),
    )  # fmt: skip
    for line in found.lines:
        interval = f"{100 * line.ci_low:.1f}-{100 * line.ci_high:.1f}"
        shown.add_row(spaced(line.label), f"{line.accuracy:.1%}", interval, *_against(line.behind))
    return shown


def _against(behind: Behind | None) -> tuple[str, str, str]:
    if behind is None:
        return "-", "-", "-"
    mean, low, high = (round(100 * share, 1) + 0.0 for share in behind.difference)  # no -0.0
    p = f"{behind.p_holm:.4f}" if behind.p_holm >= 0.0001 else "<0.0001"
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})", f"{behind.only_this}/{behind.only_first}", p
