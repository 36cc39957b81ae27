"""Python and the program do the same: every example of the help, and the same call of the library, give one result.

The commands are read out of the help. What is swapped in them (a large model, a long training) must be there.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from inspect import cleandoc
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from safetensors import safe_open
from typer.main import get_command

import unveil
from tests.cli.program import PUZZLE, Outcome, run, words_of, words_typed
from tests.surface.test_cli_surface import verbs
from unveil.cli import app
from unveil.files import read_jsonl
from unveil.tasks import Sums

LARGE = {"GSAI-ML/LLaDA-8B-Base": "lab-puzzles"}  # what stands in for a model that is not shipped
NOTHING: Mapping[str, str] = MappingProxyType({})
SHORT = {"steps": 2, "rows": 2, "validate_every": 1}
ELSEWHERE = {"demo", "models", "lm-eval"}  # tested in files of their own, without a counterpart in Python
CLOCK = ("second", "date", "ms_per_forward", "outside")  # in the names of what the clock says


def examples() -> dict[str, list[str]]:
    """The commands after `Example:` in the help of every verb."""
    found = {}
    for verb, command in verbs(get_command(app)).items():
        text = cleandoc(command.help or "").replace("\b", "").replace("\\[", "[")  # as it is shown
        parts = [" ".join(part.split()) for part in re.split(r"\n\n|\n(?=Example: )", text)]
        found[verb] = [part.removeprefix("Example: ") for part in parts if part.startswith("Example: ")]
    return {verb: commands for verb, commands in found.items() if commands}


EXAMPLES = examples()


def typed(verb: str, number: int = 0, *, swap: Mapping[str, str] = NOTHING, more: Sequence[object] = ()) -> Outcome:
    """What the verb's example prints, with some of its words swapped and `more` at its end."""
    program, *words = words_typed(EXAMPLES[verb][number])
    assert program == "unveil" and swap.keys() <= set(words), EXAMPLES[verb][number]
    told = run(*(swap.get(word, word) for word in words), *more)
    assert told.code == 0, told.err
    return told


