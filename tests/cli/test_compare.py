"""unveil compare: what the library computes, shown, written and drawn."""

import json
from io import StringIO
from pathlib import Path

import pytest
from matplotlib.image import imread
from rich.console import Console

from tests.cli.program import Outcome, run, words_of
from unveil.evaluation.compare import Behind, Comparison, Line, compare, comparison_table, read_judged
from unveil.evaluation.statistics import Difference
from unveil.tasks import Sudoku

SPECS = ["llada", "llada:steps=1", "fast_dllm:threshold=0.2,block=8"]


@pytest.fixture(autouse=True)
def judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights solve nothing: let every other text be right."""
    monkeypatch.setattr(Sudoku, "correct", lambda _, problem, text: sum(map(ord, text + problem.prompt)) % 2 == 0)


def evaluated(out: Path, *specs: str, limit: int = 12, seed: int = 0) -> Path:
    samplers = [word for spec in specs for word in ("--sampler", spec)]
    words = ["--task", "sudoku", "--limit", limit, "--seed", seed, *samplers, "--json", out]
    assert run("evaluate", "lab-sudoku", *words).code == 0
    return out


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [evaluated(tmp_path / "a.json", SPECS[0]), evaluated(tmp_path / "b.json", *SPECS[1:])]


def told(*words: object) -> Outcome:
    outcome = run("compare", *words)
    assert outcome.code == 0, outcome.err
    return outcome


def test_table_json_and_picture(files: list[Path], tmp_path: Path) -> None:
    outcome = told(*files, "--json", tmp_path / "c.json", "--plot", tmp_path / "c.png")
    expected = compare([one for file in files for one in read_judged(file)])
    assert json.loads((tmp_path / "c.json").read_text()) == json.loads(json.dumps(expected.to_json()))
    assert imread(tmp_path / "c.png").shape[1] == 1500
    assert "sudoku: 12 problems by the strict grader" in outcome.out
    assert "Holm" in outcome.out and "c.json and " in outcome.err
    for line, spec in zip(expected.lines, SPECS, strict=True):
        assert line.label == spec
        row = next(row for row in outcome.out.splitlines() if row.startswith(spec.replace(",", ", ") + " "))
        assert f"{line.accuracy:.1%}" in row
        if line.behind is not None:
            pairs = f"{line.behind.only_this}/{line.behind.only_first}"
            assert row.split()[-2:] == [pairs, f"{line.behind.p_holm:.4f}"]
            assert f"{100 * line.behind.difference.mean:+.1f} (" in row


@pytest.mark.parametrize("count", [2, 5])
def test_the_table_fits_a_narrow_terminal(count: int) -> None:
    behind = Behind(Difference(-0.125, -0.1875, -0.0625), 1000, 1000, 0.00001, 0.00002)
    line = Line(label=SPECS[2] * 2, file="a", accuracy=1.0, ci_low=0.111, ci_high=1.0, nfe_mean=3.0, behind=behind)
    found = Comparison(task="sums", n=9, grader="compat", lines=[line] * count)
    narrow = Console(width=80, file=StringIO())
    narrow.print(comparison_table(found))
    told = narrow.file.getvalue()  # type: ignore[attr-defined]
    for text in ("fast_dllm", "100.0%", "11.1-100.0", "-12.5 (-18.8 to -6.2)", "1000/1000", "<0.0001", "published"):
        assert text in told
    assert "\u2026" not in told and max(map(len, told.splitlines())) <= 80


def test_two_results_need_no_correction(files: list[Path], tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    outcome = told(files[0], evaluated(tmp_path / "d.json", SPECS[1]))
    assert "(McNemar)" in outcome.out and "Holm" not in outcome.out and outcome.err == ""
    assert len(sorted(tmp_path.iterdir())) == len(before) + 2  # those of the evaluation


def test_bad_input_is_said(files: list[Path], tmp_path: Path) -> None:
    def fault(*words: object) -> str:
        outcome = run("compare", *words)
        assert outcome.code == 2 and outcome.out == ""
        return words_of(outcome.err)

    assert "1 result to compare: give two or more" in fault(files[0])
    other = evaluated(tmp_path / "o.json", SPECS[0], seed=5)
    assert "o.json has not the problems of a.json, it lacks" in fault(files[0], other)
    assert "it lacks validation-0-2, " in fault(files[0], evaluated(tmp_path / "f.json", SPECS[0], limit=2))
    assert "was not judged by a published rule, which sudoku does not have" in fault(*files, "--grader", "compat")
    assert "holds no results: give a file that this version's" in fault(tmp_path / "a.items.jsonl")
    assert "there is no folder" in fault(*files, "--plot", tmp_path / "no" / "c.png")
    assert "Invalid value for '--grader'" in fault(*files, "--grader", "lenient")
    assert "Invalid value for 'FILE...'" in fault(tmp_path / "nothing.json")
