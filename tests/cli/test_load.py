"""What several verbs share: adapters and rounded weights."""

import json
from pathlib import Path

import pytest

from tests.checkpoints.test_adapters import Tree, made_by_peft
from tests.cli.program import PUZZLE, run, words_of
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint
from unveil.decoding.loading import load

EVALUATE = ["evaluate", "lab-sudoku", "--task", "sudoku", "--limit", 4, "--sampler", "llada:steps=3"]


@pytest.fixture
def adapter(tiny: Path, tmp_path: Path) -> Path:
    """A strong one for the tiny model."""
    layer = load_checkpoint(Folder(tiny)).layers[0]
    names = {"ff_proj": layer.gate, "attn_out": layer.output}
    weights = {f"model.transformer.blocks.0.{name}.weight": x.weight.detach() for name, x in names.items()}
    made_by_peft(Tree(weights), tmp_path / "adapter", target_modules=list(names), r=4, lora_alpha=200)
    return tmp_path / "adapter"


def test_an_adapter_changes_what_is_decoded(adapter: Path, tiny: Path) -> None:
    plain, other = run("decode", "lab-sudoku", PUZZLE), run("decode", "lab-sudoku", PUZZLE, "--adapter", adapter)
    assert plain.code == other.code == 0 and plain.out != other.out
    want = load(tiny, adapter=adapter).decode([PUZZLE])[0].text
    assert other.out == want + "\n"


def test_an_evaluation_with_an_adapter_or_bits_is_another(adapter: Path, tmp_path: Path) -> None:
    assert run(*EVALUATE, "--json", tmp_path / "a.json").code == 0
    revisions = {json.loads((tmp_path / "a.json").read_text())["revision"]}
    for name, more in (("b", ["--adapter", adapter]), ("c", ["--bits", 8]), ("d", ["--adapter", adapter, "--bits", 4])):
        told = run(*EVALUATE, "--json", tmp_path / "a.json", *more)
        assert told.code == 2 and "belongs to another evaluation" in told.err
        assert run(*EVALUATE, "--json", tmp_path / f"{name}.json", *more).code == 0
        revisions.add(json.loads((tmp_path / f"{name}.json").read_text())["revision"])
    assert len(revisions) == 4


def test_a_bench_says_how_many_bits(tmp_path: Path) -> None:
    told = run(
        "bench", "lab-sudoku", "--bits", 4, "--repeat", 1, "--batch", 2, "--sampler", "llada:steps=2",
        "--json", tmp_path / "a.json",
    )  # fmt: skip
    assert told.code == 0 and "4 bits and float32 on cpu" in words_of(told.out)
    result = json.loads((tmp_path / "a.json").read_text())
    assert (result["bits"], result["adapter"]) == (4, None)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--bits", 3], "bits=3 is not supported: give 8 or 4, or none"),
        (["--adapter", "nowhere"], "no adapter 'nowhere': give a folder that holds adapter_config.json, or a hub"),
        (["--adapter", "."], ". has no adapter_config.json: give the folder of an adapter in PEFT's format"),
    ],
)
def test_bad_input(words: list[object], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = run("decode", "lab-sudoku", PUZZLE, *words)
    assert told.code == 2 and fault in words_of(told.err)
