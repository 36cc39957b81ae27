"""unveil evaluate: what the library measures, shown and written; interrupted, it goes on."""
import json
from contextlib import nullcontext
from pathlib import Path

import pytest

import unveil
from tests.cli.program import run, untimed, words_of
from unveil import api, processes
from unveil.decoding import loading
from unveil.decoding import model as decoding
from unveil.evaluation import items
from unveil.evaluation import run as evaluation
from unveil.files import read_jsonl
from unveil.tasks import Problem, Sudoku, Verdict
from unveil.tasks import task as task_of

VERB = ["evaluate", "lab-sudoku", "--task", "sudoku"]
FIELDS = {
    "task", "model", "sampler", "n", "accuracy", "ci_low", "ci_high", "nfe_mean", "tokens_per_forward",
    "tokens_per_second", "seconds", "num_masks", "steps", "block", "seed", "batch", "dtype", "revision",
}  # fmt: skip


def written(path: Path) -> dict:
    return untimed(json.loads(path.read_text()))


def test_json_is_what_the_library_measures(tmp_path: Path) -> None:
    told = run(*VERB, "--limit", 5, "--seed", 3, "--batch", 2, "--guidance", 0.5, "--json", tmp_path / "a.json")
    assert told.code == 0, told.err
    task, model = task_of("sudoku"), unveil.load("lab-sudoku")
    expected = evaluation.evaluate(model, task, task.generate(5, 3), "llada", seed=3, batch=2, guidance=0.5).to_json()
    assert written(tmp_path / "a.json") == untimed(expected)
    assert expected.keys() >= FIELDS
    found = read_jsonl(tmp_path / "a.items.jsonl")
    assert [item["id"] for item in sorted(found, key=lambda item: item["index"])] == [
        problem.id for problem in task.generate(5, 3)
    ]


def test_the_table_shows_every_sampler(tmp_path: Path) -> None:
    specs = ["llada:steps=10", "fast_dllm:threshold=0.5,block=8,cache=dual"]
    told = run(*VERB, "--limit", 3, "--sampler", specs[0], "--sampler", specs[1], "--json", tmp_path / "b.json")
    assert "sudoku with lab-sudoku: 3 problems, 19 masks, seed 0" in told.out and "published" not in told.out
    assert "llada:steps=10" in told.out and "10.00" in told.out and "10/19" in told.out
    assert "fast_dllm:threshold=0.5, block=8, cache=dual" in told.out and "-/8" in told.out
    results = json.loads((tmp_path / "b.json").read_text())["results"]
    assert [result["sampler"] for result in results] == specs
    assert all(len(read_jsonl(tmp_path / f"b.items.{number}.jsonl")) == 3 for number in (1, 2))


def test_answers_are_cut_before_a_stop_text(tmp_path: Path) -> None:
    words = [*VERB, "--limit", 3, "--stop", "4", "--stop", "\n", "--json"]
    told = run(*words, tmp_path / "a.json")
    assert told.code == 0 and "raw prompts, stops '4', '\\n', " in told.out
    record = unveil.evaluate("lab-sudoku", "sudoku", limit=3, stop=["4", "\n"], json=tmp_path / "b.json")[0].record
    assert record.stops == ["4", "\n"] and written(tmp_path / "a.json") == written(tmp_path / "b.json")
    assert not any(set("4\n") & set(item["answer"]) for item in read_jsonl(tmp_path / "a.items.jsonl"))


def test_without_json_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*VERB, "--limit", 2).code == 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_problems_and_its_first_ones(tmp_path: Path) -> None:
    lines = [json.dumps({"input": "\n".join(row)}) for row in (["1000", "0002", "4003", "0000"], ["1234", "3412"] * 2)]
    (tmp_path / "two.jsonl").write_text("\n".join([lines[0], lines[0]]) + "\n")
    told = run(*VERB, "--data", tmp_path / "two.jsonl", "--json", tmp_path / "a.json")
    assert told.code == 0 and written(tmp_path / "a.json")["n"] == 2
    run(*VERB, "--data", tmp_path / "two.jsonl", "--limit", 1, "--json", tmp_path / "b.json")
    assert written(tmp_path / "b.json")["n"] == 1


