"""Comparisons: pairs by problem, known tests, what is refused, and a picture that can be read."""

import json
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.image import imread
from matplotlib.text import Text

from tests.evaluation.judged import PROBLEMS, Both, Plain, small
from unveil.evaluation.compare import Comparison, Judged, compare, labels, read_judged
from unveil.evaluation.items import items_beside, read_items
from unveil.evaluation.plots import draw_comparison, plot_comparison
from unveil.evaluation.run import evaluate
from unveil.evaluation.statistics import holm, mcnemar, paired_difference, wilson
from unveil.files import write_json

SPECS = ["llada", "llada:steps=2", "fast_dllm:threshold=0.2,block=4"]
RESULT = {
    "task": "sums", "model": "m", "revision": "r", "sampler": "llada", "guidance": 0.0, "num_masks": 8,
    "dtype": "float32", "seed": 0, "nfe_mean": 3.5,
    "record": {"run": "r", "chat": False, "chat_hash": None, "adapter": None, "bits": None},
}  # fmt: skip


def judged(name: str, right: list[bool], order: list[int] | None = None, **more: object) -> Judged:
    """A result whose problem i is judged right[i], its items in any order."""
    record = {**RESULT["record"], **more.pop("record", {})}
    items = {f"p{i}": {"prompt": f"{i}?", "correct": right[i]} for i in order or range(len(right))}
    return Judged(Path(f"{name}.json"), 0, {**RESULT, "n": len(right), "record": record, **more}, items)


def written(folder: Path, name: str, specs: list[str], task: Plain | None = None, problems: list = PROBLEMS) -> Path:
    """As unveil evaluate writes it."""
    file = folder / name
    results = [
        evaluate(small(), task or Plain(), problems, spec, items=items).to_json()
        for spec, items in zip(specs, items_beside(file, len(specs)), strict=True)
    ]
    write_json(file, results[0] if len(results) == 1 else {"results": results})
    return file


# numbers

PAIRS = st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=30)


