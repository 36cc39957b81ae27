"""unveil bench: a table and a file."""
import json
from pathlib import Path

import pytest

from tests.cli.program import run, words_of

QUICK = ["bench", "lab-sudoku", "--repeat", 1, "--batch", 2]


def test_table_and_file(tmp_path: Path) -> None:
    told = run(*QUICK, "--sampler", "llada:steps=7", "--new-tokens", 14, "--json", tmp_path / "a.json")
    assert told.code == 0, told.err
    assert "lab-sudoku: 2 rows, 32 + 14 tokens, float32 on cpu, threads 1, median of 1" in words_of(told.out)
    result = json.loads((tmp_path / "a.json").read_text())
    assert (result["sampler"], result["forwards"], result["batch"]) == ("llada:steps=7", 7, 2)


def test_the_default_samplers_fit_the_shipped_model() -> None:
    told = run(*QUICK, "--prompt-tokens", 3)
    assert told.code == 0 and "2 rows, 3 + 19 tokens" in told.out and "cache=dual" in told.out


def test_the_default_prompt_fits_what_the_context_leaves() -> None:
    assert "2 rows, 4 + 60 tokens" in run(*QUICK, "--new-tokens", 60, "--sampler", "llada:steps=1").out


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--new-tokens", 64], "1 + 64 tokens exceed the model's context of 64: ask for fewer"),
        (["--prompt-tokens", 50], "50 + 19 tokens exceed the model's context of 64"),
        (["--repeat", 0], "Invalid value for '--repeat'"),
        (["--sampler", "fast"], "unknown sampler 'fast': did you mean 'fast_dllm'?"),
        (["--sampler", "llada:steps=20"], "steps=20 does not fit 19 new tokens"),
        (["--json", "/dev/full"], "/dev/full is not an ordinary file"),
    ],
)
def test_bad_input(words: list, fault: str) -> None:
    told = run(*QUICK, *words)
    assert told.code == 2 and fault in words_of(told.err)
