"""Countdown: the judge knows the rules, the answers are those of the published search, no published problem comes."""

import json
import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import permutations, product
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tasks.sources import jsonl
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.tasks import Countdown, Problem, Sudoku, Task, task
from unveil.tasks.puzzles import countdown as module
from unveil.tasks.splits import fingerprint

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")
FILES = {"cd3_test": 1000, "countdown_cd3_test": 256}
PROBLEM = Countdown.problem([15, 44, 79], 50, "44-15=29,79-29=50", "one")

seeds = st.integers(0, 2**32)
numbers = st.lists(st.integers(1, 100), min_size=3, max_size=3)
symbols = st.sampled_from("0123456789,=+-*/ \n#")


def obeys(text: str, three: list[int], target: int) -> bool:
    """The rules of the published checker (Dream's), written out: a balance of numbers taken and put back."""
    balance: Counter[int] = Counter(three)
    for equation in text.split(","):
        parts = re.fullmatch(r"(\d+)([-+*/])(\d+)=(\d+)", equation)
        if not parts:
            return False
        x, y, result = Fraction(parts[1]), Fraction(parts[3]), Fraction(parts[4])
        if parts[2] == "/" and y == 0:
            return False
        value = {"+": x + y, "-": x - y, "*": x * y, "/": x / y if y else None}[parts[2]]
        if value != result:
            return False
        balance.subtract([int(x), int(y)])
        balance[int(result)] += 1
    balance[target] -= 1
    return not any(balance.values()) and text.endswith(f"={target}")


def reachable(three: list[int]) -> set[Fraction]:
    """Every value of two operations on the three numbers, by trying, fractions and negative numbers included."""
    values = set()
    for a, b, c in permutations(map(Fraction, three)):
        for first, second in product("+-*/", repeat=2):
            x = apply(a, b, first)
            values |= {v for v in (apply(x, c, second), apply(c, x, second)) if v is not None}
    return values


def apply(x: Fraction | None, y: Fraction | None, operator: str) -> Fraction | None:
    if x is None or y is None or (operator == "/" and y == 0):
        return None
    return {"+": x + y, "-": x - y, "*": x * y, "/": x / y if y else None}[operator]


def key(problem: Problem) -> tuple[tuple[int, ...], int]:
    return tuple(sorted(problem.data["numbers"])), problem.data["target"]


@given(seed=seeds, split=st.sampled_from(SPLITS))
def test_generated_answers_are_right(seed: int, split: Split) -> None:
    countdown = Countdown(split=split)
    for problem in countdown.generate(3, seed):
        three, target, answer = problem.data["numbers"], problem.data["target"], problem.answer or ""
        assert obeys(answer, three, target) and countdown.correct(problem, answer)
        assert all(1 <= number <= 99 for number in three) and 10 <= target <= 100
        assert problem.prompt == ",".join(map(str, [*three, target])) + "\n=\n"
        assert len(answer) <= countdown.num_masks


@given(seed=seeds, at=st.integers(0, 25), old=st.integers(0, 2), piece=st.text(symbols, max_size=2))
def test_a_changed_answer_is_judged_as_the_rules_say(seed: int, at: int, old: int, piece: str) -> None:
    (problem,) = Countdown().generate(1, seed)
    answer = problem.answer or ""
    changed = answer[:at] + piece + answer[at + old :]
    plain = not re.search(r"(?<!\d)0\d", changed)  # a number is written without zeros before it
    expected = obeys(changed.strip(), problem.data["numbers"], problem.data["target"]) and plain
    assert Countdown().correct(problem, changed) == expected


@given(seed=seeds, digit=st.sampled_from("0123456789"), data=st.data())
def test_another_digit_is_always_wrong(seed: int, digit: str, data: st.DataObject) -> None:
    (problem,) = Countdown().generate(1, seed)
    answer = problem.answer or ""
    at = data.draw(st.sampled_from([i for i, character in enumerate(answer) if character.isdigit()]))
    changed = answer[:at] + digit + answer[at + 1 :]
    assert Countdown().correct(problem, changed) == (changed == answer)


