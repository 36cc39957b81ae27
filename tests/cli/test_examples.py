"""The examples run as they are, with the model that is shipped."""
import json
import runpy
from pathlib import Path

import pytest

import unveil

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def shipped(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real model instead of the tiny one."""
    monkeypatch.setattr("unveil.checkpoints.folder.LAB", Path(unveil.__file__).parent / "lab")


def test_decode(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "decode.py"))
    told = capsys.readouterr().out
    assert told.startswith("1234\n3412\n4123\n2341\n") and told.endswith("forward 10: 0 masks left\n")


def test_own_sampler(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "own_sampler.py"))
    llada, own = capsys.readouterr().out.splitlines()
    assert llada.endswith("19.0 forwards") and "of 32 right" in own
    assert float(own.split()[-2]) < 10  # fewer forwards is its point


def test_every_example_is_run() -> None:
    names = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert names == {"decode", "own_sampler"}


def test_the_python_of_the_readme(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One session, in a folder with the data that it trains on, a short while only."""
    blocks = (ROOT / "README.md").read_text("utf-8").split("```python\n")[1:]
    lines = [json.dumps({"prompt": f"{n}4\n=\n", "answer": f"{n}{4 - n}"}) for n in range(1, 5)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    code = "".join(block.partition("```")[0] for block in blocks)
    assert code.count("steps=200") == 1
    (tmp_path / "session.py").write_text(code.replace("steps=200", "steps=2"))
    runpy.run_path(str(tmp_path / "session.py"))
    told = capsys.readouterr().out
    assert "1234\n3412\n4123\n2341" in told and "sums with lab-puzzles: 20 problems" in told
    assert (tmp_path / "runs" / "mine" / "model").is_dir()
