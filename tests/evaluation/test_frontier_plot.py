"""The frontier plot: what becomes a line, and a file that is written wholly or not at all."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from matplotlib.transforms import Bbox

from unveil.evaluation.plots import draw_frontier, plot_frontier, points_of


def result(sampler: str, forwards: float = 19.0, accuracy: float = 0.9) -> dict:
    low, high = max(0.0, accuracy - 0.05), min(1.0, accuracy + 0.02)
    return {"sampler": sampler, "nfe_mean": forwards, "accuracy": accuracy, "ci_low": low, "ci_high": high}


def test_what_is_fixed_makes_the_line_and_the_grid_its_points() -> None:
    specs = [
        "llada", "llada:steps=5", "llada:remasking=random,steps=5", "fast_dllm:threshold=0.9", "fast_dllm:factor=1",
        "fast_dllm:threshold=0.9,cache=dual", "eb_sampler:gamma=0.1",
    ]  # fmt: skip
    points = points_of([result(spec) for spec in specs])
    assert [point.series for point in points] == [
        "llada", "llada", "llada remasking=random", "fast_dllm threshold", "fast_dllm factor",
        "fast_dllm threshold cache=dual", "eb_sampler",
    ]  # fmt: skip
    assert [point.label for point in points] == ["", "steps=5", "steps=5", "0.9", "1", "0.9", "gamma=0.1"]
    assert [point.family for point in points] == ["llada"] * 3 + ["fast_dllm"] * 3 + ["eb_sampler"]


def test_points_that_would_hide_each_other_stand_side_by_side() -> None:
    places = [point.place for point in points_of([result("llada")] * 3 + [result("llada", 10.0)])]
    assert places[0] == 19 and places[3] == 10 and places[2] < 19 < places[1]
    assert np.isclose(places[1] * places[2], 19**2)


def test_percent() -> None:
    (point,) = points_of([result("llada", accuracy=0.9)])
    assert (point.accuracy, point.low, point.high) == pytest.approx((90, 85, 92))


def labels(results: list[dict]) -> dict[str, Bbox]:
    """The labels of the picture and where they stand, in pixels.

    No two cover each other, none covers a point, and none is nearer to another point than to its own.
    """
    points = points_of(results)
    figure = draw_frontier(points, title="labels")
    figure.canvas.draw()
    (axes,) = figure.axes
    found = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert len(found) == len(axes.texts)
    centres = {point.label: axes.transData.transform((point.place, point.accuracy)) for point in points}
    for one, other in combinations(found.values(), 2):
        assert not one.overlaps(other)
    for label, box in found.items():
        away = {name: np.linalg.norm(centre - centre.clip(box.min, box.max)) for name, centre in centres.items()}
        assert 6 < away[label] <= min(away.values()) + 1.5
        assert axes.bbox.x0 - 1 <= box.x0 and box.x1 <= axes.bbox.x1 + 1
    return found


def test_near_points_are_told_apart() -> None:
    """All labels where there is room, also of three samplers with the same result; else ends and best of the line."""
    steps = [result(f"llada:steps={2**n}", 2.0**n, 0.15 * n) for n in range(1, 6)]
    equal = [result(f"{name}:eta={n}", 3.0, 0.9) for n, name in enumerate(("remdm", "a", "b"))]
    assert set(labels([*steps, *equal])) == {*(f"steps={2**n}" for n in range(1, 6)), "eta=0", "eta=1", "eta=2"}
    line = [result(f"llada:steps={n}", 5 + n / 4, 0.505 if n == 19 else 0.5) for n in range(40)]
    assert {"steps=0", "steps=19", "steps=39"} <= set(labels(line)) and len(labels(line)) < 30
    labels(equal)  # at the right edge, and one at the left
    assert set(labels([result("eb_sampler:gamma=0.0001", 1.0), result("llada", 64.0)])) == {"gamma=0.0001"}


@settings(max_examples=5, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 12), st.floats(0, 1)), min_size=1, max_size=20))
def test_labels_are_legible_wherever_points_are(places: list[tuple[float, float]]) -> None:
    labels([result(f"{'abc'[n % 3]}:threshold={n}", *place) for n, place in enumerate(places)])


def test_a_picture_is_written(tmp_path: Path) -> None:
    plot_frontier([result("llada"), result("dream", 2.0, 1.0)], tmp_path / "a.png", title="two")
    picture = imread(tmp_path / "a.png")
    assert picture.shape[0] > 500 and picture.shape[1] > 900 and np.unique(picture.reshape(-1, 4), axis=0).shape[0] > 20
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_one_point_is_enough(tmp_path: Path) -> None:
    plot_frontier([result("remdm", 1.0, 0.0)], tmp_path / "a.png", title="one")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no results to plot: evaluate at least one sampler"):
        plot_frontier([], tmp_path / "a.png", title="none")
    with pytest.raises(OSError, match="Make the folder .* first, or name another file"):
        plot_frontier([result("llada")], tmp_path / "no" / "a.png", title="none")


@pytest.mark.parametrize("name", ["runs/$abc", r"a $\frac{1}$ b", "$x$", "100 % $", "a_b^c"])
def test_a_name_is_shown_as_it_is(name: str) -> None:
    """A $ begins no formula, which might not even be one."""
    figure = draw_frontier(points_of([result("llada:steps=4")]), title=name)
    figure.draw_without_rendering()
    assert figure.axes[0].get_title(loc="left") == name and not figure.axes[0].title.get_parse_math()
