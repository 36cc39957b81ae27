"""unveil models: what is shipped, with or without a card."""
import shutil
from pathlib import Path

import pytest

from tests.cli.program import run
from unveil.files import write_json


@pytest.fixture
def shelf(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(tiny, tmp_path / "lab-sudoku")
    monkeypatch.setattr("unveil.checkpoints.folder.LAB", tmp_path)
    return tmp_path


def row(name: str) -> list[str]:
    (line,) = (line for line in run("models").out.splitlines() if line.startswith(name))
    return line.split()


def test_without_a_card(shelf: Path) -> None:
    # 2 * 16 * 16 embedding and head, one layer of 4 * 16 * 16 and 3 * 16 * 32, three norms of 16: 3120
    assert row("lab-sudoku") == ["lab-sudoku", "0.00", "M", "0.0", "MB", "llada", "-", "-", "-"]
    write_json(shelf / "lab-sudoku" / "card.json", {"parameters": 812_345, "task": "sudoku"})
    assert row("lab-sudoku") == ["lab-sudoku", "0.81", "M", "0.0", "MB", "llada", "sudoku", "-", "-"]


def test_a_card_is_shown(shelf: Path) -> None:
    card = {"parameters": 2e6, "task": "sudoku", "accuracy": 0.9786, "recipe": "unveil train x"}
    write_json(shelf / "lab-sudoku" / "card.json", card)
    assert row("lab-sudoku")[1:-3] == ["2.00", "M", "0.0", "MB", "llada", "sudoku", "97.9%"]
    assert row("lab-sudoku")[-3:] == ["unveil", "train", "x"]
    write_json(shelf / "lab-sudoku" / "card.json", card | {"accuracy": "97 to 98"})
    assert "97 to 98" in run("models").out


def test_what_is_broken_is_named(shelf: Path) -> None:
    (shelf / "lab-sudoku" / "card.json").write_text("{")
    told = run("models")
    assert told.code == 2 and "card.json is not valid JSON" in told.err
    (shelf / "lab-sudoku" / "card.json").unlink()
    (shelf / "lab-sudoku" / "model.safetensors").write_bytes(b"short")
    told = run("models")
    assert told.code == 2 and "model.safetensors is not a whole safetensors file" in told.err


def test_nothing_shipped_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("unveil.checkpoints.folder.LAB", tmp_path)
    told = run("models")
    assert told.code == 0 and "No model comes with this copy" in told.out
