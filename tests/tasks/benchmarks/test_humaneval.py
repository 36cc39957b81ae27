"""HumanEval: the published file is read, published answers pass, and code runs only in a sandbox."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.namespaces import needs_namespaces
from tests.tasks.sources import hub, jsonl
from unveil.sandbox import Sandbox
from unveil.tasks import Benchmark, HumanEval, Problem, Task, task

ITEM = {
    "task_id": "Own/0",
    "prompt": 'def twice(n):\n    """Two times n."""\n',
    "entry_point": "twice",
    "canonical_solution": "    return 2 * n\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(0) == 0\n",
}


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    """Skips where there are no namespaces."""
    needs_namespaces()
    return Sandbox()


def published(data: Path, **settings: Any) -> list[Problem]:
    return HumanEval(**settings).read(data / "humaneval" / "HumanEval.jsonl.gz")


def test_the_published_file(data: Path, tmp_path: Path) -> None:
    problems = published(data)
    assert [problem.id for problem in problems] == [f"HumanEval/{number}" for number in range(164)]
    assert all(problem.prompt.endswith('"""\n') or problem.prompt.endswith("'''\n") for problem in problems)
    plain = tmp_path / "plain.jsonl"
    plain.write_bytes(gzip.decompress((data / "humaneval" / "HumanEval.jsonl.gz").read_bytes()))
    assert HumanEval().read(plain) == problems


def test_two_forms_of_the_question(tmp_path: Path) -> None:
    path, code = jsonl(tmp_path / "a.jsonl", ITEM), ITEM["prompt"]
    (problem,) = HumanEval().read(path)
    assert (problem.prompt, problem.prefix, problem.answer) == (code, "", ITEM["canonical_solution"])
    (problem,) = HumanEval(form="instruct").read(path)
    assert problem.prompt == (
        f"Write a solution to the following problem and make sure that it passes the tests:\n```python\n{code}\n```\n"
    )
    assert problem.prefix == f"Here is the completed function:\n```python\n{code}\n"


@pytest.mark.parametrize("form", ["complete", "instruct"])
def test_an_answer_is_judged_by_running_it(tmp_path: Path, sandbox: Sandbox, form: Any) -> None:
    humaneval = HumanEval(form=form, sandbox=sandbox)
    (problem,) = humaneval.read(jsonl(tmp_path / "a.jsonl", ITEM))
    assert humaneval.correct(problem, "    return 2 * n\n```\nDone.")
    assert humaneval.correct(problem, "```python\ndef twice(n):\n    return n + n\n```")
    for wrong in ("    return n * n * n\n", "    return None\n", "", "    exit(0)\n", "    import os; os._exit(0)\n"):
        assert not humaneval.correct(problem, wrong)
    assert not humaneval.correct(problem, "    return 1\n\nclass A:\n    def check(candidate): pass")


def test_code_is_not_run_without_a_sandbox(tmp_path: Path) -> None:
    (problem,) = HumanEval().read(jsonl(tmp_path / "a.jsonl", ITEM))
    with pytest.raises(ValueError, match="runs code that a model wrote: it does so only with --allow-code-execution"):
        HumanEval().correct(problem, f"    open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("number", [0, 10, 32, 38, 50, 64, 134])  # helpers, text between functions, other signs
def test_some_published_answers_pass(data: Path, sandbox: Sandbox, number: int) -> None:
    problem = published(data)[number]
    assert HumanEval(sandbox=sandbox).correct(problem, problem.answer or "")
    assert not HumanEval(sandbox=sandbox).correct(problem, "    return None\n")


@pytest.mark.slow
def test_all_published_answers_pass_and_none_is_wrong(data: Path, sandbox: Sandbox) -> None:
    humaneval, problems = HumanEval(sandbox=sandbox), published(data)
    assert [problem.id for problem in problems if not humaneval.correct(problem, problem.answer or "")] == []
    assert [problem.id for problem in problems if humaneval.correct(problem, "    return None\n")] == []


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "a.jsonl, line 2: not JSON"),
        ("[]", "a.jsonl, line 2: a list, but every line must be an object"),
        ({**ITEM, "prompt": 1}, "a.jsonl, line 2: 'prompt' is 1; it must be a text"),
        ({**ITEM, "test": None}, "a.jsonl, line 2: 'test' is None"),
        ({**ITEM, "entry_point": "a; b"}, "line 2: 'entry_point' is 'a; b'; it must be the name of a function"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, bad: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        HumanEval().read(jsonl(tmp_path / "a.jsonl", ITEM, bad, ITEM))


@pytest.mark.parametrize("cut", [8, -5])
def test_a_broken_archive_is_named(tmp_path: Path, cut: int) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(json.dumps(ITEM).encode())[:cut])
    with pytest.raises(ValueError, match=r"a\.gz is neither JSON lines, plain or in gzip, nor a JSON list"):
        HumanEval().read(tmp_path / "a.gz")


def test_it_is_fetched_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[tuple[object, ...]]()

    def load_dataset(*names: object, split: str, revision: str) -> list[dict[str, str]]:
        asked.append((*names, split, len(revision)))
        return [ITEM]

    hub(monkeypatch, load_dataset)
    (problem,) = HumanEval().fetch()
    assert problem.id == "Own/0" and asked == [("openai/openai_humaneval", "test", 40)]


def test_settings() -> None:
    found: Task = task("humaneval:canvas=256,form=instruct")
    assert found == HumanEval(canvas=256, form="instruct") and found.num_masks == 256
    assert isinstance(found, Benchmark) and HumanEval().num_masks == 512
    assert "instruct form" in found.describe and "in a sandbox" in found.describe
    with pytest.raises(ValueError, match="canvas is 0; it must be at least 1"):
        task("humaneval:canvas=0")
    with pytest.raises(ValueError, match="form='chat' is unknown: choose one of complete, instruct"):
        task("humaneval:form=chat")
    with pytest.raises(ValueError, match="task humaneval has no setting 'sandbox': .*known are canvas, form"):
        task("humaneval:sandbox=none")