@pytest.mark.parametrize(
    "text",
    [
        "79+15=94,94-44=50",
        "79-44=35,35+15=50",
        "15+79=94,94-44=50",
        " 44-15=29,79-29=50\n",
    ],
)
def test_any_solution_counts(text: str) -> None:
    assert Countdown().correct(PROBLEM, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "79-29=50",  # 29 is not there
        "44-15=29",
        "44-15=29,79-29=50,50-0=50",
        "79-29=50,44-15=29",  # 29 is used before it is made
        "44-15=28,79-29=50",
        "44-15=29, 79-29=50",
        "44-15=29,79-29=50.",
        "044-15=29,79-29=50",
        "15-44=-29,79+-29=50",
        "44-15=29,44+6=50",
        "79/0=0,0+50=50",
        "25+25=50",
        "79-44=35,35-15=20",  # not the target
        "٤٤-15=29,79-29=50",  # digits of another script
        "9" * 5000 + "-1=1,79-29=50",
    ],
)
def test_other_texts_are_wrong(text: str) -> None:
    assert not Countdown().correct(PROBLEM, text)


def test_a_quotient_must_be_whole() -> None:
    assert not Countdown().correct(Countdown.problem([80, 3, 24], 50, None, "quotient"), "80/3=26,24+26=50")
    assert Countdown().correct(Countdown.problem([78, 3, 24], 50, None, "quotient"), "78/3=26,24+26=50")


def test_a_number_that_comes_twice_may_be_used_twice() -> None:
    twice = Countdown.problem([6, 3, 6], 15, None, "twice")
    assert Countdown().correct(twice, "6+6=12,3+12=15")
    assert not Countdown().correct(Countdown.problem([6, 3, 3], 15, None, "once"), "6+6=12,3+12=15")


@given(three=numbers)
def test_whole_numbers_make_every_target_that_fractions_make(three: list[int]) -> None:
    made = set(module._results(module.np.array([three]))[0].tolist()) - {-1}
    positive = {int(value) for value in reachable(three) if value > 0 and value.denominator == 1}
    assert made - {0} == positive


def test_the_table_holds_every_problem_once() -> None:
    table = module._table(12)
    pairs = [
        (tuple(table.numbers[table.members[i]].tolist()), target)
        for target in range(1, 101)
        for i in range(table.start[target], table.start[target + 1])
    ]
    every = {(a, b, c) for c in range(1, 13) for b in range(1, c + 1) for a in range(1, b + 1)}
    expected = {(three, t) for three in every for t in reachable(list(three)) if t in range(1, 101)}
    assert len(pairs) == len(set(pairs)) and set(pairs) == expected
    orders = [len(set(permutations(three))) for three, _ in pairs]
    assert module.np.diff(table.weight).tolist() == orders


def test_fewer_problems_of_a_seed_are_the_first_of_more() -> None:
    many = Countdown().generate(700, 5)
    assert Countdown().generate(3, 5) == many[:3] and Countdown().generate(3, 6) != many[:3]
    assert len({problem.id for problem in many}) == 700


def test_the_splits_never_meet() -> None:
    train, validation = ({key(p) for p in Countdown(split=s, largest=9).generate(2000, 1)} for s in SPLITS)
    assert len(train) > 600 and len(validation) > 50 and not train & validation


def test_targets_are_drawn_evenly_and_numbers_stand_in_any_order() -> None:
    problems = Countdown(split="train").generate(4550, 2)
    counts = Counter(problem.data["target"] for problem in problems)
    assert set(counts) == set(range(10, 101)) and min(counts.values()) > 20 and max(counts.values()) < 90
    rising = sum(problem.data["numbers"] == sorted(problem.data["numbers"]) for problem in problems)
    assert 1 / 7 < rising / len(problems) < 1 / 5  # a sixth, and a little more where numbers are equal


@given(seed=seeds, low=st.integers(10, 40), more=st.integers(0, 20), largest=st.integers(20, 99))
def test_difficulty_is_kept(seed: int, low: int, more: int, largest: int) -> None:
    countdown = Countdown(targets=(low, low + more), largest=20 if largest < 60 else 60)
    for problem in countdown.generate(2, seed):
        assert low <= problem.data["target"] <= low + more and max(problem.data["numbers"]) <= countdown.largest
    assert f"to {countdown.largest} " in countdown.describe and f"of {low} to {low + more};" in countdown.describe


