"""The lab models' recipes: what a step holds, the tokenizer, and whole small trainings from the command to a model."""

import re
import runpy
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unveil
from recipes import lab, lab_puzzles
from recipes.lab_puzzles import EOS, LATE, MASK, TOKENIZER, LabPuzzles, drills, shown_to_a_step
from recipes.lab_rules import LabRules
from recipes.lab_sudoku import LabSudoku
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.files import read_json, read_jsonl
from unveil.settings import defaults, with_settings, written
from unveil.tasks import Countdown, Sudoku, Sums
from unveil.training import trainer
from unveil.training.settings import Training
from unveil.training.trainer import Recipe, run

SMALL = LabPuzzles(sums=3, long_sums=2, countdown=2, sudoku=2, drills=6, validation=2)
SHORT = Training(steps=2, optimiser="muon", ema=0.5, micro_rows=4, validate_every=1, save_every=1)


# How each is made small, to be run from the command line
RUN: dict[type[Any], str] = {
    LabSudoku: "rows=2 validation=2",
    LabPuzzles: "sums=2 long_sums=1 countdown=1 sudoku=1 drills=2 validation=1",
    LabRules: "columns=60 validation=1 width=32 layers=1",
}
ASKED: dict[type[Any], str] = {LabSudoku: "1234\n", LabPuzzles: "3+4=", LabRules: "\nAnswer:["}
FEW = "steps=2 validate_every=2 save_every=1 precision=no"
KINDS = pytest.mark.parametrize("kind", RUN, ids=lambda kind: kind.name)


def words(folder: Path, settings: str, *more: str) -> list[str]:
    return ["--out", str(folder), *more, *(word for item in settings.split() for word in ("--set", item))]


@KINDS
def test_recipes_are_recipes(kind: type[Any]) -> None:
    assert isinstance(kind(), Recipe)
    assert kind.command == f"python -m {kind.__module__}"
    assert kind.command.rpartition(".")[2] == kind.name.replace("-", "_")


@KINDS
@pytest.mark.slow
def test_a_recipe_is_a_command(
    kind: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `python -m` starts it: two steps, a model that decodes, and what to try."""
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.delitem(sys.modules, kind.__module__)  # it is run as a module of its own
    monkeypatch.setattr(sys, "argv", ["recipe", *words(tmp_path, f"{RUN[kind]} {FEW}", "--threads", "3")])
    runpy.run_module(kind.__module__, run_name="__main__")
    told, best = capsys.readouterr(), tmp_path / "model"
    assert threads[0] == 3 and f'Try: unveil decode {best} "PROMPT"' in told.out
    (row,) = (line.split() for line in told.out.splitlines() if str(best) in line and "Try" not in line)
    records, card = read_jsonl(tmp_path / "metrics.jsonl"), read_json(best / "card.json")
    assert [record["step"] for record in records] == [1, 2]
    assert row[:4] == ["2", f"{records[-1]['score']:.4f}", "2", f"{records[-1]['loss']:.4f}"]
    assert card["recipe"] == kind.command
    assert unveil.load(best).decode([ASKED[kind]], "llada", new_tokens=4)[0].complete


@KINDS
def test_the_help_of_a_recipe_ends_with_its_settings(kind: type[Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        lab.main(kind, ["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0 and told.startswith(f"usage: {kind.command}")
    for setting, value in defaults(kind).items():
        assert f"{setting}={written(value)}" in told
    assert "training=" not in told


@KINDS
def test_every_default_can_be_written(kind: type[Any]) -> None:
    texts = [f"{name}={written(value)}" for name, value in defaults(kind).items()]
    assert with_settings(kind(), texts) == kind()


BAD = {
    "setting": (["--set", "row=2"], "error: lab-sudoku has no setting 'row': did you mean 'rows'? known are rows, "),
    "value": (["--set", "rows=many"], "error: rows='many' is not a whole number"),
    "range": (["--set", "steps=0"], "error: steps=0 is outside its range, from 1 to 1,000,000,000"),
    "twice": (["--set", "rows=1", "--set", "rows=2"], "error: lab-sudoku is given rows twice: give it once"),
    "threads": (["--threads", "0"], "error: threads=0 is not positive: give at least 1"),
}


@pytest.mark.parametrize(("more", "fault"), BAD.values(), ids=BAD)
def test_bad_words_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], fault: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        lab.main(LabSudoku, ["--out", str(tmp_path / "run"), *more])
    told = capsys.readouterr()
    assert ended.value.code == 2 and told.out == "" and told.err.startswith(fault) and told.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_without_a_folder_a_run_is_in_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kept, resumed, never overwritten; of several processes the first speaks."""
    monkeypatch.setattr(LabSudoku, "validate", lambda self, model: {"score": 0.5})
    monkeypatch.setattr(LabSudoku, "describe", lambda self, folder: None)
    monkeypatch.chdir(tmp_path)
    settings = words(tmp_path, f"rows=2 {FEW}")[2:]
    lab.main(LabSudoku, settings)
    best = Path("runs") / "lab-sudoku" / "model"
    assert f"{best}" in capsys.readouterr().out and (best / "config.json").exists()
    with pytest.raises(SystemExit) as ended:
        lab.main(LabSudoku, settings)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told == f"error: {best.parent} already holds a run: go on with --resume, or choose another folder\n"
    monkeypatch.setenv("RANK", "1")
    lab.main(LabSudoku, [*settings, "--resume"])
    assert capsys.readouterr().out == ""


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "run", stop)
    with pytest.raises(SystemExit) as ended:
        lab.main(LabSudoku, ["--out", str(tmp_path)])
    assert ended.value.code == 130
    assert f"The run in {tmp_path} is kept: the same command with --resume goes on." in capsys.readouterr().err


