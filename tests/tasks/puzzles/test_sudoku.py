"""Sudoku: the judge knows the rules, the generator keeps to its split, the file reader names what is broken."""

import json
import re
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tasks.sources import jsonl
from unveil.tasks import Problem, Sudoku, Task, task
from unveil.tasks.puzzles import sudoku as module

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")
FILES = [4, 6, 7, 9, 10, 12]
PUZZLE, SOLUTION = "1000\n0002\n4003\n0000", "1234\n3412\n4123\n2341"
PROBLEM = Sudoku.problem(PUZZLE.replace("\n", ""), SOLUTION, "one")

seeds = st.integers(0, 2**32)
settings = st.tuples(st.integers(4, 16), st.integers(4, 16)).map(lambda pair: (min(pair), max(pair)))
splits = st.sampled_from(SPLITS)


def obeys(answer: str) -> bool:
    """The rules of Sudoku, written out."""
    rows = answer.split("\n")
    if len(rows) != 4 or any(len(row) != 4 for row in rows):
        return False
    columns = ["".join(row[c] for row in rows) for c in range(4)]
    boxes = [rows[r][c : c + 2] + rows[r + 1][c : c + 2] for r in (0, 2) for c in (0, 2)]
    return all(sorted(line) == list("1234") for line in rows + columns + boxes)


