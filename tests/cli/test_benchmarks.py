"""Benchmarks asked in words on the command line: with a file, from the hub, or a word on what to do instead."""

import json
import string
from pathlib import Path
from typing import Any

import pytest

import unveil
from tests.cli.program import run, words_of
from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.checkpoints.weights import save_checkpoint
from unveil.files import read_jsonl
from unveil.models.transformer import Architecture, Transformer, initialise
from unveil.tasks import GSM8K, Problem
from unveil.tasks.sources import Item

EGGS = {"question": "Tom has 2 eggs, Ann 3. How many?", "answer": "2+3=<<2+3=5>>5\n#### 5"}
ITEMS: dict[str, dict[str, Any]] = {
    "gsm8k": EGGS,
    "math500": {"problem": "What is $x$?", "solution": "It is 5.", "answer": "x+1", "unique_id": "test/1.json"},
    "svamp:split=all": {"ID": "a", "Body": "Tom has 2 eggs.", "Question": "How many?", "Answer": 2.0},
    "countdown-text": {"input": "30,100,93", "output": "23"},
    "sudoku-text": {"input": "1000\n0002\n4003\n0000"},
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model that can read and write all printable characters."""
    folder = tmp_path_factory.mktemp("models") / "printed"
    tokenizer = FileTokenizer.characters(string.printable, ["[EOS]", "[MASK]"])
    eos, mask = tokenizer.encode("[EOS][MASK]")
    architecture = Architecture(
        vocabulary=104, width=16, layers=1, heads=2, kv_heads=2, head_width=8, feed_width=32, mask_id=mask,
        end_ids=(eos,), max_columns=1200, rope_base=10000.0,
    )  # fmt: skip
    save_checkpoint(initialise(Transformer(architecture), seed=0, std=0.6), folder, LLADA)
    tokenizer.save(folder / "tokenizer.json")
    return folder


@pytest.mark.parametrize("spec", ITEMS)
def test_a_file_is_evaluated(printed: Path, tmp_path: Path, spec: str) -> None:
    item = json.dumps(ITEMS[spec])
    path = tmp_path / "problems"
    path.write_text(f"[{item}, {item}]" if spec.startswith("svamp") else f"{item}\n{item}\n")
    words = ["--sampler", "llada:steps=2", "--data", path, "--json", tmp_path / "a.json"]
    told = run("evaluate", printed, "--task", f"{spec}{',' if ':' in spec else ':'}canvas=16", *words)
    assert told.code == 0, told.err
    written = json.loads((tmp_path / "a.json").read_text())
    assert (written["task"], written["n"], written["num_masks"]) == (spec.partition(":")[0], 2, 16)
    assert [item["correct"] for item in read_jsonl(tmp_path / "a.items.jsonl")] == [False, False]


STOPS = {
    "gsm8k": ["Question:", "</s>", "<|im_end|>"],  # lm-eval's `until`, as in its gsm8k.yaml
    "math500": ["Problem:"],  # minerva_math's
    "svamp:split=all": ["Question:", "</s>", "<|im_end|>"],
    "countdown-text": [],
    "sudoku-text": [],
}


@pytest.mark.parametrize("spec", ITEMS)
def test_a_published_task_has_stop_texts_for_raw_prompts(printed: Path, tmp_path: Path, spec: str) -> None:
    """A model that runs on, into another question, is judged by its answer to the first."""
    path = tmp_path / "problems"
    path.write_text(f"[{json.dumps(ITEMS[spec])}]")
    task = f"{spec}{',' if ':' in spec else ':'}canvas=8"
    record = unveil.evaluate(printed, task, data=path, samplers="llada:steps=1")[0].record
    assert record.stops == STOPS[spec]
    assert unveil.evaluate(printed, task, data=path, samplers="llada:steps=1", stop=["x"])[0].record.stops == ["x"]


def test_an_answer_that_runs_on_is_judged_by_its_beginning(printed: Path, tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text(json.dumps(EGGS) + "\n")
    ran_on = "It is \\boxed{5}.\n\nQuestion: And with 3 more? It is \\boxed{8}."
    model, task = unveil.load(printed), GSM8K(canvas=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileTokenizer, "decode", lambda self, ids: ran_on)
        (cut,) = unveil.evaluate(model, task, data=path, samplers="llada:steps=1")
        (whole,) = unveil.evaluate(model, task, data=path, samplers="llada:steps=1", stop=[])
    assert (cut.accuracy, whole.accuracy) == (1.0, 0.0)


def test_without_a_file_the_hub_is_asked(printed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(task: GSM8K) -> list[Problem]:
        return [task.parsed(Item("row", f"test:{number}", EGGS)) for number in range(3)]

    monkeypatch.setattr(GSM8K, "fetch", fetch)
    words = ["--task", "gsm8k:canvas=8", "--sampler", "llada:steps=1"]
    told = run("evaluate", printed, *words, "--limit", 2, "--json", tmp_path / "a.json")
    assert told.code == 0, told.err
    assert [item["id"] for item in read_jsonl(tmp_path / "a.items.jsonl")] == ["test:0", "test:1"]
    assert run("frontier", printed, *words, "--out", tmp_path / "out").code == 0
    found = json.loads((tmp_path / "out" / "frontier.json").read_text())
    assert found["test"]["problems"] == "3 problems of the published test split"


def test_what_needs_a_generator_says_so(printed: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(EGGS) + "\n")
    words = ["--task", "gsm8k", "--data", tmp_path / "a.jsonl", "--out", tmp_path / "out"]
    told = run("frontier", printed, *words, "--tune")
    assert told.code == 2
    assert "task gsm8k cannot make problems: leave out --tune; settings can be compared on" in words_of(told.err)
    told = run("train", "policy", "--model", printed, "--task", "gsm8k", "--out", tmp_path / "run")
    assert told.code == 2
    wanted = "task gsm8k cannot make problems: give a file of them to learn from, --data FILE"
    assert wanted in words_of(told.err)


def test_a_policy_learns_from_a_file(printed: Path, tmp_path: Path) -> None:
    items = [{"question": f"Tom has {number} eggs. How many?", "answer": f"#### {number}"} for number in range(8)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, items)))
    sizes = ["prompts=2", "validation=2", "copies=2", "batch=4", "steps=1", "warmup=0", "width=8", "heads=1"]
    sets = [word for one in sizes for word in ("--set", one)]
    words = ["--task", "gsm8k:canvas=4", "--data", tmp_path / "a.jsonl", "--out", tmp_path / "run", *sets]
    told = run("train", "policy", "--model", printed, *words)
    assert told.code == 0, told.err
