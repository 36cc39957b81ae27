"""The examples run as they are, with the model that is shipped."""
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


def test_the_python_of_the_readme(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = (ROOT / "README.md").read_text("utf-8").split("```python\n")[1:]
    assert blocks
    for block in blocks:
        (tmp_path / "block.py").write_text(block.partition("```")[0])
        runpy.run_path(str(tmp_path / "block.py"))
    assert "1234\n3412\n4123\n2341" in capsys.readouterr().out
