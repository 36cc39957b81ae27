"""unveil frontier: what the library measures, shown and written; a search sees no test problem; it goes on."""

import csv
import json
from pathlib import Path

import pytest

import unveil
from tests.cli.program import Outcome, run, untimed, words_of
from unveil.evaluation import frontier as numbers
from unveil.evaluation import items as kept
from unveil.evaluation import run as evaluation
from unveil.evaluation.run import item_name
from unveil.policies.confidence import ConfidencePolicy, ConfidenceSettings
from unveil.policies.store import save_policy
from unveil.tasks import Sudoku
from unveil.tasks import task as task_of

VERB = ["frontier", "lab-sudoku", "--task", "sudoku"]
TWO = ["--sampler", "llada:steps=1|4", "--sampler", "fast_dllm:threshold=0.2|0.9,block=8"]
SETTINGS = ["llada:steps=1", "llada:steps=4", "fast_dllm:threshold=0.2,block=8", "fast_dllm:threshold=0.9,block=8"]
FAMILIES = ["llada:steps", "fast_dllm:threshold,block=8"]


@pytest.fixture(autouse=True)
def judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights solve nothing: let every other text be right."""
    monkeypatch.setattr(Sudoku, "correct", lambda _, problem, text: sum(map(ord, text + problem.prompt)) % 2 == 0)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search of eight settings."""
    heuristics = (("fast_dllm", "threshold", "0.2|0.9"), ("eb_sampler", "gamma", "0.1|4"))
    monkeypatch.setattr(numbers, "HEURISTICS", heuristics)


def told(tmp_path: Path, *words: object) -> tuple[Outcome, dict]:
    outcome = run(*VERB, "--out", tmp_path, *words)
    assert outcome.code == 0, outcome.err
    return outcome, json.loads((tmp_path / "frontier.json").read_text())


def test_answers_are_cut_before_a_stop_text(tmp_path: Path) -> None:
    """Items of other stop texts are in another folder."""
    words = ["--sampler", "llada:steps=4", "--limit", 3]
    _, whole = told(tmp_path, *words)
    _, cut = told(tmp_path, *words, "--stop", "4", "--stop", "\n")
    assert [one["results"][0]["record"]["stops"] for one in (whole, cut)] == [[], ["4", "\n"]]
    expected = unveil.evaluate("lab-sudoku", "sudoku", samplers=["llada:steps=4"], limit=3, stop=["4", "\n"])
    (found,) = cut["results"]
    assert untimed(found) == {**untimed(expected[0].to_json()), "unmask": found["unmask"]}
    assert len(list(tmp_path.glob("items-test-*"))) == 2


def test_results_are_what_the_library_measures(tmp_path: Path) -> None:
    outcome, written = told(tmp_path, *TWO, "--limit", 5, "--seed", 3, "--batch", 2, "--budget", 1, "--budget", 30)
    task, model = task_of("sudoku"), unveil.load("lab-sudoku")
    problems = task.generate(5, 3)
    for spec, result in zip(SETTINGS, written["results"], strict=True):
        expected = evaluation.evaluate(model, task, problems, spec, seed=3, batch=2).to_json()
        assert {**untimed(expected), "unmask": result["unmask"]} == untimed(result)
    assert [result["unmask"] for result in written["results"]] == [
        "Quota(steps=1) on Confidence", "Quota(steps=4) on Confidence",
        "Threshold(bar=0.2) on Confidence", "Threshold(bar=0.9) on Confidence",
    ]  # fmt: skip
    assert (written["num_masks"], written["search"]) == (19, None)
    assert written["test"] == {"problems": "5 generated problems, validation split, seed 3", "n": 5, "seed": 3}
    points = {result["sampler"]: numbers.Point(result["nfe_mean"], result["accuracy"]) for result in written["results"]}
    span = numbers.span_of(list(points.values()))
    assert (written["area"]["low"], written["area"]["high"]) == tuple(span)
    for found, specs in zip(written["area"]["families"], (SETTINGS[:2], SETTINGS[2:]), strict=True):
        assert found["area"] == pytest.approx(numbers.area([points[spec] for spec in specs], span))
    assert [line["family"] for line in written["budgets"]] == FAMILIES * 2
    assert written["budgets"][0]["best"]["sampler"] == "llada:steps=1" and written["budgets"][1]["best"] is None
    best = numbers.best([points[spec] for spec in SETTINGS[2:]], 30.0)
    assert written["budgets"][3]["best"]["sampler"] == SETTINGS[2:][best or 0]
    shown = words_of(outcome.out)
    assert "sudoku with lab-sudoku: 5 generated problems, validation split, seed 3, 19 masks" in shown
    assert "Quota(steps=4) on Confidence" in shown and "none is so fast" in shown
    assert f"Area from {span.low:.4g} to {span.high:.4g} forwards" in shown and "mean over log(forwards)" in shown
    assert "on the same problems, so a little flattered" in shown