def test_excluded_problems_do_not_come() -> None:
    small = Countdown(targets=(10, 10), largest=12)
    some, *others = sorted({module.known_by(p.data["numbers"], 10) for p in small.generate(100, 0)})
    assert others
    left = replace(small, exclude=frozenset(others)).generate(20, 1)
    assert {module.known_by(p.data["numbers"], 10) for p in left} == {some}
    with pytest.raises(ValueError, match=r"no validation problem with \(10, 10\) as targets is left"):
        replace(small, exclude=frozenset([some, *others])).generate(1, 0)


@given(seed=seeds)
def test_the_texts_are_written_in_the_alphabet(seed: int) -> None:
    tokenizer = FileTokenizer.words(Countdown().alphabet(), ["[EOS]", "[MASK]"])
    for problem in [*Countdown().generate(2, seed), *Sudoku().generate(1, seed)]:
        text = problem.prompt + (problem.answer or "")
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text and len(ids) == len(text)


# the published files --------------------------------------------------------------------------------------------------


def published(data: Path) -> list[Problem]:
    return [problem for name in FILES for problem in Countdown().read(data / "countdown" / f"{name}.jsonl")]


@pytest.mark.parametrize("name", FILES)
def test_the_published_files_are_read(data: Path, name: str) -> None:
    problems = Countdown().read(data / "countdown" / f"{name}.jsonl")
    assert len(problems) == FILES[name] == len({problem.id for problem in problems})


def test_the_search_gives_the_published_answers(data: Path) -> None:
    for problem in Countdown().read(data / "countdown" / "cd3_test.jsonl"):
        plans = module._results(module.np.array([problem.data["numbers"]]))[0]
        first = int((plans == problem.data["target"]).argmax())
        assert module._worked(problem.data["numbers"], first) == problem.answer
        assert Countdown().correct(problem, problem.answer or "")


def test_generated_problems_are_spread_as_the_published_ones(data: Path) -> None:
    theirs = Countdown().read(data / "countdown" / "cd3_test.jsonl")
    held = {problem.data["target"] for problem in theirs}
    ours = [p for p in Countdown(split="train").generate(15_000, 3) if p.data["target"] in held]
    for operator in "+-*/":
        share = [sum((p.answer or "").count(operator) for p in group) / (2 * len(group)) for group in (theirs, ours)]
        assert abs(share[0] - share[1]) < 0.04
    means = [sum(sum(p.data["numbers"]) for p in group) / (3 * len(group)) for group in (theirs, ours)]
    assert abs(means[0] - means[1]) < 3


def test_the_shipped_fingerprints_are_those_of_the_published_problems(data: Path) -> None:
    shipped = json.loads(Path(module.__file__).with_name("countdown_test_hashes.json").read_text())
    known = {module.known_by(p.data["numbers"], p.data["target"]) for p in published(data)}
    assert shipped == sorted(map(fingerprint, known)) and len(shipped) == 1248


def test_no_generated_problem_is_a_published_one(data: Path) -> None:
    held_out = {key(problem) for problem in published(data)}
    easy = [p for p in held_out if max(p[0]) <= 30 and p[1] == 24]  # so few numbers that they would come
    assert len(easy) >= 3
    for split in SPLITS:
        near = Countdown(split=split, targets=(24, 24), largest=30)
        assert not {key(p) for p in near.generate(4000 if split == "train" else 300, 4)} & held_out
        assert not {key(p) for p in Countdown(split=split).generate(300, 4)} & held_out


# bad input ------------------------------------------------------------------------------------------------------------


GOOD = {"input": "15,44,79,50", "output": "44-15=29,79-29=50"}