@pytest.mark.parametrize("recipe", [SMALL, LabSudoku(rows=4)], ids=lambda recipe: recipe.name)
def test_a_batch_follows_from_seed_and_step(recipe: LabPuzzles | LabSudoku) -> None:
    one, again, later = recipe.batch(5), recipe.batch(5), recipe.batch(6)
    other = replace(recipe, training=replace(recipe.training, seed=1)).batch(5)
    assert all(torch.equal(x, y) for x, y in zip(one, again, strict=True))
    for different in (later, other):
        assert one.tokens.shape != different.tokens.shape or not torch.equal(one.tokens, different.tokens)


@pytest.mark.parametrize("progress", [0.0, 0.2, 0.4, 0.999])
def test_rows_are_problems_with_their_answers_and_eos(progress: float) -> None:
    step = int(progress * SMALL.training.steps)
    batch, problems = SMALL.batch(step), [(p, canvas) for part, canvas in SMALL.parts(step) for p in part]
    assert len(batch.tokens) == len(problems) == {0.0: 13, 0.2: 13, 0.4: 15, 0.999: 11}[progress]
    for row, (problem, canvas) in enumerate(problems):
        start, end = int(batch.start[row]), int(batch.end[row])
        ids = batch.tokens[row, :end].tolist()
        assert TOKENIZER.decode(ids[:start]) == problem.prompt
        assert TOKENIZER.decode(ids[start:]) == problem.answer
        ended = ids[len(TOKENIZER.encode(problem.prompt + (problem.answer or ""))) :]
        assert set(ended) <= {EOS} and MASK not in ids
        assert ended or canvas in (0, Sudoku.num_masks)
        assert end - start <= canvas or not canvas
        assert (end - start) % 8 == 0 or end - start == canvas or not ended


def test_whole_canvases_become_all() -> None:
    recipe = LabPuzzles(sums=1000)
    shares = []
    for progress in (0.0, 0.25, LATE):
        step = int(progress * recipe.training.steps)
        sizes = recipe.batch(step)
        first = 0
        for part in recipe.parts(step):
            if part.canvas == 64:
                lengths = (sizes.end - sizes.start)[first : first + len(part.problems)]
                shares.append(float((lengths == 64).float().mean()))
            first += len(part.problems)
    assert shares[0] < 0.05 and 0.4 < shares[1] < 0.7 and shares[2] == 1


def test_the_curriculum_ends_with_the_tasks_as_they_are() -> None:
    recipe = LabPuzzles(sums=300, long_sums=200, countdown=300)
    early, late = (recipe.parts(int(progress * recipe.training.steps)) for progress in (0.0, 0.999))
    num_steps = [{problem.answer.count("=") for problem in part.problems} for part in (early[0], late[3], late[5])]
    assert num_steps == [{1, 2}, set(range(1, 7)), set(range(4, 11))]
    largest = [max(max(problem.data["numbers"]) for problem in part.problems) for part in (early[1], late[0])]
    assert largest[0] <= 10 and largest[1] > 90


@given(seed=st.integers(0, 10**6), task=st.sampled_from([Sudoku(), Countdown(), Sums(), Sums(canvas=128)]))
def test_the_tokenizer_writes_every_text_and_reads_it_back(seed: int, task: Sudoku | Countdown | Sums) -> None:
    (problem,) = task.generate(1, seed)
    for text in (problem.prompt, problem.answer):
        ids = TOKENIZER.encode(text)
        assert TOKENIZER.decode(ids) == text and max(ids) < min(EOS, MASK)
    assert len(TOKENIZER.encode(problem.answer)) < task.num_masks + isinstance(task, Sudoku)


@given(numbers=st.lists(st.integers(0, 99_999), min_size=1, max_size=4))
def test_numbers_of_two_digits_are_one_token(numbers: list[int]) -> None:
    for number in numbers:
        text = str(number)
        assert len(TOKENIZER.encode(text)) == (1 if len(text) <= 2 else len(text))
    text = "+".join(map(str, numbers))
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_a_number_that_would_be_spelled_is_no_entry() -> None:
    FileTokenizer.words(["12", " 12", "ab"], [], digits=2)
    for entry in ("123", " 123"):
        with pytest.raises(ValueError, match="is not one token: give words, digits and other characters one by one"):
            FileTokenizer.words([entry], [], digits=2)
    with pytest.raises(ValueError, match="'12' is not one token"):
        FileTokenizer.words(["12"], [])