@pytest.fixture(autouse=True)
def here(lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own; the shipped models are the real ones."""
    monkeypatch.setattr("unveil.checkpoints.folder.LAB", Path(unveil.__file__).parent / "lab")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def timeless(value: Any) -> Any:
    """JSON without what the clock says."""
    if isinstance(value, dict):
        return {name: timeless(part) for name, part in value.items() if not any(word in name for word in CLOCK)}
    return [timeless(part) for part in value] if isinstance(value, list) else value


def names_in(folder: Path) -> set[Path]:
    """Its files, but for curves, whose names say when they were begun."""
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {path for path in files if path.parts[0] != "curves"}


def assert_same(one: Path, other: Path) -> None:
    """Two files, or all files of two folders, say the same."""
    if one.is_dir():
        assert names_in(one) and names_in(one) == names_in(other)
        for name in names_in(one):
            assert_same(one / name, other / name)
    elif one.suffix == ".json":
        assert timeless(json.loads(one.read_text("utf-8"))) == timeless(json.loads(other.read_text("utf-8"))), one
    elif one.suffix == ".jsonl":
        first, second = ([timeless(line) for line in read_jsonl(path)] for path in (one, other))
        assert first == second, one
    elif one.suffix == ".csv":
        first, second = ([timeless(row) for row in csv.DictReader(path.open("r", newline=""))] for path in (one, other))
        assert first == second, one
    elif one.suffix == ".safetensors":
        assert_same_tensors(one, other)
    else:
        assert one.read_bytes() == other.read_bytes(), one


def assert_same_tensors(one: Path, other: Path) -> None:
    """Two files of tensors, whose texts come in any order."""
    with safe_open(one, framework="pt") as first, safe_open(other, framework="pt") as second:
        assert first.metadata() == second.metadata() and {*first.keys()} == {*second.keys()}, one
        assert all(torch.equal(first.get_tensor(name), second.get_tensor(name)) for name in first.keys()), one


def pairs(where: Path) -> Path:
    """Data to fine-tune on that both shipped models can read."""
    lines = [json.dumps({"prompt": f"{n}4\n=\n", "answer": f"{n}{4 - n}"}) for n in range(1, 5)]
    (where / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    return where / "pairs.jsonl"


def sets(**settings: object) -> tuple[object, ...]:
    """`--set NAME=VALUE` for each."""
    return tuple(word for name, value in settings.items() for word in ("--set", f"{name}={value}"))


def test_every_example_is_run() -> None:
    assert EXAMPLES.keys() - ELSEWHERE == {
        "bench", "compare", "decode", "diagnose", "evaluate", "export", "frontier", "trace", "train", "train sft",
        "train mask-agnostic", "train trajectory", "train policy", "verify",
    }  # fmt: skip
    two = {verb for verb, commands in EXAMPLES.items() if len(commands) > 1}
    assert two == {"decode", "trace"} and all(len(EXAMPLES[verb]) == 2 for verb in two)


def test_decode() -> None:
    (answer,) = unveil.decode("lab-sudoku", [PUZZLE])
    shown = typed("decode", more=("--delay", 0)).out
    assert answer.text == "1234\n3412\n4123\n2341" and answer.text in shown.replace("∎", "")
    (filled,) = unveil.decode("lab-sudoku", infill=f"{PUZZLE}1[MASK:17]1")
    assert typed("decode", 1).out == f"{filled.text}\n"


def test_trace(here: Path) -> None:
    told = typed("trace")
    (answer,) = unveil.decode("lab-sudoku", [PUZZLE], trace="b")
    assert told.out == f"{answer.text}\n"
    assert_same_tensors(here / "a", here / "b")
    typed("trace", 1)
    found = unveil.trace("b", html="b.html")
    assert_same(here / "a.html", here / "b.html")
    assert words_of(run("trace", "a").out) == words_of(str(found))


def test_evaluate(here: Path) -> None:
    told = typed("evaluate", more=("--limit", 20))
    samplers = ["llada", "fast_dllm:threshold=0.9"]
    results = unveil.evaluate("lab-sudoku", "sudoku", samplers=samplers, limit=20, json="python.json")
    assert_same(here / "out.json", here / "python.json")
    for number in (1, 2):
        assert_same(here / f"out.items.{number}.jsonl", here / f"python.items.{number}.jsonl")
    assert str(results).splitlines()[0] == told.out.splitlines()[0].rstrip()
    assert [one.sampler for one in results] == samplers and results[0].accuracy > 0.9


def test_compare(here: Path) -> None:
    for name, sampler in (("before", "llada:steps=1"), ("after", "llada")):
        unveil.evaluate("lab-sudoku", "sudoku", samplers=[sampler], limit=20, json=f"{name}.json")
    told = typed("compare", more=("--json", "c.json"))
    found = unveil.compare(["before.json", "after.json"], json="python.json", plot="python.png")
    assert_same(here / "c.json", here / "python.json")
    assert_same(here / "difference.png", here / "python.png")
    assert words_of(told.out) == words_of(str(found))


@pytest.mark.slow
def test_frontier(here: Path) -> None:
    told = typed("frontier", more=("--limit", 12))
    samplers = ["fast_dllm:threshold=0.3|0.6|0.9", "llada:steps=1|2|5|10"]
    found = unveil.frontier("lab-sudoku", "sudoku", samplers=samplers, budgets=[2.0], limit=12, out="python")
    assert_same(here / "frontier", here / "python")
    assert words_of(told.out).startswith(words_of(str(found)))
    alone = unveil.frontier("lab-sudoku", "sudoku", samplers=samplers, budgets=[2.0], limit=12)
    assert str(alone) == str(found)


@pytest.mark.slow
def test_diagnose(here: Path) -> None:
    told = typed("diagnose", more=("--limit", 1, "--task", "T01"))
    found = unveil.diagnose("lab-rules", probes=["masks", "position"], tasks=["T01"], limit=1, out="python")
    assert_same(here / "runs" / "diagnosis", here / "python")
    assert words_of(told.out).startswith(words_of(str(found)))
    alone = unveil.diagnose("lab-rules", probes=["masks", "position"], tasks=["T01"], limit=1)
    assert alone.to_json() == found.to_json()


def test_bench(here: Path) -> None:
    told = typed("bench", more=("--repeat", 1, "--batch", 2, "--json", "a.json"))
    samplers = ["llada", "fast_dllm:threshold=0.9,block=8,cache=dual"]
    found = unveil.bench("lab-sudoku", samplers=samplers, repeat=1, batch=2, json="python.json")
    assert_same(here / "a.json", here / "python.json")
    assert str(found).splitlines()[0] == told.out.splitlines()[0].rstrip()


def test_export(here: Path) -> None:
    typed("export")
    made = unveil.export("lab-sudoku", "python", "hf")
    assert_same(here / "runs" / "lab-sudoku-hf", here / "python")
    assert made.path == Path("python")


@pytest.mark.slow
def test_verify(data: Path) -> None:
    folder = data / "parity" / "llada_tiny"
    told = typed("verify", swap={"../shared/data/parity/llada_tiny": str(folder)})
    report = unveil.verify(folder)
    assert report.ok and words_of(told.out) == words_of(str(report))


def test_train(here: Path) -> None:
    pairs(here)
    told = typed("train", swap={"steps=200": "steps=2"}, more=sets(rows=2))
    trained = unveil.train.sft("lab-sudoku", "pairs.jsonl", out="both/sft", steps=2, rows=2, canvas=32)
    assert_same(here / "runs" / "sft", here / "both" / "sft")
    assert words_of(told.out).startswith(words_of(str(trained)).replace("both/", "runs/"))


@pytest.mark.slow
def test_train_sft(here: Path) -> None:
    pytest.importorskip("peft", reason="adapters need the extra lora")
    pairs(here)
    typed("train sft", swap=LARGE, more=sets(**SHORT))
    trained = unveil.train.sft("lab-puzzles", "pairs.jsonl", lora="r=64,alpha=128", canvas=256, out="python", **SHORT)
    assert_same(here / "runs" / "sft", here / "python")
    assert trained.best == Path("python") / "model"


@pytest.mark.slow
def test_train_mask_agnostic(here: Path) -> None:
    pytest.importorskip("peft", reason="adapters need the extra lora")
    pairs(here)
    few = SHORT | {"max_masks": 8}
    typed("train mask-agnostic", swap=LARGE, more=sets(**few))
    unveil.train.mask_agnostic("lab-puzzles", "pairs.jsonl", preset="llada-8b-base", out="python", **few)
    assert_same(here / "runs" / "mask-agnostic", here / "python")


@pytest.mark.slow
def test_train_trajectory(here: Path) -> None:
    pairs(here)
    typed("train trajectory", more=sets(**SHORT))
    unveil.train.trajectory("lab-puzzles", "pairs.jsonl", canvas=64, lr=3e-4, out="python", **SHORT)
    assert_same(here / "runs" / "trajectory", here / "python")


@pytest.mark.slow
def test_train_policy(here: Path) -> None:
    few = {"steps": 2, "prompts": 2, "copies": 2, "validation": 2, "validate_every": 1}
    told = typed("train policy", swap={"warm_rounds=40": "warm_rounds=1"}, more=sets(**few))
    warm = {"warm": "fast_dllm:threshold=0.9", "warm_rounds": 1}
    trained = unveil.train.policy("lab-puzzles", "sums", out="python", **warm, **few)
    assert_same(here / "runs" / "policy", here / "python")
    assert trained.sampler == f"policy:path={Path('python') / 'policy'}"
    assert f"--sampler {trained.sampler.replace('python', 'runs/policy')}" in words_of(told.out)


def test_what_is_loaded_is_taken_as_it_is() -> None:
    model, task = unveil.load("lab-puzzles"), Sums()
    named = unveil.evaluate("lab-puzzles", "sums", limit=2, samplers="llada:steps=32,block=32")
    assert timeless(named.to_json()) == timeless(
        unveil.evaluate(model, task, limit=2, samplers=["llada:steps=32,block=32"]).to_json()
    )
    with pytest.raises(ValueError, match="device: this model is loaded already, leave that out"):
        unveil.evaluate(model, task, device="cpu")


FAULTS: dict[str, tuple[Any, str]] = {
    "task": (lambda: unveil.evaluate("lab-puzzles", task="sumz"), "unknown task 'sumz': did you mean 'sums'?"),
    "sampler": (lambda: unveil.bench("lab-puzzles", samplers="lada"), "unknown sampler 'lada': did you mean 'llada'?"),
    "nothing": (lambda: unveil.decode("lab-puzzles"), "give a list of prompts, or a template to infill: one of"),
    "one text": (lambda: unveil.decode("lab-puzzles", "1="), "give a list of prompts, or a template to infill: one of"),
    "both": (lambda: unveil.decode("lab-puzzles", ["1="], infill="[MASK]"), "or a template to infill: one of the two"),
    "stop": (lambda: unveil.decode("lab-puzzles", ["1="], stop="x"), "stop is 'x': give a list of texts"),
    "trace": (
        lambda: unveil.decode("lab-puzzles", ["1=", "2="], trace="t"),
        "records one prompt and there are 2",
    ),
    "probe": (lambda: unveil.diagnose("lab-rules", probes="mask"), "unknown probe 'mask': did you mean 'masks'?"),
    "folder": (lambda: unveil.bench("lab-puzzles", json="no/a.json"), "there is no folder no; make it first"),
    "setting": (lambda: unveil.train.sft("lab-puzzles", "p", out="o", canvs=8), "sft has no setting 'canvs': did you"),
    "html": (lambda: unveil.trace("t", html="t"), "html=t is the trace itself: name another file"),
}


@pytest.mark.parametrize(("call", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_told_before_a_model_is_loaded(call: Any, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_model(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded before the input was checked")

    monkeypatch.setattr(unveil.Loading, "model", no_model)
    with pytest.raises(ValueError) as caught:
        call()
    assert fault in str(caught.value)


@pytest.mark.parametrize("name", ["decode", "evaluate", "frontier", "diagnose", "bench", "load"])
def test_the_options_of_loading_are_shown_and_no_others_are_taken(name: str) -> None:
    function = getattr(unveil, name)
    with pytest.raises(TypeError, match="unexpected keyword argument 'devise'"):
        function("lab-puzzles", *(["sums"] if name in ("evaluate", "frontier") else []), devise="cpu")