def test_of_several_processes_only_the_first_speaks_and_writes(
    few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    outcome = run(*VERB, "--out", tmp_path, "--tune", "--tune-limit", 2, "--blocks", 19, "--limit", 2)
    assert outcome == (0, "", "") and list(tmp_path.glob("items-*")) and not list(tmp_path.glob("frontier.*"))


def test_csv_and_picture(tmp_path: Path) -> None:
    outcome, written = told(tmp_path, *TWO, "--limit", 3)
    rows = list(csv.DictReader((tmp_path / "frontier.csv").read_text().splitlines()))
    assert [row["sampler"] for row in rows] == SETTINGS
    assert [row["family"] for row in rows] == [FAMILIES[0]] * 2 + [FAMILIES[1]] * 2
    for row, result in zip(rows, written["results"], strict=True):
        assert row["problems"] == "test" and float(row["nfe_mean"]) == result["nfe_mean"]
        assert (row["num_masks"], row["block"], row["unmask"]) == ("19", str(result["block"]), result["unmask"])
    assert (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")
    assert all(str(tmp_path / f"frontier.{end}") in outcome.out for end in ("png", "csv", "json"))


def test_one_setting_has_no_area_and_a_range_can_be_given(tmp_path: Path) -> None:
    _, written = told(tmp_path, "--sampler", "llada:steps=2", "--limit", 2)
    assert written["area"]["families"] == []
    _, written = told(tmp_path, "--sampler", "llada:steps=2", "--limit", 2, "--range", "1-4")
    accuracy = written["results"][0]["accuracy"]
    assert (written["area"]["low"], written["area"]["high"]) == (1, 4)
    assert written["area"]["families"][0]["area"] == pytest.approx(accuracy / 2)  # 2 is the middle of 1 to 4


def spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Every evaluation: its sampler and prompts."""
    calls: list[tuple[str, list[str]]] = []
    evaluate = evaluation.evaluate

    def spy(model: object, task: object, problems: list, spec: str, **more: object) -> object:
        calls.append((spec, [problem.prompt for problem in problems]))
        return evaluate(model, task, problems, spec, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluation, "evaluate", spy)
    return calls


@pytest.mark.parametrize("from_file", [False, True])
def test_a_search_never_sees_a_test_problem(
    few: None, from_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same seed for both: whoever searches on what is first generated searches on the test problems."""
    test = task_of("sudoku").generate(6, 7)
    lines = [json.dumps({"input": problem.prompt.removesuffix("\n=\n")}) for problem in test]
    (tmp_path / "test.jsonl").write_text("\n".join(lines))
    words = ["--data", tmp_path / "test.jsonl"] if from_file else ["--limit", 6, "--seed", 7]
    calls = spied(monkeypatch)
    _, written = told(tmp_path / "out", "--tune", "--tune-limit", 4, "--tune-seed", 7, "--blocks", "8,19", *words)
    prompts = {problem.prompt for problem in test}
    searched = [spec for spec, asked in calls if not prompts & set(asked)]
    tested = [spec for spec, asked in calls if prompts >= set(asked)]
    assert len(searched) + len(tested) == len(calls) and len(set(searched)) == len(searched) == 8
    assert all(len(asked) == (4 if spec in searched[:8] else 6) for spec, asked in calls[:8])
    kept = [spec for settings in written["search"]["kept"].values() for spec in settings]
    assert tested == kept and calls[8:] == [(spec, [problem.prompt for problem in test]) for spec in kept]


def test_what_was_tried_and_kept_is_told(few: None, tmp_path: Path) -> None:
    words = ["--tune", "--tune-limit", 6, "--tune-seed", 5, "--limit", 3, "--sampler", "llada:steps=1|3|9"]
    outcome, written = told(tmp_path, *words, "--budget", 9)
    search = written["search"]
    assert search["tried"]["fast_dllm:threshold,block"] == [
        f"fast_dllm:threshold={bar},block={block}" for bar in ("0.2", "0.9") for block in (8, 16, 19)
    ]
    assert search["tried"]["llada:steps"] == ["llada:steps=1", "llada:steps=3", "llada:steps=9"]
    assert (search["n"], search["seed"]) == (6, 5) and (written["test"]["n"], written["test"]["seed"]) == (3, 0)
    points = {one["sampler"]: numbers.Point(one["nfe_mean"], one["accuracy"]) for one in search["results"]}
    assert len(points) == 15 and all(one["n"] == 6 and one["num_masks"] == 19 for one in search["results"])
    for name, tried in search["tried"].items():
        efficient = [tried[number] for number in numbers.efficient([points[spec] for spec in tried])]
        assert search["kept"][name] == efficient
    kept = [spec for settings in search["kept"].values() for spec in settings]
    assert [one["sampler"] for one in written["results"]] == kept and len(kept) < 15
    for line in written["budgets"]:  # chosen by the search, not by the test
        settings = search["kept"][line["family"]]
        number = numbers.best([points[spec] for spec in settings], 9.0)
        assert line["best"] is None if number is None else line["best"]["sampler"] == settings[number]
    rows = list(csv.DictReader((tmp_path / "frontier.csv").read_text().splitlines()))
    assert [row["sampler"] for row in rows if row["problems"] == "validation" and row["kept"] == "True"]
    assert sum(row["problems"] == "validation" for row in rows) == 15
    shown = words_of(outcome.out)
    assert (
        "Searched: 15 settings on 6 generated problems, validation split, seed 5, none of them a test problem" in shown
    )
    assert "fast_dllm:threshold=0.2|0.9, block=8|16|19" in shown and "on the validation problems" in shown


def stop_at(monkeypatch: pytest.MonkeyPatch, count: int) -> list[str]:
    """Ctrl-C instead of the item after `count`; all that is written."""
    append, written = kept.append_line, list[str]()

    def counting(path: Path, text: str) -> None:
        if len(written) == count:
            raise KeyboardInterrupt
        append(path, text)
        written.append(f"{path.parent.name}/{path.name}:{json.loads(text)['index']}")

    monkeypatch.setattr(kept, "append_line", counting)
    return written


@pytest.mark.parametrize("count", [5, 28])  # while it searches, and after
def test_interrupted_it_goes_on(few: None, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*VERB, "--tune", "--tune-limit", 3, "--blocks", "8,19", "--limit", 4, "--seed", 2]
    assert run(*words, "--out", tmp_path / "whole").code == 0
    with monkeypatch.context() as patch:
        first = stop_at(patch, count)
        outcome = run(*words, "--out", tmp_path / "cut")
    assert outcome.code == 130 and len(first) == count and not (tmp_path / "cut" / "frontier.json").exists()
    assert "What was done is kept in" in words_of(outcome.err) and "goes on from there" in words_of(outcome.err)
    with monkeypatch.context() as patch:
        rest = stop_at(patch, 10**6)
        assert run(*words, "--out", tmp_path / "cut").code == 0
    assert not set(first) & set(rest)
    whole, cut = (json.loads((tmp_path / name / "frontier.json").read_text()) for name in ("whole", "cut"))
    assert len(first) + len(rest) == 8 * 3 + 4 * len(whole["results"])
    for found in (whole, cut):
        found["results"] = [untimed(one) for one in found["results"]]
        found["search"]["results"] = [untimed(one) for one in found["search"]["results"]]
    assert whole == cut


def test_more_samplers_go_on_and_other_settings_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps({"input": one.prompt.removesuffix("\n=\n")}) for one in task_of("sudoku").generate(3, 0)]
    (tmp_path / "three.txt").write_text("\n".join(lines))
    three = ["--data", tmp_path / "three.txt"]
    told(tmp_path, *TWO[:2], *three)
    kept = {path: path.read_text() for path in tmp_path.rglob("*.jsonl")}
    written = stop_at(monkeypatch, 10**6)
    told(tmp_path, *TWO, *three)
    assert len(kept) == 2 and len(written) == 2 * 3
    for words in (["--seed", 9], ["--guidance", 0.5], ["--limit", 2]):
        written.clear()
        told(tmp_path, *TWO, *three, *words)
        assert len(written) == 4 * (2 if "--limit" in words else 3)
    assert all(path.read_text() == text for path, text in kept.items())


def test_items_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    told(tmp_path, *TWO[:2], "--limit", 2)
    first, second = sorted(tmp_path.glob("items-test-*/*.jsonl"))
    first.write_text(second.read_text())
    outcome = run(*VERB, "--out", tmp_path, *TWO[:2], "--limit", 2)
    assert outcome.code == 2 and "belongs to another evaluation" in words_of(outcome.err)


def test_a_changed_policy_has_items_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, names, written = f"policy:path={tmp_path}", [], stop_at(monkeypatch, 10**6)
    for seed in (0, 1, 0):
        save_policy(ConfidencePolicy(ConfidenceSettings(), seed=seed), tmp_path)
        names.append(item_name(spec))
        told(tmp_path / "out", "--sampler", spec, "--limit", 1)
    assert names[0] == names[2] != names[1] and "/" not in names[0] and item_name(f"{spec},scale=2") != names[2]
    assert [line.split("/")[1] for line in written] == [f"{name}:0" for name in names[:2]]  # the third was there
    assert len(item_name("llada:temperature=0." + "1" * 500)) < 100  # a name any file system takes


def no_model(*_: object, **__: object) -> None:
    raise AssertionError("the model was loaded before the input was checked")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "nothing to compare: give --sampler SPEC at least once, or --tune"),
        (["--sampler", "lada:steps=1|2"], "unknown sampler 'lada': did you mean 'llada'?"),
        (["--sampler", "llada:steps=1||2"], "'steps=1||2' in sampler 'llada:steps=1||2' has an empty value: write"),
        (["--sampler", "llada:steps"], "'steps' is no setting of sampler llada, which are key=value"),
        (["--sampler", "llada:steps=1|many"], "steps='many' is not a whole number"),
        (["--sampler", "llada:steps=1|20"], "steps=20 does not fit 19 new tokens in 1 block(s) of 19"),
        (["--sampler", "llada", "--range", "2"], "--range is '2'; write two numbers of forwards, such as 2-32"),
        (["--sampler", "llada", "--range", "8-2"], "the range of forwards is 8 to 2; it needs 0 < low < high"),
        (["--sampler", "llada", "--budget", "0"], "Invalid value for '--budget'"),
        (["--sampler", "llada", "--blocks", "8"], "--blocks 8 has no meaning without --tune"),
        (["--tune", "--blocks", "8,many"], "--blocks is '8,many'; write whole numbers and commas, such as 8,32"),
        (["--tune", "--blocks", "8,64"], "--blocks holds 64; sudoku has 19 masks, so a block has 1 to 19"),
        (["--tune", "--tune-limit", "0"], "Invalid value for '--tune-limit'"),
        (["--sampler", "llada", "--limit", "0"], "Invalid value for '--limit'"),
    ],
)
def test_bad_input_is_found_before_the_model_is_loaded(
    words: list[str], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unveil.Loading, "model", no_model)
    outcome = run(*VERB, "--out", tmp_path / "out", *words)
    assert outcome.code == 2 and fault in words_of(outcome.err) and outcome.out == ""
    assert "Traceback" not in outcome.err and not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = run(*VERB, "--sampler", "llada", "--out", tmp_path / "file")
    assert outcome.code == 2 and "is a file" in words_of(outcome.err)
