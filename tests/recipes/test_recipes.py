"""The lab models' recipes: what a step holds, the tokenizer, and a whole small training from the name to a model."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unveil
from recipes import RECIPES, LabPuzzles, LabSudoku, lab_puzzles
from recipes.lab_puzzles import EOS, LATE, MASK, TOKENIZER, drills, shown_to_a_step
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.files import read_json, read_jsonl
from unveil.tasks import Countdown, Sudoku, Sums
from unveil.training.settings import Training
from unveil.training.trainer import Recipe, run

SMALL = LabPuzzles(sums=3, long_sums=2, countdown=2, sudoku=2, drills=6, validation=2)
SHORT = Training(steps=2, optimiser="muon", ema=0.5, micro_rows=4, validate_every=1, save_every=1)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_recipes(name: str) -> None:
    assert isinstance(RECIPES[name](), Recipe) and RECIPES[name].name == name


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
    assert card["recipe"] == "unveil train lab-puzzles" and card["seed"] == 0
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
