"""Classification: balanced, disjoint, repeatable; the boundaries are the ones named; scikit-learn is asked for."""

import re
import sys
from collections import Counter
from functools import cache
from inspect import unwrap
from math import dist, hypot
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unveil.diagnostics.context.few_shot.classification import Classification, Kind
from unveil.diagnostics.context.few_shot.shots import Arrangement, FewShot, Shot, arrange

pytest.importorskip("sklearn")

KINDS: tuple[Kind, ...] = get_args(Kind)


@cache
def source(kind: Kind, seed: int = 0) -> Classification:
    return Classification(kind=kind, seed=seed)


def all_of(task: Classification) -> list[Shot]:
    return [*task.shots(100, 0, 0).relevant, *task.questions(1000)]


sources = st.builds(source, st.sampled_from(KINDS), st.integers(0, 4))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_examples_and_a_thousand_questions_never_meet(kind: Kind, seed: int) -> None:
    shots = all_of(source(kind, seed))
    assert len(shots) == len({shot.point for shot in shots}) == 1100
    for part in (shots[:100], shots[100:]):
        assert Counter(shot.answer for shot in part) == {"Above": len(part) // 2, "Below": len(part) // 2}
    assert all(len(s.point) == 3 and all(1 <= x <= 100 and x == int(x) for x in s.point) for s in shots)
    wide = np.ptp(np.array([shot.point for shot in shots]), axis=0)
    assert (wide >= 90).all()


@given(task=sources, draw=st.integers(0, 10**6), data=st.data())
def test_beginnings_are_balanced_and_never_change(task: Classification, draw: int, data: st.DataObject) -> None:
    more = data.draw(st.integers(0, 100))
    fewer = data.draw(st.integers(0, more))
    shots, asked = task.shots(more, 0, draw).relevant, task.questions(10 * more)
    assert len(shots) == more and not task.shots(more, 0, draw).distractors
    assert task.shots(fewer, 0, draw).relevant == shots[:fewer] and task.questions(10 * fewer) == asked[: 10 * fewer]
    for part in (shots[:fewer], asked[: 10 * fewer]):
        count = Counter(shot.answer for shot in part)
        assert abs(count["Above"] - count["Below"]) <= 1
    assert set(shots) <= set(task.shots(100, 0, 0).relevant)


@given(task=sources, draw=st.integers(0, 100))
def test_draws_differ_and_both_labels_come_first(task: Classification, draw: int) -> None:
    assert task.shots(20, 0, draw).relevant != task.shots(20, 0, draw + 1).relevant
    first = [task.shots(1, 0, draw + i).relevant[0].answer for i in range(40)]
    assert set(first) == {"Above", "Below"}


@settings(max_examples=10)
@given(task=sources)
def test_a_fresh_source_says_the_same(task: Classification) -> None:
    fresh = Classification(kind=task.kind, seed=task.seed)
    assert fresh == task and all_of(fresh) == all_of(task) and isinstance(task, FewShot)


def test_kinds_and_seeds_are_different_tasks() -> None:
    tasks = [source(kind, seed) for kind in KINDS for seed in range(5)]
    assert len({task.name for task in tasks}) == len({task.describe for task in tasks}) == 20
    assert len({tuple(task.questions(5)) for task in tasks}) == 20


@given(task=sources, which=st.integers(0, 999))
def test_the_text_says_the_point(task: Classification, which: int) -> None:
    shot = task.questions(which + 1)[which]
    x, y, z = map(int, shot.point)
    assert shot.question + shot.answer + shot.ending == f"Point: {x} {y} {z}\nAnswer:[{shot.answer}].\n\n"
    assert shot.answer in task.labels == ("Above", "Below") and task.system == ""


@given(task=sources, which=st.integers(0, 999), order=st.sampled_from(["nearest_last", "nearest_first"]))
def test_examples_can_stand_by_distance(task: Classification, which: int, order: Any) -> None:
    question = task.questions(which + 1)[which]
    arrangement = Arrangement(relevant=30, distractors=0, order=order)
    pieces = arrange(task.shots(30, 0, 0), question, arrangement)
    far = [dist(piece.shot.point, question.point) for piece in pieces if piece.shot and piece.kind == "relevant"]
    assert len(far) == 30 and far == sorted(far, reverse=order == "nearest_last") and far[0] != far[-1]


# boundaries -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_circles_are_circles(seed: int) -> None:
    """The inner one, class 1, has 0.8 of the radius; rounding moves a point by at most 0.5 * sqrt(2)."""
    for shot in all_of(source("circles", seed)):
        radius = hypot(shot.point[0] - 50.5, shot.point[1] - 50.5)
        assert abs(radius - 49.5 * (0.8 if shot.answer == "Above" else 1)) < 0.8


@pytest.mark.parametrize("seed", range(5))
def test_moons_are_half_circles(seed: int) -> None:
    """Class 0 is the upper half of the circle about (0, 0), class 1 the lower half of that about (1, 0.5)."""
    for shot in all_of(source("moons", seed)):
        x, y = -1 + 3 * (shot.point[0] - 1) / 99, -0.5 + 1.5 * (shot.point[1] - 1) / 99
        assert abs((hypot(x - 1, y - 0.5) if shot.answer == "Above" else hypot(x, y)) - 1) < 0.03
        assert y < 0.52 if shot.answer == "Above" else y > -0.02


@pytest.mark.parametrize("seed", range(5))
def test_a_swiss_roll_is_cut_between_inner_and_outer_turns(seed: int) -> None:
    """The first and third dimension are t cos t and t sin t: their norm is t, and the cut is at its median, 3 pi."""
    shots = all_of(source("swiss_roll", seed))
    x, y = np.array([(shot.point[0], shot.point[2]) for shot in shots]).T
    t = np.linspace(1.5 * np.pi, 4.5 * np.pi, 10_000)
    low, wide = [(f(t) * t).min() for f in (np.cos, np.sin)], [np.ptp(f(t) * t) for f in (np.cos, np.sin)]
    norm = np.hypot(low[0] + wide[0] * (x - 1) / 99, low[1] + wide[1] * (y - 1) / 99)
    above = np.array([shot.answer == "Above" for shot in shots])
    assert norm[above].min() > 3 * np.pi - 0.6 and norm[~above].max() < 3 * np.pi + 0.6


@pytest.mark.parametrize("seed", range(5))
def test_a_nonlinear_boundary_is_a_polynomial_and_no_plane(seed: int) -> None:
    """Least squares on the terms of degree 2 tell nearly all labels; on those of degree 1 clearly fewer."""
    shots = all_of(source("nonlinear", seed))
    x = (np.array([shot.point for shot in shots]) - 50.5) / 49.5
    y = np.array([1.0 if shot.answer == "Above" else -1.0 for shot in shots])
    pairs = np.stack([x[:, i] * x[:, j] for i in range(3) for j in range(i, 3)], axis=1)
    right = []
    for terms in (x, np.hstack([x, pairs])):
        terms = np.hstack([terms, np.ones((len(x), 1))])
        right.append(np.mean(np.sign(terms @ np.linalg.lstsq(terms, y, rcond=None)[0]) == y))
    assert right[1] > 0.93 and right[1] > right[0]


def test_extra_dimensions_say_nothing() -> None:
    for kind in ("moons", "circles"):
        shots = all_of(source(kind))
        high = [shot.answer == "Above" for shot in shots if shot.point[2] > 50]
        assert abs(np.mean(high) - 0.5) < 0.1 and abs(len(high) / 1100 - 0.5) < 0.1


@pytest.mark.parametrize(
    "kind, point",
    [
        ("nonlinear", (27, 36, 59)),
        ("swiss_roll", (54, 64, 99)),
        ("moons", (59, 3, 54)),
        ("circles", (3, 35, 90)),
    ],
)
def test_the_points_stay_what_they_are(kind: Kind, point: tuple[int, ...]) -> None:
    assert source(kind).questions(1)[0].point == point


# errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"kind": "moon"}, "kind is 'moon'; it must be one of nonlinear, swiss_roll, moons, circles"),
        ({"kind": "moons", "seed": 5}, "seed is 5; it must be from 0 to 4"),
        ({"kind": "moons", "seed": -1}, "seed is -1; it must be from 0 to 4"),
    ],
)
def test_bad_settings_are_refused(bad: dict[str, Any], message: str) -> None:
    task = object.__new__(Classification)
    with pytest.raises(ValueError, match=re.escape(message)):
        unwrap(Classification.__init__)(task, **bad)  # past the type checks, which only tests have


def test_what_there_is_not_is_refused() -> None:
    task = source("moons", 3)
    with pytest.raises(ValueError, match="distractors is 40; all examples of moons-3 keep its rule: set it to 0"):
        task.shots(10, 40, 0)
    for relevant in (-1, 101):
        with pytest.raises(ValueError, match=f"relevant is {relevant}; it must be from 0 to 100, moons-3 has no more"):
            task.shots(relevant, 0, 0)
    with pytest.raises(ValueError, match="draw is -1; it must be at least 0"):
        task.shots(10, 0, -1)
    for count in (-1, 1001):
        with pytest.raises(ValueError, match=f"count is {count}; it must be from 0 to 1000, moons-3 has no more"):
            task.questions(count)


def test_scikit_learn_is_asked_for_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    task = Classification(kind="moons")
    with pytest.raises(ValueError, match=re.escape("moons needs scikit-learn: pip install 'unveil[diagnose]', or")):
        task.questions(1)
