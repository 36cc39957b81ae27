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


def test_a_module_may_change_the_path(write) -> None:
    write("import sys\nsys.path.pop(0)\ndef f(p, t):\n    return 0.5\n")
    assert FunctionJudge.load("my_rewards:f", [PROBLEM])(PROBLEM, "") == 0.5
    write("import sys\nsys.path.pop(0)\n1 / 0\n")
    del sys.modules["my_rewards"]
    with pytest.raises(ValueError, match="^reward my_rewards:f: importing my_rewards raised"):
        FunctionJudge.load("my_rewards:f", [PROBLEM])


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


OWN = "write function(problem, text) in a file here, which gives a bool or a number from 0 to 1"
NO_JUDGES = [
    ("os.path:join", "", f"reward os.path:join: os is of Python's own library, which has no judges: {OWN}"),
    ("shutil:rmtree", "", f"reward shutil:rmtree: shutil is of Python's own library, which has no judges: {OWN}"),
    ("antigravity:x", "", f"reward antigravity:x: antigravity is of Python's own library, which has no judges: {OWN}"),
    ("my_rewards:join", "from os.path import join", "reward my_rewards:join is join of Python's own library, no judge"),
    ("my_rewards:Path", "from pathlib import Path", f"reward my_rewards:Path is a class: {OWN}"),
    ("my_rewards:f", "async def f(p, t): return 1", "my_rewards:f does not give its result at once (it is async, or"),
    ("my_rewards:f", "def f(p, t): yield 1", "reward my_rewards:f does not give its result at once"),
    ("my_rewards:f", "def f(*all): open('called', 'w')", "my_rewards:f takes anything, (*all), so it may be no judge"),
    ("my_rewards:f", "def f(a, *b): open('called', 'w')", "f takes anything, (a, *b), so it may be no judge"),
    ("my_rewards:f", "def f(p): open('called', 'w')", "cannot be called with a problem and a text: too many pos"),
    ("my_rewards:f", "def f(p, t, u): open('called', 'w')", "cannot be called with a problem and a text: missing a"),
    ("torch:equal", "", f"reward torch:equal does not say what it takes: {OWN}"),
    ("torch.nn.functional:mse_loss", "", f"AttributeError: 'str' object has no attribute 'size': {OWN}"),
    ("my_rewards:f", "def f(p, t):", "reward my_rewards:f: importing my_rewards raised IndentationError: expected an"),
]  # fmt: skip


@pytest.mark.parametrize("spec, text, message", NO_JUDGES, ids=[message[:60] for _, _, message in NO_JUDGES])
def test_what_is_no_judge_is_one_sentence_and_is_not_called(
    write, tmp_path: Path, spec: str, text: str, message: str
) -> None:
    write(text)
    with pytest.raises(ValueError) as caught:
        FunctionJudge.load(spec, [PROBLEM])
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "called").exists()


def test_a_file_here_may_have_a_name_of_pythons_library(write, tmp_path: Path) -> None:
    assert "nntplib" not in sys.modules
    (tmp_path / "nntplib.py").write_text("def score(problem, text):\n    return 0.25\n")
    try:
        assert FunctionJudge.load("nntplib:score", [PROBLEM])(PROBLEM, "") == 0.25
    finally:
        sys.modules.pop("nntplib", None)


NUMBERS = {
    "np.bool_(True)": 1.0, "np.bool_(False)": 0.0, "np.float32(0.5)": 0.5, "np.float16(1)": 1.0, "np.int64(1)": 1.0,
    "np.uint8(0)": 0.0, "np.array(0.5)": 0.5, "np.array(True)": 1.0, "torch.tensor(0.5)": 0.5,
    "torch.tensor(True)": 1.0, "torch.tensor(0.5, requires_grad=True)": 0.5, "True": 1.0, "Fraction(1, 2)": 0.5,
}  # fmt: skip
IMPORTS = "import numpy as np, torch\nfrom fractions import Fraction\n"


@pytest.mark.parametrize(("value", "number"), NUMBERS.items(), ids=NUMBERS)
def test_numbers_of_other_libraries_are_taken(write, value: str, number: float) -> None:
    write(f"{IMPORTS}def f(problem, text):\n    return {value}\n")
    got = FunctionJudge.load("my_rewards:f", [PROBLEM])(PROBLEM, "x")
    assert got == number and type(got) is float


NO_NUMBERS = {
    "np.array([0.5, 0.5])": "of type numpy.ndarray: return a bool, or", "np.str_('1')": "of type str: return a bool",
    "np.float32('nan')": "returned nan: return", "10**400": "it returned inf: return", "[0.5]": "of type list: return",
    "torch.zeros((), device='meta')": "it raised", "'x' * 9999": "xxx of type str: return a bool",
}  # fmt: skip


@pytest.mark.parametrize(("value", "told"), NO_NUMBERS.items(), ids=NO_NUMBERS)
def test_what_is_no_number_is_named(write, value: str, told: str) -> None:
    write(f"{IMPORTS}def f(problem, text):\n    return {value}\n")
    with pytest.raises(ValueError) as caught:
        FunctionJudge.load("my_rewards:f", [PROBLEM])
    assert told in str(caught.value) and len(str(caught.value)) < 2000


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
