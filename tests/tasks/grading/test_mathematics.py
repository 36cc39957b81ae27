"""Mathematics in a child process: equal is equal, what takes too long is wrong, and the next pair finds a new child."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from unveil.tasks import Math500
from unveil.tasks.grading import mathematics
from unveil.tasks.grading.mathematics import LONGEST, equal


@pytest.fixture(scope="module")
def child() -> Iterator[mathematics._Child]:
    """The one that `equal` uses."""
    yield mathematics._child()


def golds(data: Path) -> list[str]:
    return [json.loads(line)["answer"] for line in (data / "math500" / "test.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.slow
def test_every_right_answer_equals_itself_as_math_verify_reads_it(data: Path, child: mathematics._Child) -> None:
    assert [gold for gold in golds(data) if not child.equal(gold, gold)] == []


def test_some_right_answers_equal_themselves_but_not_each_other(data: Path, child: mathematics._Child) -> None:
    some = golds(data)[::17]
    assert [gold for gold in some if not child.equal(gold, gold)] == []
    wrong = {(one, other) for one, other in zip(some, some[1:], strict=False) if equal(one, other)}
    assert {(one, other) for one, other in wrong if one != other} == set()


def test_every_whole_number_plus_one_is_wrong(data: Path) -> None:
    numbers = [gold for gold in golds(data) if gold.isdecimal()]
    assert len(numbers) > 250 and not any(equal(str(int(gold) + 1), gold) for gold in numbers)


@pytest.mark.parametrize(("answer", "gold"), [
    (r"x \le 0", r"(-\infty, 0]"), (r"(-\infty, 0]", r"x \le 0"), ("1+x", "x+1"), (r"\cos x", r"\cos (x)"),
    ("7!", "5040"), (r"\{2, 1\}", "1,2"), (r"6.72 \times 10^{-5}", ".0000672"), ("an\n ", "an"),
    (r"\sqrt{8}", r"2\sqrt2"),
])  # fmt: skip
def test_equal(answer: str, gold: str) -> None:
    assert equal(answer, gold)


SEEN_TO = r"""
52_{8} = 52_8; 52_{\text{eight}} = 52_8; \text{52}_8 = 52_8; 42_{10} = 42; 1.5 million = 1500000; 2 dozen = 24
8 cm² = 8; 8 cm^2 = 8; 4,200 plates = 4200; 2:00 pm = 2; \(4,200\) = 4200; 29¢ = 29; \pounds 18 = 18; 1 250 = 1250
pi/2 = \frac{\pi}{2}; 2**3 = 8; [0,oo) = [0,\infty); √3 = \sqrt3; x²+1 = x^2+1; 3:00 = 3:00
\approx 3.14 = \approx 3.14; 2,1 = 1,2
52 != 52_8; 52_8 != 52; 52_9 != 52_8; [1,2] != 1,2; (1,2) != 1,2; 1,2 != (1,2); \{1,2\} != [1,2]; \{1,2\} != (1,2)
2 dozen != 2; 1.5 million != 1.5; 5x != 5; 4 less than x != 4; \approx 5 != 5; 3:00 != 3; 2:30 pm != 2
3 and a half != 3
"""  # what math-verify overlooks
PAIRS = [pair.strip() for line in SEEN_TO.strip().split("\n") for pair in line.split(";")]


@pytest.mark.parametrize("pair", PAIRS)
def test_what_math_verify_overlooks(pair: str) -> None:
    sign = " != " if " != " in pair else " = "
    answer, gold = pair.split(sign)
    assert equal(answer, gold) == (sign == " = ")


@pytest.mark.parametrize(
    "answer", ["", ".", "}{", "\0", "\ud800", r"\boxed{", "{" * 20, "$" * 20, "(" * 20, "7" * 301, "\\"]
)
def test_no_mathematics_is_wrong(answer: str) -> None:
    assert not equal(answer, "x+1")


def test_too_long_is_wrong_and_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mathematics, "_child", lambda: pytest.fail("asked"))
    assert not equal("x+" * (LONGEST // 2) + "1", "x+1")
    assert not equal("3", "4") and equal("3.0", "3") and equal("x", "x") and not equal("0.3333333", r"\frac13")


def test_what_takes_too_long_is_wrong_and_the_next_pair_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mathematics, "SECONDS", 0.5)
    child = mathematics._Child()
    for _ in range(2):
        assert child.equal("1+x", "x+1")
        process, began = child.process, time.monotonic()
        assert not child.equal("9^{9^{9}}", "7")
        assert time.monotonic() - began < 30 and process is not None and process.poll() is not None


def test_a_child_that_was_killed_is_replaced(child: mathematics._Child) -> None:
    assert equal("1+x", "x+1") and child.process is not None
    child.process.kill()
    child.process.wait()
    assert not equal("1+x", "x+1")  # this pair is lost: its process may have ended over it
    assert equal("1+x", "x+1")


def test_other_threads_may_ask(child: mathematics._Child) -> None:
    found: list[bool] = []
    threads = [Thread(target=lambda n=n: found.append(equal(f"x+{n}", f"{n}+x"))) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 6


def test_without_math_verify_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mathematics, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"^answers of mathematics are judged by math-verify: pip install 'unveil\[tasks\]'$"
    ):
        Math500()


def test_a_child_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(ValueError, match="^math-verify does not start: `python -m unveil.tasks.grading.compare"):
        mathematics._Child().equal("1", "x")


def test_a_pair_that_was_interrupted_is_not_answered_later(monkeypatch: pytest.MonkeyPatch) -> None:
    child, asked = mathematics._Child(), mathematics._asked
    assert child.equal("x", "x")

    def interrupted(process: Any, line: str) -> str:
        assert process.stdin is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()
        raise KeyboardInterrupt

    monkeypatch.setattr(mathematics, "_asked", interrupted)
    with pytest.raises(KeyboardInterrupt):
        child.equal("x", "x")
    monkeypatch.setattr(mathematics, "_asked", asked)
    assert not child.equal("x", "y")
