"""Both judges of each family on the golden tables, and on texts made to hang, crash or run code."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.limits import slowness
from tests.tasks.grading.tables import COUNTDOWN, MATHEMATICS, NUMBERS, Case
from unveil.tasks import GSM8K, CountdownText, Math500, Problem, SudokuText, Verdict
from unveil.tasks.grading.published import BEYOND

PROBLEM = Problem(prompt="", answer=None, id="1")
GSM, MATH, COUNT, SUDOKU = GSM8K(), Math500(), CountdownText(), SudokuText()


def countdown(gold: str) -> Problem:
    numbers, _, target = gold.partition(" = ")
    data = {"numbers": [int(number) for number in numbers.split(",")], "target": int(target)}
    return Problem(prompt="", answer=None, id="1", data=data)


def of(gold: str) -> Problem:
    return Problem(prompt="", answer=None, id="1", data={"gold": gold})


def name(case: Case) -> str:
    return f"{case.gold}|{case.text}"


@pytest.mark.parametrize("case", NUMBERS, ids=name)
def test_numbers(case: Case) -> None:
    problem = of(case.gold)
    assert (GSM.correct(problem, case.text), GSM.compat(problem, case.text)) == (case.strict, Verdict(case.compat))


@pytest.mark.parametrize("case", MATHEMATICS, ids=name)
def test_mathematics(case: Case) -> None:
    problem = of(case.gold)
    assert (MATH.correct(problem, case.text), MATH.compat(problem, case.text)) == (case.strict, Verdict(case.compat))


@pytest.mark.parametrize("case", COUNTDOWN, ids=name)
def test_expressions(case: Case) -> None:
    problem = countdown(case.gold)
    judged = COUNT.correct(problem, case.text), COUNT.compat(problem, case.text)
    assert judged == (case.strict, BEYOND if "98**97" in case.text else Verdict(case.compat))


def test_the_tables_are_long_enough_and_say_both() -> None:
    for table in (NUMBERS, MATHEMATICS, COUNTDOWN):
        assert len({(case.gold, case.text) for case in table}) == len(table) >= 60
        assert {(case.strict, case.compat) for case in table} == {(a, b) for a in (True, False) for b in (True, False)}


# Texts of the worst kind ----------------------------------------------------------------------------------------------

SEVEN = countdown("1,2,4 = 7")
JUDGES: dict[str, Callable[[str], object]] = {
    "numbers": lambda text: (GSM.correct(of("7"), text), GSM.compat(of("7"), text)),
    "mathematics, published": lambda text: MATH.compat(of("7"), text),
    "expressions": lambda text: (COUNT.correct(SEVEN, text), COUNT.compat(SEVEN, text)),
    "sudoku": lambda text: SUDOKU.correct(Problem(prompt="", answer=None, id="1", data={"givens": "0" * 16}), text),
}  # fmt: skip
PIECES = [
    "(", ")", "{", "}", "-", "+", "*", "**", "/", "//", ".", ",", "=", " ", "\n", "\0", "9", "1,", "1 ", "1=", "=1",
    "$", "\\", "٣", "²", "\ud800", r"\boxed{", r"\boxed ", r"\boxed", r"\fbox{", "<answer>", "</answer>",
    "<answer></answer>", r"\frac", r"\frac{", r"\sqrt", r"\text{ ", r"\text{", r"\left", "^{", "()", "1+", "(1)",
    "1**", "9**9",
]  # fmt: skip


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("around", ["{}", r"\boxed{{{}}}", "<answer>{}</answer>", "{} x=1"])
def test_very_long_texts_are_judged_at_once(judge: str, around: str) -> None:
    for piece in PIECES:
        text = around.format(piece * (10**5 // len(piece)))
        began = time.process_time()
        JUDGES[judge](text)
        assert time.process_time() - began < slowness(), repr(piece)


@pytest.mark.parametrize("judge", JUDGES)
@given(text=st.lists(st.sampled_from([*PIECES, "1", "2", "4", "7", "a", "x"]), max_size=40).map("".join) | st.text())
def test_any_text_is_judged(judge: str, text: str) -> None:
    began = time.process_time()
    JUDGES[judge](text)
    JUDGES[judge](rf"\boxed{{{text}}}")
    assert time.process_time() - began < slowness()


@pytest.mark.parametrize("expression", [
    "9**9**9**9", "2**99999", "(2**9999)**9999", "-9**9**9", "9**9**99", "(" * 600 + "9,9,9,9" + ")" * 600,
])  # fmt: skip
def test_what_is_beyond_bounds_is_wrong_and_said(expression: str) -> None:
    numbers = ",".join(digits for digits in expression.replace("**", " ").replace("(", "").replace(")", "").split())
    text = expression.replace(",", "+")
    assert COUNT.compat(countdown(f"{numbers.replace('-', '')} = 7"), rf"\boxed{{{text}}}") == BEYOND


@pytest.mark.parametrize(
    "text", ["__import__('os').system('exit')", "exit()", "[].__class__", "open('x','w')", "lambda:7"]
)
def test_nothing_is_run(text: str) -> None:
    for judged in (COUNT.correct, COUNT.compat):
        found = judged(countdown("7 = 7"), rf"\boxed{{{text}}}")
        assert not (found.right if isinstance(found, Verdict) else found)


def test_sudoku_in_words() -> None:
    problem = Problem(prompt="", answer=None, id="1", data={"givens": "1000000240030000"})
    right = "1234341241232341"
    for text in (f"<answer>{right}</answer>", "<answer>\n1234\n3412\n4123\n2341\n</answer>", rf"\boxed{{{right}}}",
                 f"<answer>{right}</answer> <answer>1</answer>", f"<answer>{right}</answer><answer></answer>",
                 f"<answer>{right}</answer> \\boxed{{1}}"):  # fmt: skip
        assert SUDOKU.correct(problem, text)
    for text in (right, f"<answer>{right}", f"<answer>{right}1</answer>", f"<answer>{right[:-1]}</answer>",
                 "<answer>1243341241232341</answer>", "<answer>2143341212344321</answer>",
                 f"<answer>1</answer><answer>{right}</answer>", f"<answer>{'0' * 16}</answer>"):  # fmt: skip
        assert not SUDOKU.correct(problem, text)