@settings(max_examples=10)
@given(PAIRS, st.randoms(use_true_random=False))
def test_pairs_are_of_the_same_problem(rows: list[list[bool]], random: object) -> None:
    """Whatever the order of the items: the library's own intervals and tests, against the first."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    orders = [random.sample(range(len(rows)), len(rows)) for _ in columns]  # type: ignore[attr-defined]
    found = compare([judged(str(i), *pair) for i, pair in enumerate(zip(columns, orders, strict=True))])
    first = columns[0]
    assert found.n == len(rows) and found.lines[0].behind is None
    p_values = []
    for line, mine in zip(found.lines, columns, strict=True):
        assert (line.accuracy, line.ci_low, line.ci_high) == (sum(mine) / len(mine), *wilson(sum(mine), len(mine)))
        if line.behind is not None:
            p_values.append(line.behind.p)
            only = (sum(x > y for x, y in zip(mine, first)), sum(x < y for x, y in zip(mine, first)))  # noqa: B905
            assert (line.behind.only_this, line.behind.only_first) == only and line.behind.p == mcnemar(*only)
            assert line.behind.difference.mean == pytest.approx((only[0] - only[1]) / len(mine))
    assert [line.behind.p_holm for line in found.lines[1:] if line.behind] == holm(p_values)


def test_a_known_comparison() -> None:
    """Only the first right 8 times, only the second once, both right 31 times and wrong 10 times."""
    table = [(True, False)] * 8 + [(False, True)] + [(True, True)] * 31 + [(False, False)] * 10
    first, second = (list(column) for column in zip(*table, strict=True))
    found = compare([judged("a", first), judged("b", second)])
    behind = found.lines[1].behind
    assert behind is not None and behind.p == behind.p_holm == 0.0390625  # 2 * (1 + 9) / 2**9
    assert (behind.only_this, behind.only_first) == (1, 8) and behind.difference == paired_difference(second, first)
    assert behind.difference.mean == pytest.approx(-0.14) and behind.difference.high < 0
    told = json.loads(json.dumps(found.to_json()))
    assert told["lines"][1]["behind"]["difference"]["mean"] == pytest.approx(-0.14)
    assert told["lines"][1]["behind"]["p"] == 0.0390625 and told["lines"][0]["behind"] is None


# files


def test_results_are_read_with_their_items(tmp_path: Path) -> None:
    one, more = written(tmp_path, "a.json", SPECS[:1]), written(tmp_path, "b.json", SPECS)
    found = [*read_judged(one), *read_judged(more)]
    assert [x.name for x in found] == ["a.json", "b.json, result 1", "b.json, result 2", "b.json, result 3"]
    items = read_items(tmp_path / "b.items.3.jsonl")
    assert list(found[3].items.values()) == items and found[3].result["sampler"] == SPECS[2]
    comparison = compare(found)
    assert comparison.task == "plain" and comparison.lines[1].behind is not None
    assert comparison.lines[1].behind.difference == (0, 0, 0) and comparison.lines[1].behind.p == 1  # the same sampler


def test_the_published_rule_may_judge(tmp_path: Path) -> None:
    file = written(tmp_path, "a.json", SPECS, Both())
    strict, published = compare(read_judged(file)), compare(read_judged(file), "compat")
    for number, line in enumerate(published.lines, 1):
        items = read_items(tmp_path / f"a.items.{number}.jsonl")
        assert line.accuracy == sum(item["compat"] for item in items) / len(items)
    assert [line.accuracy for line in strict.lines] != [line.accuracy for line in published.lines]
    with pytest.raises(ValueError, match="a.json was not judged by a published rule, which plain does not have"):
        compare(read_judged(written(tmp_path, "a.json", SPECS[:1])) * 2, "compat")


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    older = json.dumps({**RESULT, "n": 1, "record": {"run": "r"}})
    for text in (older, "[1", "[]", "3", "{}", '{"results": [{"n": 3}]}', '{"results": 5}', '{"record": {}}'):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ValueError, match="a.json holds no results: give a file that this version's unveil"):
            read_judged(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="a.json holds no results"):
        read_judged(tmp_path / "a.json")


WRONG = {
    "n": -3, "nfe_mean": "x", "task": ["a"], "sampler": 3, "guidance": True, "num_masks": 1.5, "seed": 10**30,
    "dtype": {}, "model": None, "record.run": [], "record.chat": "yes", "record.bits": "8", "record.adapter": 3,
    "record.chat_hash": [], "record.stops": 5,
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG.items(), ids=WRONG)
def test_a_value_of_another_type_is_refused_by_name(tmp_path: Path, name: str, value: object) -> None:
    file = written(tmp_path, "a.json", SPECS[:1])
    result = json.loads(file.read_text())
    *inner, last = name.split(".")
    (result[inner[0]] if inner else result)[last] = value
    file.write_text(json.dumps(result))
    fault = f"{last}={re.escape(repr(value))[:40]}|lacks '{last}'"
    with pytest.raises(ValueError, match=rf"a.json(: record)?:? ({fault}).*: run the same unveil evaluate again"):
        read_judged(file)


@pytest.mark.parametrize(
    ("name", "value"), [("index", []), ("id", 3), ("prompt", None), ("correct", "yes"), ("compat", 3)]
)
def test_an_item_of_another_type_is_refused_by_name(tmp_path: Path, name: str, value: object) -> None:
    file = written(tmp_path, "a.json", SPECS[:1])
    items = tmp_path / "a.items.jsonl"
    first, *rest = items.read_text().splitlines(keepends=True)
    items.write_text(json.dumps(json.loads(first) | {name: value}) + "\n" + "".join(rest))
    with pytest.raises(ValueError, match=rf"a.items.jsonl, (an item|item 0):? (lacks '{name}'|{name}=)"):
        read_judged(file)


def test_items_must_be_there_and_belong(tmp_path: Path) -> None:
    file = written(tmp_path, "a.json", SPECS[:1])
    items = tmp_path / "a.items.jsonl"
    whole = items.read_text()
    for text in (whole.partition("\n")[2], whole.replace('"run": "', '"run": "0'), whole.replace('"correct"', '""')):
        items.write_text(text)
        with pytest.raises(
            ValueError, match="a.items.jsonl has not the items of .*: run the same unveil evaluate again"
        ):
            read_judged(file)
    items.unlink()
    with pytest.raises(ValueError, match="a.json has no items beside it: put a.items.jsonl there"):
        read_judged(file)


# what is refused


def test_one_result_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="1 result to compare: give two or more, in one file or several"):
        compare([judged("a", [True])])


def test_other_tasks_and_problems_are_refused() -> None:
    first = judged("a", [True] * 9)
    with pytest.raises(ValueError, match="a.json is of task sums and b.json of sudoku: compare results of one task"):
        compare([first, judged("b", [True] * 9, task="sudoku")])
    with pytest.raises(ValueError, match="b.json has not the problems of a.json, it lacks p7, p8: evaluate both with"):
        compare([first, judged("b", [True] * 7)])
    with pytest.raises(ValueError, match="it has besides p9, p10, p11, p12, p13 and 2 more: evaluate"):
        compare([first, judged("b", [True] * 16)])
    other = judged("b", [True] * 9)
    other.items["p3"]["prompt"] = "else?"
    with pytest.raises(ValueError, match="it asks otherwise p3: evaluate both with one --task, --data, --limit"):
        compare([first, judged("c", [True] * 9), other])


# labels


def test_labels_say_what_differs() -> None:
    base = judged("a", [True])
    assert labels([base, judged("b", [True], sampler="dream")]) == ["llada", "dream"]
    assert labels([base, judged("b", [True], model="n", revision="s")]) == ["m", "n"]
    assert labels([base, judged("b", [True], revision="s")]) == ["checkpoint r", "checkpoint s"]
    changed = {"adapter": "abc", "bits": 8}
    assert labels([base, judged("b", [True], record=changed, revision="s")]) == [
        "no adapter, whole weights", "adapter abc, 8 bits",
    ]  # fmt: skip
    asked = {"chat": True, "chat_hash": "c0ffee"}
    assert labels([base, judged("b", [True], record=asked, seed=4)]) == ["raw prompts, seed 0", "chat c0ffee, seed 4"]
    assert labels([base, judged("b", [True], record={"stops": ["Q:"]})]) == ["no stops", "stops 'Q:'"]
    assert labels([base, judged("b", [True]), judged("c", [True], seed=1)]) == [
        "seed 0 (a.json)", "seed 0 (b.json)", "seed 1",
    ]  # fmt: skip
    assert labels([base, base._replace(number=2)]) == ["(a.json)", "(a.json, result 2)"]


# the picture

LONG = "fast_dllm:threshold=0.9,block=32,cache=dual"


def comparison(count: int, label: str) -> Comparison:
    """Every result a little worse."""
    rights = [[i % 40 >= 2 * number for i in range(200)] for number in range(count)]
    found = compare([judged(str(number), right) for number, right in enumerate(rights)])
    named = [replace(line, label=f"{label}{number}") for number, line in enumerate(found.lines)]
    return replace(found, lines=named)


def seen(axes: Axes) -> list[Text]:
    """The numbers at its ticks; those outside are not drawn."""
    low, high = axes.get_xlim()
    return [text for text in axes.get_xticklabels() if low <= text.get_position()[0] <= high]


@pytest.mark.parametrize("count, label", [(2, "a"), (12, LONG), (3, f"some/model-of-8B-Instruct, {LONG}, seed " * 2)])
def test_nothing_in_the_picture_covers_anything(count: int, label: str) -> None:
    """Labels, ticks and titles, and every label stands at its own points, inside the figure."""
    found = comparison(count, label)
    figure = draw_comparison(found)
    figure.canvas.draw()
    left, right = figure.axes
    names, ticks = left.get_yticklabels(), [text for axes in (left, right) for text in seen(axes)]
    texts = [*names, *ticks, left.xaxis.label, right.xaxis.label, figure._suptitle]  # type: ignore[attr-defined]
    boxes = [text.get_window_extent() for text in texts]
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
    assert ["".join(text.get_text().split()) for text in names] == ["".join(x.label.split()) for x in found.lines]
    points = [line.get_xydata()[0] for line in left.lines if line.get_marker() == "o"]
    assert [point[0] for point in points] == pytest.approx([100 * line.accuracy for line in found.lines])
    for text, point in zip(names, points, strict=True):
        box, height = text.get_window_extent(), left.transData.transform(point)[1]
        assert abs((box.y0 + box.y1) / 2 - height) < 3
    shown = [line.get_xydata()[0, 0] for line in right.lines if line.get_marker() == "o"]
    assert shown == pytest.approx([100 * line.behind.difference.mean for line in found.lines if line.behind])


def test_a_picture_is_written(tmp_path: Path) -> None:
    plot_comparison(comparison(3, LONG), tmp_path / "a.png")
    picture = imread(tmp_path / "a.png")
    assert picture.shape[1] > 1000 and [path.name for path in tmp_path.iterdir()] == ["a.png"]
