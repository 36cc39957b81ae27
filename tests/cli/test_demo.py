"""unveil demo: animation, table, plot, numbers; what was done is not done again."""
import json
from dataclasses import replace
from pathlib import Path

import pytest

from recipes.lab_puzzles import ARCHITECTURE, LabPuzzles
from tests.cli.program import run, untimed, words_of
from unveil.cli.verbs import demo
from unveil.cli.verbs.demo import MODEL, SAMPLERS, items_in
from unveil.evaluation import items as kept
from unveil.files import read_jsonl
from unveil.models.transformer import Transformer, initialise


@pytest.fixture(scope="module")
def puzzles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model in the place of lab-puzzles."""
    folder = tmp_path_factory.mktemp("lab")
    sizes = {"width": 16, "layers": 1, "heads": 1, "kv_heads": 1, "head_width": 16, "feed_width": 32}
    model = initialise(Transformer(replace(ARCHITECTURE, **sizes)), seed=0, std=0.6)  # type: ignore[arg-type]
    LabPuzzles().save(model, folder / MODEL)
    return folder


@pytest.fixture(autouse=True)
def lab(puzzles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is shipped and no other."""
    monkeypatch.setattr("unveil.checkpoints.folder.LAB", puzzles)


def test_everything_is_written_and_said(tmp_path: Path) -> None:
    told = run("demo", "--out", tmp_path / "out", "--problems", 2)
    assert told.code == 0, told.err
    assert "64 masks after one problem" in told.out and ("Right." in told.out or "Wrong" in told.out)
    results = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    assert [result["sampler"] for result in results] == list(SAMPLERS)
    assert all(result["n"] == 2 and result["task"] == "sums" for result in results)
    assert (tmp_path / "out" / "frontier.png").read_bytes().startswith(b"\x89PNG")
    (items,) = (tmp_path / "out").glob("items-*")
    assert len(list(items.iterdir())) == len(SAMPLERS)
    assert all(len(read_jsonl(path)) == 2 for path in items.iterdir())
    assert all(str(tmp_path / "out" / name) in told.out for name in ("frontier.png", "results.json", items.name))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three samplers are enough where it is not about which."""
    monkeypatch.setattr(demo, "SAMPLERS", SAMPLERS[:3])


def test_the_line_it_offers_gives_the_row_again(few: None, tmp_path: Path) -> None:
    told = run("demo", "--out", tmp_path, "--problems", 3)
    offered = told.out.partition("A row again: unveil ")[2].split()
    assert run(*offered, "--json", tmp_path / "again.json").code == 0
    again = json.loads((tmp_path / "again.json").read_text())
    rows = json.loads((tmp_path / "results.json").read_text())["results"]
    (row,) = (row for row in rows if row["sampler"] == again["sampler"])
    assert {**untimed(row), "batch": 0} == {**untimed(again), "batch": 0}


def test_interrupted_it_goes_on(few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append, written = kept.append_line, []

    def counting(path: Path, text: str) -> None:
        if len(written) == 5:
            raise KeyboardInterrupt
        append(path, text)
        written.append(path)

    with monkeypatch.context() as patch:
        patch.setattr(kept, "append_line", counting)
        told = run("demo", "--out", tmp_path, "--problems", 2)
    assert told.code == 130 and "What was done is kept in" in told.err
    written.clear()
    with monkeypatch.context() as patch:
        patch.setattr(kept, "append_line", lambda path, text: (append(path, text), written.append(path)))
        assert run("demo", "--out", tmp_path, "--problems", 2).code == 0
    assert len(written) == 2 * 3 - 5


def test_other_settings_do_not_collide(tmp_path: Path) -> None:
    runs = [("abc", 1), ("abc", 2), ("def", 1), ("def", 2)]
    files = [path for revision, puzzles in runs for path in items_in(tmp_path, revision, puzzles, SAMPLERS)]
    assert len(set(files)) == 4 * len(SAMPLERS) and all(path.parent.is_dir() for path in files)


def test_at_least_eight_samplers_of_every_recipe() -> None:
    names = [spec.partition(":")[0] for spec in SAMPLERS]
    assert len(SAMPLERS) >= 8 and set(names) == {"llada", "dream", "fast_dllm", "eb_sampler", "remdm"}
    assert any("cache=dual" in spec for spec in SAMPLERS)


def test_an_output_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = run("demo", "--out", tmp_path / "file" / "out", "--problems", 1)
    assert told.code == 2 and "Not a directory" in words_of(told.err)