@pytest.mark.parametrize(
    "bad, message",
    [
        ("{", "not JSON"),
        ({"output": "23"}, "'input' is None and 'output' '23'; they must hold three numbers and a target"),
        ({"input": "15,44,79"}, "'input' is '15,44,79' and 'output' None"),
        ({"input": "15,44,79", "output": "x"}, "three numbers and a target"),
        ({"input": "15,44,79", "output": 50}, "three numbers and a target"),
        ({"input": "15,44,79,0,50"}, "three numbers and a target"),
        ({"input": "15,44,-79,50"}, "each from 1 to 9999"),
        ({"input": "15,44,79,50", "output": "44-15=29,79-29=51"}, "which does not solve '15,44,79,50'"),
        ({"input": "15,44,79,50", "output": 3}, "'output' is 3, which does not solve"),
        ({"input": "1,1,1,50"}, "[1, 1, 1] cannot make 50"),
        ({"input": "1,1,1", "output": "50"}, "[1, 1, 1] cannot make 50"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, bad: object, message: str) -> None:
    path = jsonl(tmp_path / "problems.jsonl", GOOD, bad, GOOD)
    with pytest.raises(ValueError, match=rf"problems\.jsonl, line 2: .*{re.escape(message)}"):
        Countdown().read(path)


def test_both_forms_are_the_same_problem(tmp_path: Path) -> None:
    lines = [GOOD, {"input": "15,44,79,50"}, {"input": "15,44,79", "output": "50"}]
    first, second, third = Countdown().read(jsonl(tmp_path / "problems.jsonl", *lines))
    assert first.prompt == second.prompt == third.prompt == "15,44,79,50\n=\n" and first.data == third.data
    assert (first.answer, second.answer, third.answer) == ("44-15=29,79-29=50", None, None)
    assert Countdown().correct(third, "44-15=29,79-29=50")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"targets": (0, 5)}, "targets is (0, 5); it must be (lowest, highest) with 1 <= lowest <= highest <= 100"),
        ({"targets": (50, 40)}, "targets is (50, 40)"),
        ({"largest": 101}, "largest is 101; it must be from 1 to 100"),
        ({"exclude": frozenset(["1,2,3,6"])}, "exclude holds '1,2,3,6'; write the numbers in rising order"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Countdown(**settings)


def test_bad_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="count is 0; it must be at least 1"):
        Countdown().generate(0, 0)
    with pytest.raises(ValueError, match="seed is -1; it must be at least 0"):
        Countdown().generate(1, -1)
    with pytest.raises(ValueError, match=r"three numbers to 2 make no target in \(50, 60\); raise largest"):
        Countdown(targets=(50, 60), largest=2).generate(1, 0)


# a task by its name ---------------------------------------------------------------------------------------------------


def test_tasks_are_found_by_name_and_settings() -> None:
    found: Task = task("countdown")
    assert found == Countdown() and found.num_masks == 32 and isinstance(found, Task)
    assert task(" countdown : targets = 20-30 , largest=50,split=train") == Countdown(
        targets=(20, 30), largest=50, split="train"
    )
    assert task("countdown:targets=24") == Countdown(targets=(24, 24))


@pytest.mark.parametrize(
    "spec, message",
    [
        ("countdwn", "unknown task 'countdwn': did you mean 'countdown'? known are countdown, rules, sudoku, sums"),
        ("?", "unknown task '?': known are countdown, rules, sudoku, sums"),
        ("countdown:bigest=3", "task countdown has no setting 'bigest': did you mean 'largest'? known are targets, l"),
        ("countdown:exclude=3", "task countdown has no setting 'exclude'"),
        ("countdown:largest", "'largest' is no setting of task countdown, which are key=value"),
        ("countdown:largest=3,largest=4", "task countdown is given largest twice: give it once"),
        ("countdown:largest=x", "largest='x' is not a whole number"),
        ("countdown:targets=a-b", "targets='a-b' is not two whole numbers such as 2-6"),
        ("countdown:targets=2-", "targets='2-' is not two whole numbers such as 2-6"),
        ("countdown:split=dev", "split='dev' is unknown: choose one of train, validation"),
        ("countdown:largest=200", "largest is 200; it must be from 1 to 100"),
    ],
)
def test_a_bad_spec_is_explained(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        task(spec)
