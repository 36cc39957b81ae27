"""A measured frontier as a value: its tables, its JSON, and files of which the numbers are written first."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unveil.evaluation import frontier_report
from unveil.evaluation.frontier import Measured, Search, Span, areas, at_budget, families_of, kept_of
from unveil.evaluation.frontier_report import AREA, COLUMNS, Frontier, search_table
from unveil.terminal import rendered

FAMILIES = families_of(["fast_dllm:threshold=0.3|0.9,block=8", "llada:steps=2|4|8"])
WHERE = {  # of each setting: how many of 20 problems are right, and forwards
    "fast_dllm:threshold=0.3,block=8": (11, 3), "fast_dllm:threshold=0.9,block=8": (18, 12),
    "llada:steps=2": (5, 2), "llada:steps=4": (4, 4), "llada:steps=8": (15, 8),
}  # fmt: skip


def measured(sampler: str, right: int, forwards: int, n: int = 20) -> Measured:
    """With the fields of a result that a report reads."""
    share = right / n
    result: dict[str, Any] = {
        "task": "sums", "difficulty": "Sums.", "model": "small", "revision": "r", "sampler": sampler, "guidance": 0.0,
        "n": n, "accuracy": share, "ci_low": max(0.0, share - 0.1), "ci_high": min(1.0, share + 0.1), "num_masks": 16,
        "nfe_mean": float(forwards), "steps": None, "block": 8, "seed": 0, "batch": 4, "incomplete": 0,
        "tokens_per_forward": 16 / forwards, "tokens_per_second": 9.0, "record": {"unmask": f"Rule of {sampler}"},
    }  # fmt: skip
    correct = (np.arange(n) < right).astype(float)
    return Measured(result=result, correct=correct, forwards=np.full(n, float(forwards)))


RESULTS = {spec: measured(spec, *where) for spec, where in WHERE.items()}
GROUPED = {family.name: [RESULTS[spec] for spec in family.settings] for family in FAMILIES}


def found(**more: Any) -> Frontier:
    return Frontier.of(FAMILIES, RESULTS, test="20 generated problems", **more)


def searched() -> Frontier:
    """Every setting was tried on validation problems, the efficient ones were measured."""
    kept = [kept_of(family, {spec: one.point for spec, one in RESULTS.items()}) for family in FAMILIES]
    search = Search(20, 1, FAMILIES, kept, RESULTS)
    left = {spec: RESULTS[spec] for family in kept for spec in family.settings}
    return Frontier.of(kept, left, test="20 generated problems", budgets=[4.0], search=search)


def test_areas_and_budgets_are_those_of_the_settings() -> None:
    whole = found(budgets=[4.0, 8.0])
    assert whole.span == (2, 12) and whole.areas == areas(GROUPED, Span(2, 12))
    assert whole.budgets == [*at_budget(GROUPED, 4.0), *at_budget(GROUPED, 8.0)]
    assert found(span=Span(2, 32)).areas == areas(GROUPED, Span(2, 32)) and found().budgets == []


def test_settings_of_the_same_forwards_have_no_area() -> None:
    family = families_of(["llada:steps=4"])
    one = Frontier.of(family, {"llada:steps=4": RESULTS["llada:steps=4"]}, test="20 problems")
    assert list(one.areas) == [] and "Area" not in str(one) and one.to_json()["area"]["families"] == []


def test_printed_it_has_a_line_a_setting_a_family_and_a_budget() -> None:
    text = str(found(budgets=[4.0, 1.0]))
    assert text.startswith("sums with small: 20 generated problems, 16 masks\n")
    points, under, within = text.split("Area from 2 to 12 forwards")[0], *text.split("Area from ")[1].split("Best ")
    for spec, (right, forwards) in WHERE.items():
        (line,) = (line for line in points.splitlines() if line.startswith(spec.replace(",", ", ")))
        assert f" {right / 20:.1%} " in line and f" {forwards}.00 " in line and line.endswith(f"Rule of {spec}")
    steps = [line.split()[0] for line in points.splitlines() if line.startswith("llada")]
    assert steps == ["llada:steps=2", "llada:steps=4", "llada:steps=8"], "fastest first"
    for one in found().areas:
        (line,) = (line for line in under.splitlines() if line.startswith(one.family.replace(",", ", ")))
        assert f"{one.area:.1%}" in line
    assert f"area: {AREA}" in text
    assert within.startswith("setting within a budget on the same problems, so a little flattered")
    assert within.count("none is so fast") == 2 and "fast_dllm:threshold=0.3," in within


def test_what_was_searched_is_told() -> None:
    report = searched()
    assert report.search is not None and "Best setting within a budget on the validation problems" in str(report)
    told = " ".join(rendered(search_table(report.search)).split())
    assert "Searched: 5 settings on 20 generated problems, validation split, seed 1" in told
    assert "the 4 efficient ones go on" in told, "more steps and no better is not efficient"
    about = report.to_json()["search"]
    assert about["kept"]["llada:steps"] == ("llada:steps=2", "llada:steps=8") and about["n"] == 20
    assert [one["sampler"] for one in about["results"]] == list(WHERE) and found().to_json()["search"] is None


def test_as_json_it_is_everything() -> None:
    whole = found(budgets=[4.0, 1.0])
    about = json.loads(json.dumps(whole.to_json(), allow_nan=False))
    assert (about["task"], about["model"], about["num_masks"]) == ("sums", "small", 16)
    assert about["test"] == {"problems": "20 generated problems", "n": 20, "seed": 0}
    assert [one["name"] for one in about["families"]] == [family.name for family in FAMILIES]
    assert (about["area"]["low"], about["area"]["high"], about["area"]["definition"]) == (2, 12, AREA)
    assert [one["area"] for one in about["area"]["families"]] == [one.area for one in whole.areas]
    best = [(one["budget"], one["family"], one["best"] and one["best"]["sampler"]) for one in about["budgets"]]
    assert best == [(line.budget, line.family, line.best and line.best.sampler) for line in whole.budgets]
    assert best[2:] == [(1, family.name, None) for family in FAMILIES]
    for one, spec in zip(about["results"], WHERE, strict=True):
        assert one == {**RESULTS[spec].result, "unmask": f"Rule of {spec}"}


def test_files_hold_the_numbers_and_the_picture(tmp_path: Path) -> None:
    report = searched()
    paths = report.write(tmp_path)
    assert (
        sorted(paths) == sorted(tmp_path.iterdir()) == [tmp_path / f"frontier.{end}" for end in ("csv", "json", "png")]
    )
    assert json.loads((tmp_path / "frontier.json").read_text("utf-8")) == json.loads(json.dumps(report.to_json()))
    assert (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")
    with open(tmp_path / "frontier.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    tested, tried = ([row for row in rows if row["problems"] == on] for on in ("test", "validation"))
    assert [row["sampler"] for row in tried] == list(WHERE) and len(tested) == 4
    assert [row["sampler"] for row in tried if row["kept"] == "False"] == ["llada:steps=4"]
    for row in rows:
        assert float(row["accuracy"]) == WHERE[row["sampler"]][0] / 20 and row["unmask"] == f"Rule of {row['sampler']}"


def test_the_numbers_are_written_before_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What took hours to measure is safe, whatever becomes of the picture."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no picture today")

    monkeypatch.setattr(frontier_report, "plot_frontier", broken)
    with pytest.raises(RuntimeError, match="no picture today"):
        found().write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"frontier.json", "frontier.csv"}
    assert json.loads((tmp_path / "frontier.json").read_text("utf-8")) == json.loads(json.dumps(found().to_json()))


def test_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Make the folder .* first, or name another file"):
        found().write(tmp_path / "no")
