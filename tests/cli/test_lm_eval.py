"""unveil lm-eval: lm-eval's own program, on a task of our own, without a network."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import unveil
from tests.chats import TEMPLATES, chat_folder
from tests.cli.program import run, words_of
from unveil.cli.verbs.lm_eval import DEFAULTS, words_for
from unveil.decoding.loading import load

pytest.importorskip("lm_eval", reason="needs lm-eval: pip install 'unveil[lm-eval]'")

SHOT = {"q": "two?", "a": "b", "choices": ["b", "c"], "gold": 0}
DOCS = [
    {"q": "one?", "a": "a", "choices": ["a", "b", "abcdefghij"], "gold": 0},
    {"q": "zero?", "a": "c", "choices": ["c", "bd"], "gold": 1},
    {"q": "Q 0123", "a": "c", "choices": ["ab", "ba"], "gold": 1},
]
TASKS = {
    "quiz_answers": {
        "output_type": "generate_until", "doc_to_text": "{{q}}", "doc_to_target": "{{a}}", "num_fewshot": 1,
        "generation_kwargs": {"until": ["<eot>", "."], "max_gen_toks": 6, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    },
    "quiz_choices": {
        "output_type": "multiple_choice", "doc_to_text": "{{q}}", "doc_to_target": "{{gold}}", "num_fewshot": 1,
        "doc_to_choice": "{{choices}}", "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    "quiz_texts": {
        "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{q}} {{a}}",
        "metric_list": [{"metric": "bits_per_byte"}],
    },
}  # fmt: skip


def tasks(folder: Path) -> Path:
    """A folder of lm-eval's tasks with their data."""
    files = {}
    for split, docs in (("validation", [SHOT]), ("test", DOCS)):
        files[split] = str(folder / f"{split}.jsonl")
        Path(files[split]).write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    where = {"dataset_path": "json", "dataset_kwargs": {"data_files": files}}
    splits = {"test_split": "test", "validation_split": "validation", "fewshot_split": "validation"}
    for name, task in TASKS.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"task": name, **where, **splits, **task}))
    return folder