def stop_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Ctrl-C after so many items."""
    append, written = items.append_line, []

    def counting(path: Path, text: str) -> None:
        append(path, text)
        written.append(text)
        if len(written) == count:
            raise KeyboardInterrupt

    monkeypatch.setattr(items, "append_line", counting)


def test_interrupted_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ["--limit", 6, "--batch", 2, "--sampler", "remdm"]
    run(*VERB, *settings, "--json", tmp_path / "whole.json")
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        told = run(*VERB, *settings, "--json", tmp_path / "cut.json")
    assert told.code == 130 and told.out == ""
    assert "stopped. The items that were done are kept in " in words_of(told.err)
    assert "cut.items.jsonl. The same command goes on from there." in words_of(told.err)
    assert len(read_jsonl(tmp_path / "cut.items.jsonl")) == 3 and not (tmp_path / "cut.json").exists()
    before = (tmp_path / "cut.items.jsonl").read_text()
    assert run(*VERB, *settings, "--json", tmp_path / "cut.json").code == 0
    assert (tmp_path / "cut.items.jsonl").read_text().startswith(before)
    assert written(tmp_path / "cut.json") == written(tmp_path / "whole.json")


def test_interrupted_without_json_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "steps_queue", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    told = run(*VERB, "--limit", 2)
    assert told.code == 130
    assert told.err == "stopped. Nothing was written: with --json FILE an evaluation can be resumed.\n"


def no_model(*_: object, **__: object) -> None:
    raise AssertionError("the model was loaded before the input was checked")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--sampler", "llada", "--sampler", "dreem"], "unknown sampler 'dreem': did you mean 'dream'?"),
        (["--sampler", "llada:stepz=3"], "sampler llada has no setting 'stepz': did you mean 'steps'?"),
        (["--sampler", "llada:steps=20"], "steps=20 does not fit 19 new tokens in 1 block(s) of 19"),
        (["--sampler", "llada:steps=0"], "steps=0 is outside its range, from 1 to"),
        (["--sampler", "llada:steps=many"], "steps='many' is not a whole number"),
        (["--sampler", "fast_dllm:block=0"], "block"),
        (["--stop", ""], "stop is ['']: give a list of texts, none of them empty"),
        (["--limit", "0"], "Invalid value for '--limit'"),
        (["--batch", "-1"], "Invalid value for '--batch'"),
        (["--seed", "-1"], "Invalid value for '--seed'"),
        (["--threads", "0"], "Invalid value for '--threads'"),
        (["--json", "no/such/folder.json"], "there is no folder no/such; make it first, or name another file"),
        (["--data", "no.jsonl"], "Invalid value for '--data'"),
        (["--task", "sudoko"], "unknown task 'sudoko': did you mean 'sudoku'?"),
        (["--allow-code-execution"], "task sudoku runs no code: leave out --allow-code-execution"),
        (["--task", "humaneval"], "runs code that a model wrote: it does so only with --allow-code-execution"),
    ],
)
def test_bad_input_is_found_before_the_model_is_loaded(
    words: list[str], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unveil.Loading, "model", no_model)
    told = run(*VERB, *words)
    assert told.code == 2 and fault in words_of(told.err) and told.out == ""


def test_several_processes_need_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before the model is loaded."""
    monkeypatch.setattr(unveil.Loading, "model", no_model)
    monkeypatch.setattr(api, "launched", lambda: nullcontext(processes.Processes(rank=0, count=2)))
    told = run(*VERB, "--limit", 2)
    assert told.code == 2 and "2 processes put their items together in a file: give --json FILE" in told.err


def test_only_the_first_process_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    told = run(*VERB, "--limit", 2, "--json", tmp_path / "a.json")
    assert told == (0, "", "") and not (tmp_path / "a.json").exists()


def test_the_table_shows_both_graders_and_on_what_it_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compat(_: Sudoku, problem: Problem, text: str) -> Verdict:
        number = int(problem.id.rpartition("-")[2])
        return Verdict(number < 3, "cut off" if number < 2 else "")

    monkeypatch.setattr(Sudoku, "compat", compat, raising=False)
    told = run(*VERB, "--limit", 8, "--json", tmp_path / "a.json")
    result = json.loads((tmp_path / "a.json").read_text())
    assert (result["compat"], result["remarks"], result["accuracy"]) == (3 / 8, {"cut off": 2}, 0.0)
    strict, published = (line.split() for line in told.out.splitlines() if line.startswith("llada"))
    assert strict[1] == "0.0%" and published[1:] == ["37.5%", "13.7-69.4", "cut", "off", "2"]
    assert "By the published rule" in told.out and f"run {result['record']['run']}: problems " in told.out


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    good = json.dumps({"input": "1000\n0002\n4003\n0000"})
    (tmp_path / "a.jsonl").write_text(f"{good}\n{good}\n{{\n")
    told = run(*VERB, "--data", tmp_path / "a.jsonl")
    assert told.code == 2 and "a.jsonl, line 3: not JSON" in told.err
    (tmp_path / "b.jsonl").write_text("")
    assert "b.jsonl holds no problem: every line must be one" in run(*VERB, "--data", tmp_path / "b.jsonl").err


def test_items_of_another_evaluation_are_not_overwritten(tmp_path: Path) -> None:
    run(*VERB, "--limit", 2, "--json", tmp_path / "a.json")
    before = (tmp_path / "a.items.jsonl").read_text(), (tmp_path / "a.json").read_text()
    told = run(*VERB, "--limit", 2, "--seed", 9, "--json", tmp_path / "a.json")
    assert told.code == 2 and "belongs to another evaluation" in told.err
    assert before == ((tmp_path / "a.items.jsonl").read_text(), (tmp_path / "a.json").read_text())


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append, written = items.append_line, []

    def full(path: Path, text: str) -> None:
        if len(written) == 2:
            raise OSError(28, f"cannot write {path}: No space left on device. All complete lines before it are kept.")
        append(path, text)
        written.append(text)

    with monkeypatch.context() as patch:
        patch.setattr(items, "append_line", full)
        told = run(*VERB, "--limit", 3, "--json", tmp_path / "a.json")
    assert told.code == 2 and "No space left on device" in told.err and "Errno" not in told.err
    assert len(read_jsonl(tmp_path / "a.items.jsonl")) == 2
    assert run(*VERB, "--limit", 3, "--json", tmp_path / "a.json").code == 0


def test_small_models_run_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    loading.Loading().model("lab-sudoku")
    loading.Loading(threads=3).model("lab-sudoku")
    monkeypatch.setattr(loading, "SMALL", 10)
    loading.Loading().model("lab-sudoku")
    assert asked == [1, 3]
