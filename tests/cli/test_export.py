"""unveil export: a folder that other programs load, and what is said."""

from pathlib import Path

import pytest

from tests.cli.program import PUZZLE, run, words_of
from unveil.checkpoints.export import layouts
from unveil.checkpoints.folder import Folder
from unveil.cli.verbs.export import LAYOUTS


def test_the_layouts_of_the_help_are_those_there_are() -> None:
    assert LAYOUTS == (*layouts(), "hf")


def test_an_exported_model_decodes_as_before(tmp_path: Path) -> None:
    told = run("export", "lab-sudoku", tmp_path / "new", "--layout", "hf", "--dtype", "float32", "--shard-size", "2KB")
    assert told.code == 0, told.err
    assert told.out == f"lab-sudoku is in {tmp_path / 'new'}, in llama's layout\n"
    assert f"try: unveil decode {tmp_path / 'new'} PROMPT" in told.err
    assert Folder(tmp_path / "new").config["architectures"] == ["LlamaForCausalLM"]
    assert len(list((tmp_path / "new").glob("*.safetensors"))) > 1
    assert run("decode", tmp_path / "new", PUZZLE).out == run("decode", "lab-sudoku", PUZZLE).out


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--layout", "dream"], "Dream's layout cannot hold qkv_bias=False, shift=0 (shift: how many columns before"),
        (["--layout", "gpt2"], "layout='gpt2' is unknown: known are dream, llada, llama"),
        (["--layout", "llada", "--dtype", "int8"], "dtype 'int8' is unknown: choose one of float32"),
        (["--layout", "llada", "--shard-size", "5"], "Supported units are TB, GB, MB, KB"),
        (["--layout", "llada", "--adapter", "x"], "no adapter 'x': give a folder that holds adapter_config.json"),
        ([], "Missing option '--layout'"),
    ],
)
def test_bad_input(words: list[str], fault: str, tmp_path: Path) -> None:
    told = run("export", "lab-sudoku", tmp_path / "new", *words)
    assert told.code == 2 and fault in words_of(told.err)


def test_a_folder_that_holds_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    told = run("export", "lab-sudoku", tmp_path, "--layout", "llada")
    assert told.code == 2 and "exists and is not an empty folder: name a new one" in words_of(told.err)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