def test_transformers_reads_the_tokenizer(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    SMALL.save(SMALL.model(), tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for task in (Sudoku(), Countdown(), Sums()):
        for problem in task.generate(20, 3):
            ids = TOKENIZER.encode(problem.prompt + (problem.answer or ""))
            assert theirs.encode(problem.prompt + (problem.answer or ""), add_special_tokens=False) == ids
            assert theirs.decode(ids) == problem.prompt + (problem.answer or "")
    assert (theirs.eos_token_id, theirs.pad_token_id, theirs.mask_token_id) == (EOS, EOS, MASK)


def test_lab_puzzles_is_small_enough_to_ship(tmp_path: Path) -> None:
    SMALL.save(SMALL.model(), tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 12e6


def test_from_a_name_to_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps, interrupted after the first, give a folder that loads and decodes."""
    tiny = replace(lab_puzzles.ARCHITECTURE, width=16, layers=1, heads=1, kv_heads=1, head_width=16, feed_width=32)
    monkeypatch.setattr(lab_puzzles, "ARCHITECTURE", tiny)
    recipe = replace(SMALL, training=SHORT)
    folder = run(recipe, out=tmp_path)
    assert [record["step"] for record in read_jsonl(tmp_path / "metrics.jsonl")] == [1, 2]
    card, model = read_json(folder / "card.json"), unveil.load(folder)
    assert card["accuracies"].keys() == {"sudoku", "countdown", "sums", "long_sums"}
    assert card["parameters"] == sum(x.numel() for x in model.denoiser.parameters())
    assert card["recipe"] == "python -m recipes.lab_puzzles" and card["seed"] == 0
    (answer,) = model.decode([Sums().generate(1, 0)[0].prompt], "llada", new_tokens=8)
    assert answer.complete and len(answer.tokens) <= 8
    with pytest.raises(ValueError, match="was started with sums=3 and is resumed with sums=4"):
        run(replace(recipe, sums=4), out=tmp_path, resume=True)
    assert run(recipe, out=tmp_path, resume=True) == folder


def test_stages_of_the_curriculum_follow_each_other_smoothly() -> None:
    """No step asks for problems that the tasks refuse."""
    recipe = replace(SMALL, sums=2, long_sums=2, countdown=1, sudoku=1, drills=1)
    steps = [int(share / 40 * (recipe.training.steps - 1)) for share in range(41)]
    counts = [len(recipe.parts(step)) for step in steps]
    assert all(a <= b for a, b in pairwise(counts)) and counts[0] == 4 and counts[-1] == 7


@given(seed=st.integers(0, 10**6))
def test_drills_are_exact(seed: int) -> None:
    for problem in drills(4, Random(seed), before=3):
        lines = (problem.prompt + (problem.answer or "")).split("\n")
        assert 1 <= len(lines) <= 4
        for line in lines:
            x, sign, y, result = re.fullmatch(r"(\d+)([-+*/])(\d+)=(\d+)", line).groups()  # type: ignore[union-attr]
            exact = {"+": int(x) + int(y), "-": int(x) - int(y), "*": int(x) * int(y), "/": int(x) / int(y)}[sign]
            assert int(result) == exact <= 100


@given(seed=st.integers(0, 10**6))
def test_what_is_shown_of_a_problem_and_what_is_asked_follow_each_other(seed: int) -> None:
    """The prompt, the lines before, then a line or its result; nothing of the lines after."""
    (whole,) = Sums().generate(1, seed)
    cut = shown_to_a_step(whole, Random(seed))
    text, lines = cut.prompt + (cut.answer or ""), (whole.answer or "").split("\n")
    assert (whole.prompt + (whole.answer or "")).startswith(text) and cut.answer
    assert text.removeprefix(whole.prompt).split("\n")[-1] in lines
    assert cut.answer in lines or cut.prompt.endswith("=") and re.fullmatch(r"\d+( \w+)?", cut.answer)


def test_a_run_that_begins_late_has_the_late_mixture() -> None:
    late, begun = SMALL.parts(SMALL.training.steps - 1), replace(SMALL, begin=1.0).parts(0)
    assert [part.canvas for part in begun] == [part.canvas for part in late] and len(begun) == 7
    assert [len(part.problems) for part in begun] == [len(part.problems) for part in late]
    assert SMALL.progress(0) == 0.0 and replace(SMALL, begin=0.5).progress(SMALL.training.steps // 2) == 0.75
    with pytest.raises(ValueError, match=re.escape("begin=1.5 is outside [0, 1]: 0 is the whole curriculum")):
        replace(SMALL, begin=1.5)


def test_a_run_goes_on_from_a_model(tmp_path: Path) -> None:
    whole = SMALL.model()
    SMALL.save(whole, tmp_path)
    again = replace(SMALL, start=str(tmp_path)).model()
    for name, weight in again.state_dict().items():
        assert weight.dtype == torch.float32 and torch.equal(weight, whole.state_dict()[name].bfloat16().float())
