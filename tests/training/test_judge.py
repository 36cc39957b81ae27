"""A user's reward function: found where it lies, tried before anything is trained, and told what is wrong with it."""

import sys
from pathlib import Path

import pytest

from unveil.tasks.puzzles.sums import Sums
from unveil.tasks.task import Problem
from unveil.training.judge import FunctionJudge, TaskJudge

PROBLEM = Problem(prompt="2+2=", answer="4", id="p7", data={"sum": 4})


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a module into the current folder; it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    known = set(sys.modules)

    def module(text: str) -> None:
        (tmp_path / "my_rewards.py").write_text(text)

    yield module
    for name in set(sys.modules) - known:
        if name == "my_rewards":
            del sys.modules[name]


def test_a_task_judges() -> None:
    task = Sums()
    problem = task.generate(1, 0)[0]
    judge = TaskJudge(task=task)
    assert problem.answer is not None
    assert judge(problem, problem.answer) == 1.0 and judge(problem, "?") == 0.0


def test_a_function_of_a_file_in_this_folder(write) -> None:
    path = list(sys.path)
    write("def score(problem, text):\n    return text == str(problem.data['sum'])\ndef half(p, t):\n    return 0.5\n")
    judge = FunctionJudge.load("my_rewards:score", [PROBLEM])
    assert judge(PROBLEM, "4") == 1.0 and judge(PROBLEM, "5") == 0.0
    assert FunctionJudge.load("my_rewards:half", [PROBLEM])(PROBLEM, "") == 0.5
    assert sys.path == path


AT_START = [
    ("my_rewards", "x = 1", "reward 'my_rewards' is not module:function, for example my_rewards:score"),
    ("no_such_rewards:f", "", "reward no_such_rewards:f: there is no module 'no_such_rewards' here: run where"),
    ("my_rewards:scor", "def score(a, b): ...", "has no function 'scor': did you mean 'score'?"),
    ("my_rewards:x", "x = 1", "has no function 'x': it has none"),
    ("my_rewards:f", "def f(text): ...", "cannot be called with a problem and a text: too many positional arguments"),
    ("my_rewards:f", "import no_such_thing", "No module named 'no_such_thing'"),
    ("my_rewards:f", "1 / 0", "importing my_rewards raised"),
    ("my_rewards:f", "def f(p, t):\n    return float(t)", "reward my_rewards:f, problem p7, answer '': it raised"),
    ("my_rewards:f", "def f(p, t):\n    return float('nan')", "answer '': it returned nan: return a bool, or a number"),
    ("my_rewards:f", "def f(p, t):\n    return 2 * len(t)", "answer '4': it returned 2.0: return a bool, or a number"),
    ("my_rewards:f", "def f(p, t):\n    return -1", "it returned -1.0: return a bool, or a number from 0 to 1"),
    ("my_rewards:f", "def f(p, t): ...", "it returned None of type NoneType: return a bool, or a number from 0 to 1"),
]


@pytest.mark.parametrize("spec, text, message", AT_START, ids=[message[:40] for _, _, message in AT_START])
def test_what_is_wrong_is_said_at_start(write, spec: str, text: str, message: str) -> None:
    write(text)
    with pytest.raises(ValueError) as caught:
        FunctionJudge.load(spec, [PROBLEM])
    assert message in str(caught.value)


def test_a_traceback_shows_the_users_line_and_nothing_of_ours(write) -> None:
    write("def inner(t):\n    return 1 / len(t[1:])\ndef f(p, t):\n    return inner(t) if len(t) == 1 else 1\n")
    with pytest.raises(ValueError) as caught:
        FunctionJudge.load("my_rewards:f", [PROBLEM])
    told = str(caught.value)
    assert "return 1 / len(t[1:])" in told and told.endswith("ZeroDivisionError: division by zero")
    assert "judge.py" not in told and isinstance(caught.value.__cause__, ZeroDivisionError)


def test_one_that_raises_later_names_the_problem_and_a_short_answer(write) -> None:
    write("def f(p, t):\n    return 1 if len(t) < 9 else t.missing\n")
    judge = FunctionJudge.load("my_rewards:f", [PROBLEM])
    with pytest.raises(ValueError, match="problem p7, answer 'x{300}': it raised"):
        judge(PROBLEM, "x" * 1000)
