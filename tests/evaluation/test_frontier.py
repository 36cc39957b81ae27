"""The frontier as numbers: laws of grids, efficient sets, areas and choices."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unveil.decoding.spec import expand, parse_sampler
from unveil.evaluation.frontier import (
    HEURISTICS,
    Family,
    Measured,
    Point,
    Span,
    area,
    areas,
    at_budget,
    best,
    block_sizes,
    efficient,
    families_of,
    held_out,
    heuristic_grids,
    kept_of,
    plotted,
    span_of,
)
from unveil.evaluation.plots import points_of
from unveil.evaluation.statistics import paired_difference
from unveil.tasks import task as task_of
from unveil.tasks.task import Problem

SPAN = Span(2.0, 32.0)
# few values: equal forwards and equal accuracies must come up
POINTS = st.lists(
    st.builds(
        Point, st.sampled_from([1.0, 2.0, 2.5, 4.0, 9.0, 32.0, 50.0]), st.sampled_from([0, 0.25, 0.5, 0.75, 1.0])
    ),
    max_size=12,
)


def beats(a: Point, b: Point) -> bool:
    return a.forwards <= b.forwards and a.accuracy >= b.accuracy


# grids


def test_a_grid_is_the_product() -> None:
    assert expand("fast_dllm:threshold=0.3|0.5,block=8|16") == [
        "fast_dllm:threshold=0.3,block=8", "fast_dllm:threshold=0.3,block=16",
        "fast_dllm:threshold=0.5,block=8", "fast_dllm:threshold=0.5,block=16",
    ]  # fmt: skip
    assert expand("llada") == ["llada"] and expand("llada:block=8") == ["llada:block=8"]
    assert expand(" llada : steps = 1 | 2 ") == ["llada:steps=1", "llada:steps=2"]
    assert expand("llada:steps=2|2|4") == ["llada:steps=2", "llada:steps=4"]


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True), max_size=3))
def test_every_choice_comes_once(values: list[list[int]]) -> None:
    spec = "a:" + ",".join(f"k{place}={'|'.join(map(str, some))}" for place, some in enumerate(values))
    found = expand(spec)
    assert len(set(found)) == len(found) == math.prod(map(len, values)) and "|" not in "".join(found)
    for one in found:
        assert expand(one) == [one]


@pytest.mark.parametrize("spec", ["a:x=1||2", "a:x=|1", "a:x=1|", "a:x="])
def test_an_empty_alternative_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match=r"in sampler .* has an empty value: write x=VALUE or x=VALUE\|VALUE"):
        expand(spec)


def test_what_varies_and_what_is_fixed_names_a_family() -> None:
    specs = ["a:x=1|2,y=8", "b", "a:x=5|1,y=8", "a:x=1|2,y=9", "a:x=1,y=8", "a:x=1|2,y=8|9"]
    found = families_of(specs)
    assert [family.name for family in found] == ["a:x,y=8", "b", "a:x,y=9", "a:x=1,y=8", "a:x,y"]
    assert found[0] == Family(
        "a:x,y=8", ("x",), ("a:x=1|2,y=8", "a:x=5|1,y=8"), ("a:x=1,y=8", "a:x=2,y=8", "a:x=5,y=8")
    )
    assert found[1].settings == ("b",) and len(found[4].settings) == 4


@given(st.integers(1, 300))
def test_blocks_from_eight_to_the_canvas(num_masks: int) -> None:
    sizes = block_sizes(num_masks)
    assert sizes[-1] == num_masks and sizes == sorted(set(sizes))
    assert sizes[:-1] == [size for size in (8, 16, 32, 64, 128, 256) if size < num_masks]


@pytest.mark.parametrize("num_masks", [1, 8, 19, 64])
def test_every_searched_setting_is_a_sampler(num_masks: int) -> None:
    families = families_of(heuristic_grids(block_sizes(num_masks)))
    assert len(families) == len(HEURISTICS) == 3
    for family, (_, _, values) in zip(families, HEURISTICS, strict=True):
        assert len(family.settings) == len(values.split("|")) * len(block_sizes(num_masks))
        for spec in family.settings:
            parse_sampler(spec, num_masks)
    bars = [float(value) for value in HEURISTICS[0][2].split("|")]
    assert min(bars) == 0.1 and max(bars) == 0.95


# problems to search on


def test_searching_meets_no_test_problem() -> None:
    task = task_of("sums:split=train")
    taken = {problem.prompt for problem in replace(task, split="validation").generate(20, 5)}
    found = held_out(task, 30, 5, taken)
    assert len(found) == 30 and not taken & {problem.prompt for problem in found}
    assert all(problem.id.startswith("validation-5-") for problem in found)
    assert held_out(task, 10, 5, taken) == found[:10]


@dataclass(frozen=True, kw_only=True)
class Few:
    """A task with three problems."""

    name: str = "few"
    num_masks: int = 1
    describe: str = "Few."

    def generate(self, count: int, seed: int) -> list[Problem]:
        return [Problem(prompt=str((seed + i) % 3), answer=None, id=str(i)) for i in range(count)]

    def read(self, path: object) -> list[Problem]:
        return []

    def correct(self, problem: Problem, text: str) -> bool:
        return True


def test_too_few_problems_are_said() -> None:
    assert {problem.prompt for problem in held_out(Few(), 4, 0, {"0", "1"})} == {"2"}
    with pytest.raises(
        ValueError, match="only 0 of 4 validation problems of few are none of the 3 test problems: search"
    ):
        held_out(Few(), 4, 0, {"0", "1", "2"})


# efficient settings


@given(POINTS)
def test_the_efficient_are_undominated_and_complete(points: list[Point]) -> None:
    kept = [points[number] for number in efficient(points)]
    assert kept == sorted(set(kept))  # fastest first, no two equal
    for one in kept:
        assert not any(beats(other, one) and other != one for other in points)
    for point in points:
        assert any(beats(one, point) for one in kept)


@given(POINTS)
def test_of_equal_points_the_first_is_kept(points: list[Point]) -> None:
    assert all(number == points.index(points[number]) for number in efficient(points))


def test_a_family_keeps_its_efficient_settings() -> None:
    family = families_of(["a:x=1|2|3"])[0]
    points = {"a:x=1": Point(9, 0.9), "a:x=2": Point(9, 0.8), "a:x=3": Point(2, 0.5)}
    assert kept_of(family, points) == family._replace(settings=("a:x=3", "a:x=1"))


@given(POINTS, st.floats(0.5, 60) | st.sampled_from([1.0, 2.5, 9.0]))
def test_the_best_within_a_budget(points: list[Point], budget: float) -> None:
    number = best(points, budget)
    within = [point for point in points if point.forwards <= budget]
    if number is None:
        assert not within
    else:
        accuracy = max(point.accuracy for point in within)
        assert points[number] == Point(min(p.forwards for p in within if p.accuracy == accuracy), accuracy)


# areas


@given(st.floats(2, 32), st.floats(0, 1))
def test_the_area_of_one_point(forwards: float, accuracy: float) -> None:
    share = math.log(SPAN.high / forwards) / math.log(SPAN.high / SPAN.low)
    assert area([Point(forwards, accuracy)], SPAN) == pytest.approx(accuracy * share, abs=1e-12)


def test_points_outside_the_range() -> None:
    assert area([Point(1, 0.4)], SPAN) == pytest.approx(0.4)  # faster than asked: its height counts everywhere
    assert area([Point(33, 1.0)], SPAN) == area([], SPAN) == 0
    assert area([Point(8, 0.5), Point(2, 0.25)], SPAN) == pytest.approx(0.375)  # 8 is the middle of 2 to 32


@given(POINTS)
def test_the_area_is_the_mean_of_the_best_within_a_budget(points: list[Point]) -> None:
    middles = np.exp(np.linspace(math.log(2), math.log(32), 200, endpoint=False) + math.log(16) / 400)
    heights = [0.0 if (i := best(points, n)) is None else points[i].accuracy for n in middles]
    assert area(points, SPAN) == pytest.approx(np.mean(heights), abs=3e-3)


@given(POINTS, POINTS)
def test_whoever_dominates_has_no_less_area(points: list[Point], more: list[Point]) -> None:
    worse = [Point(one.forwards * 1.5, one.accuracy * 0.9) for one in points]
    assert area(worse, SPAN) <= area(points, SPAN) + 1e-12
    assert area(points, SPAN) <= area(points + more, SPAN) + 1e-12
    assert area(points, SPAN) == pytest.approx(area([points[i] for i in efficient(points)], SPAN), abs=1e-12)


@pytest.mark.parametrize("low, high", [(0, 2), (2, 2), (3, 2), (1, math.inf), (math.nan, 2)])
def test_a_range_has_two_ends(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="the range of forwards is .* it needs 0 < low < high, as in 2-32"):
        area([Point(2, 1.0)], Span(low, high))


def test_the_range_of_all_points() -> None:
    assert span_of([Point(3, 0.1), Point(2, 0.3), Point(9, 0.2)]) == (2, 9)
    with pytest.raises(ValueError, match="no points: evaluate at least one sampler"):
        span_of([])


def measured(sampler: str, correct: list[int], forwards: list[int]) -> Measured:
    right, spent = np.array(correct, float), np.array(forwards, float)
    return Measured(result={"sampler": sampler}, correct=right, forwards=spent)


def drawn(sampler: str, accuracy: float, forwards: int, seed: int, n: int = 60) -> Measured:
    rng = np.random.default_rng(seed)
    return measured(sampler, list(rng.random(n) < accuracy), list(forwards + rng.integers(0, 3, n)))


def test_areas_with_intervals() -> None:
    good = [drawn("a:x=1", 0.6, 2, 0), drawn("a:x=2", 0.9, 8, 1)]
    bad = [drawn("b", 0.3, 4, 2)]
    found = {one.family: one for one in areas({"bad": bad, "good": good}, SPAN)}
    for name, family in (("good", good), ("bad", bad)):
        one = found[name]
        assert one.area == area([setting.point for setting in family], SPAN)
        assert one.ci_low < one.area < one.ci_high and one.ci_high - one.ci_low < 0.4
    behind = found["bad"].behind
    assert found["good"].behind is None and behind is not None
    assert behind.mean == pytest.approx(found["good"].area - found["bad"].area)
    assert 0 < behind.low < behind.mean < behind.high
    assert areas({"bad": bad, "good": good}, SPAN)[0] == found["bad"]


def test_intervals_of_areas_are_those_of_accuracies_where_one_point_is_all() -> None:
    """A family at one forward: its area is its accuracy, so both intervals are the bootstrap's."""
    correct = [1] * 30 + [0] * 30
    (one,) = areas({"a": [measured("a", correct, [1] * 60)]}, SPAN)
    expected = paired_difference(correct, [0] * 60)
    assert (one.area, one.ci_low, one.ci_high) == pytest.approx(tuple(expected), abs=0.02)