def harness(count: int, home: Path, *words: str) -> str:
    """What `unveil lm-eval` prints, run by `count` processes that reach no network."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {
        "PYTHONPATH": str(Path(unveil.__file__).resolve().parents[1]), "HF_HOME": str(home), "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1", "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9",
        "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count),
    }  # fmt: skip
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "unveil", "lm-eval", *words], env=env | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(count)
    ]  # fmt: skip
    try:
        told = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * count, told
    return told[0][0]


def written(out: Path) -> tuple[dict, dict[str, list[dict]]]:
    """The results, and the samples of each task by document."""
    (file,) = out.rglob("results_*.json")
    samples = {}
    for task in TASKS:
        (log,) = out.rglob(f"samples_{task}_*.jsonl")
        samples[task] = sorted(map(json.loads, log.read_text().splitlines()), key=lambda sample: sample["doc_id"])
    return json.loads(file.read_text()), samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chat_folder(tmp_path_factory.mktemp("model"), TEMPLATES["llada"])


@pytest.fixture(scope="module")
def words(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    arguments = f"pretrained={folder},samples=4,dtype=float64,sampler=llada:steps=4,block=3"
    where = str(tasks(tmp_path_factory.mktemp("tasks")))
    return ["--model_args", arguments, "--tasks", *TASKS, "--include_path", where, "--apply_chat_template",
            "--log_samples"]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def alone(words: list[str], home: Path) -> tuple[dict, dict[str, list[dict]]]:
    """What one process writes."""
    told = harness(1, home, *words, "--output_path", str(home / "one"))
    assert all(name in told for name in TASKS)
    return written(home / "one")


@pytest.mark.slow
def test_lm_eval_runs_and_writes_what_it_did(folder: Path, alone: tuple[dict, dict[str, list[dict]]]) -> None:
    results, samples = alone
    model = load(folder, device="cpu", dtype="float64")
    shown = [{"role": "user", "content": SHOT["q"]}, {"role": "assistant", "content": SHOT["a"]}]
    for doc, sample in zip(DOCS, samples["quiz_answers"], strict=True):
        chat = [*shown, {"role": "user", "content": doc["q"]}]
        context = sample["arguments"]["gen_args_0"]["arg_0"]
        assert model.tokenizer.encode(context) == model.ids(chat)
        (answer,) = model.decode([chat], "llada:steps=4,block=3", new_tokens=6, stop=["."])
        assert sample["resps"] == [[answer.text]]
    info = results["config"]
    assert (info["model"], info["batch_size"], info["sampler"]) == ("unveil", "16", "llada:steps=4,block=3")
    (generated,) = info["generated"]
    assert (generated["masks"], generated["block"], generated["steps"]) == (6, 3, 4)
    assert info["scored"]["texts"] == 7 + 3 and info["model_fingerprint"] == model.revision
    assert results["chat_template"] == TEMPLATES["llada"]
    right = 0
    for doc, sample in zip(DOCS, samples["quiz_choices"], strict=True):
        values = [float(response[0][0]) for response in sample["resps"]]
        assert len(values) == len(doc["choices"])
        right += values.index(max(values)) == doc["gold"]
    assert results["results"]["quiz_choices"]["acc,none"] == pytest.approx(right / 3)
    bits = sum(float(sample["resps"][0][0]) for sample in samples["quiz_texts"])
    bytes_ = sum(len(f"{doc['q']} {doc['a']}") for doc in DOCS)
    assert results["results"]["quiz_texts"]["bits_per_byte,none"] == pytest.approx(-bits / bytes_ / 0.6931471805599453)


@pytest.mark.slow
def test_two_processes_give_what_one_gives(
    words: list[str], alone: tuple[dict, dict[str, list[dict]]], home: Path
) -> None:
    harness(2, home, *words, "--output_path", str(home / "two"))
    (one, mine), (two, both) = alone, written(home / "two")
    assert (one["config"]["processes"], two["config"]["processes"]) == (1, 2)
    for task in TASKS:
        assert [x["doc_id"] for x in both[task]] == [0, 1, 2]
        for name, value in one["results"][task].items():
            expected = pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
            assert two["results"][task][name] == expected, name
    assert [x["filtered_resps"] for x in both["quiz_answers"]] == [x["filtered_resps"] for x in mine["quiz_answers"]]


def test_help_is_ours_and_theirs() -> None:
    for asked in (["--help"], ["-h"], []):
        told = run("lm-eval", *asked)
        assert told.code == (0 if asked else 2)
        assert "Example: unveil lm-eval" in words_of(told.out) and "--num_fewshot" in told.out


def test_what_lm_eval_refuses_is_told_in_its_words() -> None:
    told = run("lm-eval", "--no_such_option", "x", "--tasks", "quiz")
    assert told.code == 2 and "unrecognized arguments: --no_such_option" in told.err


def test_words_are_handed_over_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["-a", "pretrained=x,sampler=llada:steps=4,block=2", "--tasks", "a", "b", "-x", "--seed=3", "-L", "5",
             "--gen_kwargs", '{"until": ["-h"]}', "--apply_chat_template"]  # fmt: skip
    seen = list[str]()

    def evaluated() -> None:
        seen.extend(sys.argv)
        raise ValueError("no such task")

    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", evaluated)
    told = run("lm-eval", *words)
    assert seen == ["lm-eval", *DEFAULTS, *words]
    assert told.code == 2 and "error: no such task" in told.err and sys.argv[0] != "lm-eval"


def test_the_words_of_the_user_come_after_the_defaults() -> None:
    assert words_for(["--tasks", "a"]) == [*DEFAULTS, "--tasks", "a"]
    assert words_for(["run", "--model", "hf"]) == [*DEFAULTS, "--model", "hf"]
    for other in (
        ["ls", "tasks"],
        ["validate", "--tasks", "a"],
        ["--config", "a.yaml"],
        ["-Ca.yaml"],
        ["run", "-C", "a"],
    ):
        assert words_for(other) == other


def test_an_absent_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("unveil.cli.verbs.lm_eval.find_spec", lambda name: None if name == "lm_eval" else found(name))
    told = run("lm-eval", "--tasks", "a")
    assert told.code == 2 and "unveil lm-eval needs lm-eval: pip install 'unveil[lm-eval]'" in words_of(told.err)
