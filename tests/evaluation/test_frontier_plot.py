"""The frontier plot: what becomes a line, and a file that is written wholly or not at all."""
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from unveil.evaluation.frontier_plot import plot_frontier, points_of


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