def test_the_same_problems_are_drawn_for_all_families() -> None:
    """Two families with the same answers: their noise cancels only in pairs."""
    first = drawn("a", 0.5, 4, 0)
    found = areas({"a": [first], "b": [replace(first, result={"sampler": "b"})]}, SPAN)
    assert found[1].behind == (0.0, 0.0, 0.0) and found[0].ci_high - found[0].ci_low > 0.05


# budgets


def test_the_best_of_each_family_within_a_budget() -> None:
    quick, slow = drawn("a:x=1", 0.3, 2, 0), drawn("a:x=2", 0.9, 20, 1)
    other, late = drawn("b", 0.6, 5, 2), drawn("c", 1.0, 30, 3)
    families = {"a": [slow, quick], "b": [other], "c": [late]}
    found = at_budget(families, 8.0)
    assert [line.best and line.best.sampler for line in found] == ["a:x=1", "b", None]
    assert [line.family for line in found] == ["a", "b", "c"] and all(line.budget == 8 for line in found)
    assert found[1].behind is None and found[2].behind is None
    assert found[0].behind == paired_difference(other.correct, quick.correct)
    assert [line.best and line.best.sampler for line in at_budget(families, 40.0)] == ["a:x=2", "b", "c"]
    assert all(line.best is None and line.behind is None for line in at_budget(families, 1.0))


