"""MBPP: the published prompt, the published test among a file's tasks, and tests that run in a sandbox."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.namespaces import needs_namespaces
from tests.tasks.sources import hub, jsonl
from unveil.sandbox import Sandbox
from unveil.tasks import MBPP, Benchmark, Problem, Task, task
from unveil.tasks.task import Stopped

# Our own, in the two published forms.
FULL: dict[str, Any] = {
    "task_id": 11,
    "text": "Write a function to double a number.",
    "code": "def twice(n):\r\n  return 2 * n ",
    "test_list": ["assert twice(1) == 2", "assert twice(2) == 4", "assert twice(0) == 0", "assert twice(-1) == -2"],
    "test_setup_code": "",
    "challenge_test_list": ["assert twice(None) == 1"],
}
CLEAN: dict[str, Any] = {
    "source_file": "a",
    "task_id": 12,
    "prompt": "Write a function to halve a number.",
    "code": "import math\ndef half(n):\n    return math.floor(n) / 2\nclass Unused: pass\n",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(half(3), 1.5)"],
}
PAIRS: dict[str, Any] = {
    "task_id": 13,
    "text": "Write a function to find the larger number of a pair.",
    "code": "class Pair:\n  def __init__(self, a, b):\n    self.a, self.b = a, b\n"
    "def max(pair):\n  return pair.a if pair.a > pair.b else pair.b\n",
    "test_setup_code": "pair = Pair(1, 2)\npair.a = 3",
    "test_list": ["assert max(pair) == 3"],
}


@pytest.fixture(scope="module")
def mbpp() -> MBPP:
    """Skips where there are no namespaces."""
    needs_namespaces()
    return MBPP(sandbox=Sandbox())


def shot(number: int) -> dict[str, Any]:
    return {**FULL, "task_id": number, "text": f"Do {number}.", "code": f"def twice(n):\n  return {number}"}


def test_without_shots_the_task_stands_alone(tmp_path: Path) -> None:
    problem, clean = MBPP().read(jsonl(tmp_path / "a.jsonl", FULL, CLEAN))
    assert problem.prompt + problem.prefix == (
        "You are an expert Python programmer, and here is your task: Write a function to double a number. Your code "
        "should pass these tests:\n\nassert twice(1) == 2\nassert twice(2) == 4\nassert twice(0) == 0\n[BEGIN]\n"
    )
    assert problem.prefix == "[BEGIN]\n" and problem.id == "11" and problem.answer == FULL["code"]
    assert clean.prompt.endswith(f"halve a number. Your code should pass these tests:\n\n{CLEAN['test_list'][0]}\n")


def test_the_shots_are_tasks_two_to_four(tmp_path: Path) -> None:
    problems = MBPP().read(jsonl(tmp_path / "a.jsonl", *(shot(n) for n in (1, 4, 3, 2, 5, 10)), FULL, CLEAN))
    assert [problem.id for problem in problems] == ["11", "12"]
    tests = "assert twice(1) == 2\nassert twice(2) == 4\nassert twice(0) == 0\n"
    begin = "You are an expert Python programmer, and here is your task: "
    shots = [
        f"{begin}Do {n}. Your code should pass these tests:\n\n{tests}[BEGIN]\ndef twice(n):\n  return {n}\n[DONE]\n\n"
        for n in (2, 3, 4)
    ]
    asked = f"{begin}{FULL['text']} Your code should pass these tests:\n\n{tests}"
    assert problems[0].prompt == "".join(shots) + asked


def test_of_the_published_tasks_the_test_is_asked(tmp_path: Path) -> None:
    items = [{**FULL, "task_id": number} for number in range(1, 1001)]
    problems = MBPP().read(jsonl(tmp_path / "a.jsonl", *items))
    assert [int(problem.id) for problem in problems] == [*range(11, 511), *range(975, 1001)]


def test_one_json_list_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "sanitized-mbpp.json").write_text(json.dumps([CLEAN, FULL], indent=1))
    assert [problem.id for problem in MBPP().read(tmp_path / "sanitized-mbpp.json")] == ["12", "11"]
    (tmp_path / "b.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"b\.json, item 1: a int, but every item must be an object"):
        MBPP().read(tmp_path / "b.json")


@pytest.mark.parametrize("item", [FULL, CLEAN, PAIRS])
def test_the_answers_pass_and_empty_ones_do_not(tmp_path: Path, mbpp: MBPP, item: dict[str, Any]) -> None:
    (problem,) = mbpp.read(jsonl(tmp_path / "a.jsonl", item))
    assert mbpp.correct(problem, item["code"]) and mbpp.correct(problem, f"{item['code']}\n[DONE]\n\nYou are an expert")
    assert mbpp.correct(problem, f"[BEGIN]\n{item['code']}\n[DONE]")
    assert mbpp.correct(problem, f"Sure:\n```python\n{item['code']}\n```\n[DONE]")
    assert mbpp.correct(problem, f"{item['code']}\n```\nDone.")
    for wrong in ("", "[DONE]" + item["code"], re.sub("return .*", "return None", item["code"]), "exit(0)"):
        assert not mbpp.correct(problem, wrong)


def test_every_test_counts_and_challenges_do_not(tmp_path: Path, mbpp: MBPP) -> None:
    (problem,) = mbpp.read(jsonl(tmp_path / "a.jsonl", FULL))
    assert not mbpp.correct(problem, "def twice(n):\n    return abs(2 * n)")  # the fourth test is not shown


def test_code_is_not_run_without_a_sandbox(tmp_path: Path) -> None:
    (problem,) = MBPP().read(jsonl(tmp_path / "a.jsonl", FULL))
    with pytest.raises(ValueError, match="task mbpp runs code .* only with --allow-code-execution"):
        MBPP().correct(problem, FULL["code"])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "not JSON"),
        ({**FULL, "text": 1}, "'text' or 'prompt' is 1; it must be a text"),
        ({**FULL, "test_setup_code": None}, "'test_setup_code' is None; it must be a text"),
        ({**FULL, "task_id": "11"}, "'task_id' is '11'; it must be a whole number"),
        ({**FULL, "test_list": []}, "'test_list' is missing or empty; it must hold the asserts"),
        ({**FULL, "test_list": "assert"}, "'test_list' is 'assert'; it must be a list of texts"),
        ({**FULL, "code": "x = 1"}, "'test_list' uses nothing that 'code' defines; correct or remove the item"),
        ({**CLEAN, "test_imports": [1]}, "'test_imports' is [1]; it must be a list of texts"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, bad: object, message: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.jsonl, line 2: {re.escape(message)}"):
        MBPP().read(jsonl(tmp_path / "a.jsonl", FULL, bad))


def test_it_is_fetched_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"prompt": [shot(number) for number in range(1, 11)], "test": [FULL, PAIRS]}

    def load_dataset(dataset: str, name: str, *, split: str, revision: str) -> list[dict[str, Any]]:
        assert (dataset, name, len(revision)) == ("google-research-datasets/mbpp", "full", 40)
        return parts[split]

    hub(monkeypatch, load_dataset)
    problems: list[Problem] = MBPP().fetch()
    assert [problem.id for problem in problems] == ["11", "13"]
    assert all(problem.prompt.count("[DONE]") == 3 for problem in problems)


def test_an_answer_to_a_raw_prompt_ends_as_those_of_the_shots_do() -> None:
    """As lm-eval's mbpp.yaml has it."""
    assert MBPP.stops == ("[DONE]",) and isinstance(MBPP(), Stopped)


def test_settings() -> None:
    found: Task = task("mbpp")
    assert found == MBPP() and found.num_masks == 256 and isinstance(found, Benchmark)
    assert task("mbpp:canvas=512").num_masks == 512 and "in a sandbox" in found.describe
    with pytest.raises(ValueError, match="canvas is 0; it must be at least 1"):
        task("mbpp:canvas=0")