def solutions(givens: str) -> int:
    """How many ways a puzzle can be filled, by trying."""
    if "0" not in givens:
        return int(obeys(module._lines(givens)))
    at = givens.index("0")
    row, column, box = at // 4, at % 4, (at // 8, at % 4 // 2)
    seen = {givens[i] for i in range(16) if i // 4 == row or i % 4 == column or (i // 8, i % 4 // 2) == box}
    return sum(solutions(givens[:at] + digit + givens[at + 1 :]) for digit in set("1234") - seen)


@given(seed=seeds, givens=settings, split=splits)
def test_generated_puzzles_have_one_solution_the_answer(seed: int, givens: tuple[int, int], split: Split) -> None:
    sudoku = Sudoku(givens=givens, split=split)
    for problem in sudoku.generate(3, seed):
        puzzle = problem.data["givens"]
        assert problem.answer is not None and obeys(problem.answer) and sudoku.correct(problem, problem.answer)
        assert solutions(puzzle) == 1
        assert givens[0] <= 16 - puzzle.count("0") <= givens[1]
        assert problem.prompt == module._lines(puzzle) + "\n=\n" and len(problem.answer) == sudoku.num_masks


@given(seed=seeds, place=st.integers(0, 18), character=st.characters() | st.sampled_from("01234\n =5"))
def test_every_changed_character_is_wrong(seed: int, place: int, character: str) -> None:
    sudoku = Sudoku()
    (problem,) = sudoku.generate(1, seed)
    answer = problem.answer or ""
    changed = answer[:place] + character + answer[place + 1 :]
    assert sudoku.correct(problem, changed) == (changed == answer)


@given(seed=seeds, place=st.integers(0, 18), piece=st.text(min_size=1, max_size=3))
def test_more_or_fewer_characters_are_wrong_unless_blanks_at_the_ends(seed: int, place: int, piece: str) -> None:
    sudoku = Sudoku()
    (problem,) = sudoku.generate(1, seed)
    answer = problem.answer or ""
    assert not sudoku.correct(problem, answer[:place] + answer[place + 1 :])
    longer = answer[:place] + piece + answer[place:]
    assert sudoku.correct(problem, longer) == (longer.strip() == answer)
    assert sudoku.correct(problem, f" \n{answer}\n\t ")


def test_the_judge_is_the_rules_and_the_givens_for_every_grid() -> None:
    empty = Sudoku.problem("0" * 16, None, "empty")
    grids = [module._lines(digits) for digits in module._strings(module._grids().all)]
    assert len(set(grids)) == 288 and all(obeys(grid) and Sudoku().correct(empty, grid) for grid in grids)
    right = [grid for grid in grids if Sudoku().correct(PROBLEM, grid)]
    assert right == [SOLUTION]
    loose = Sudoku.problem("1" + "0" * 15, SOLUTION, "loose")
    assert sum(Sudoku().correct(loose, grid) for grid in grids) == 288 // 4  # any of several solutions


@given(st.lists(st.permutations("1234"), min_size=4, max_size=4))
def test_grids_of_whole_rows_are_judged_as_the_rules_say(rows: list[list[str]]) -> None:
    answer = "\n".join(map("".join, rows))
    assert Sudoku().correct(Sudoku.problem("0" * 16, None, "empty"), answer) == obeys(answer)


def test_the_tables_have_the_known_sizes() -> None:
    grids = module._grids()
    counts = np.diff(grids.start) * 24
    assert counts[:4].sum() == 0 and counts[4] == 25_728 and counts[16] == 288
    puzzles = set(map(tuple, grids.puzzles.tolist()))
    minimal = sum(not any(b >> k & 1 and (g, b ^ 1 << k) in puzzles for k in range(16)) for g, b in puzzles)
    assert minimal * 24 == 85_632  # the known number of minimal 4x4 puzzles


def test_fewer_puzzles_of_a_seed_are_the_first_of_more() -> None:
    many = Sudoku().generate(700, 5)
    assert Sudoku().generate(3, 5) == many[:3] and Sudoku().generate(3, 6) != many[:3]
    assert len({problem.id for problem in many}) == 700


@given(seed=seeds)
def test_arrays_are_what_generate_writes(seed: int) -> None:
    puzzles, answers = Sudoku().arrays(5, np.random.default_rng(seed))
    assert puzzles.shape == answers.shape == (5, 16) and puzzles.dtype == np.uint8
    for problem, puzzle, answer in zip(Sudoku().generate(5, seed), puzzles, answers, strict=True):
        assert problem.data["givens"] == "".join(map(str, puzzle))
        assert (problem.answer or "").replace("\n", "") == "".join(map(str, answer))


def drawn(split: Split, givens: tuple[int, int] = (4, 12), count: int = 10_000) -> set[str]:
    puzzles, _ = Sudoku(split=split, givens=givens).arrays(count, np.random.default_rng(0))
    return set(module._strings(puzzles))


def test_the_splits_never_meet() -> None:
    train, validation = drawn("train", (4, 4), 30_000), drawn("validation", (4, 4))
    assert not train & validation
    assert len(train) > 15_000  # of 25,728, and of the validation puzzles almost all have come
    assert 1 / 20 < len(validation) / 25_728 < 1 / 13


def test_numbers_of_givens_are_drawn_evenly() -> None:
    puzzles, _ = Sudoku(split="train").arrays(9000, np.random.default_rng(1))
    counts = np.bincount((puzzles > 0).sum(1), minlength=17)
    assert (counts[4:13] > 850).all() and counts.sum() == counts[4:13].sum()


def test_excluded_puzzles_do_not_come() -> None:
    whole = Sudoku(givens=(16, 16))
    some, *others = sorted({problem.data["givens"] for problem in whole.generate(500, 0)})
    left = Sudoku(givens=(16, 16), exclude=frozenset(others)).generate(50, 1)
    assert {problem.data["givens"] for problem in left} == {some}
    with pytest.raises(ValueError, match=r"no validation puzzle with \(16, 16\) givens is left"):
        Sudoku(givens=(16, 16), exclude=frozenset([some, *others])).generate(1, 0)


# the published files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", FILES)
def test_the_published_answers_pass_and_have_no_rival(data: Path, number: int) -> None:
    problems = Sudoku().read(data / "sudoku" / f"sudoku_4x4_{number}.jsonl")
    assert len(problems) == 108 and len({problem.id for problem in problems}) == 108
    for problem in problems:
        assert Sudoku().correct(problem, problem.answer or "")
        assert 16 - problem.data["givens"].count("0") == number and solutions(problem.data["givens"]) == 1


def published(data: Path) -> set[str]:
    paths = [data / "sudoku" / f"sudoku_4x4_{number}.jsonl" for number in FILES]
    return {problem.data["givens"] for path in paths for problem in Sudoku().read(path)}


def test_the_shipped_fingerprints_are_those_of_the_published_puzzles(data: Path) -> None:
    shipped = json.loads(Path(module.__file__).with_name("sudoku_test_hashes.json").read_text())
    assert shipped == sorted(module.fingerprint(givens) for givens in published(data)) and len(shipped) == 648


def test_no_generated_puzzle_is_a_published_one(data: Path) -> None:
    held_out = published(data)
    for split in SPLITS:
        for givens in ((4, 4), (4, 12)):
            assert not drawn(split, givens) & held_out


# bad input ------------------------------------------------------------------------------------------------------------


GOOD = {"input": PUZZLE, "output": SOLUTION}


@pytest.mark.parametrize(
    "bad, message",
    [
        ("{", "not JSON"),
        ({"output": SOLUTION}, "'input' is None; it must be four lines of four digits 0 to 4"),
        ({"input": 7}, "'input' is 7"),
        ({"input": PUZZLE.replace("1", "5")}, "'input' is '5000"),
        ({"input": PUZZLE[:-1]}, "'input' is "),
        ({"input": PUZZLE.replace("\n", "")}, "'input' is "),
        ({"input": PUZZLE, "output": SOLUTION[::-1]}, "which does not solve the puzzle"),
        ({"input": PUZZLE, "output": 3}, "'output' is 3, which does not solve"),
        ({"input": "1100\n0000\n0000\n0000"}, "has no solution"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, bad: object, message: str) -> None:
    path = jsonl(tmp_path / "puzzles.jsonl", GOOD, bad, GOOD)
    with pytest.raises(ValueError, match=rf"puzzles\.jsonl, line 2: .*{re.escape(message)}"):
        Sudoku().read(path)


def test_the_output_may_be_left_out(tmp_path: Path) -> None:
    (problem,) = Sudoku().read(jsonl(tmp_path / "puzzles.jsonl", {"input": PUZZLE}))
    assert problem == Problem(
        prompt=PUZZLE + "\n=\n", answer=None, id="puzzles:1", data={"givens": PUZZLE.replace("\n", "")}
    )
    assert Sudoku().correct(problem, SOLUTION)


@pytest.mark.parametrize("givens", [(3, 5), (5, 4), (4, 17)])
def test_impossible_givens_are_refused(givens: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="4 <= fewest <= most <= 16"):
        Sudoku(givens=givens)


def test_other_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="exclude holds '1000.*16 digits from 0 to 4"):
        Sudoku(exclude=frozenset([PUZZLE]))
    with pytest.raises(ValueError, match="count is 0; it must be at least 1"):
        Sudoku().generate(0, 0)
    with pytest.raises(ValueError, match="seed is -1; it must be at least 0"):
        Sudoku().generate(1, -1)


def test_tasks_are_found_by_name() -> None:
    found: Task = task("sudoku")
    assert found == Sudoku() and found.name == "sudoku" and found.num_masks == 19 and found.describe
    known = "known are countdown, rules, sudoku, "
    with pytest.raises(ValueError, match=rf"unknown task 'sudoko': did you mean 'sudoku'\? {known}"):
        task("sudoko")
    with pytest.raises(ValueError, match=rf"unknown task '\?': {known}"):
        task("?")