def test_other_problems_may_choose() -> None:
    quick, slow = drawn("a:x=1", 0.9, 2, 0), drawn("a:x=2", 0.3, 20, 1)
    chosen_by = {"a:x=1": Point(2, 0.1), "a:x=2": Point(7, 0.2)}
    assert at_budget({"a": [quick, slow]}, 8.0)[0].best is quick
    assert at_budget({"a": [quick, slow]}, 8.0, chosen_by)[0].best is slow


# the plot


def test_a_family_is_one_line_whatever_varies() -> None:
    family = families_of(["fast_dllm:threshold=0.3|0.5,block=8|16,cache=dual"])[0]
    results = [
        {"sampler": spec, "nfe_mean": 2.0 + i, "accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6}
        for i, spec in enumerate(family.settings)
    ]
    points = points_of(plotted(family, results))
    assert {point.series for point in points} == {"fast_dllm threshold cache=dual, block"}  # not another family's line
    assert [point.label for point in points] == ["0.3 block 8", "0.3 block 16", "0.5 block 8", "0.5 block 16"]
    assert [point.accuracy for point in points] == [50.0] * 4


@pytest.mark.parametrize("spec", ["llada", "fast_dllm:threshold=0.3|0.5,block=8", "dream:alg=entropy|maskgit_plus"])
def test_other_families_are_drawn_as_they_are(spec: str) -> None:
    family = families_of([spec])[0]
    results = [{"sampler": setting} for setting in family.settings]
    assert plotted(family, results) == results
