"""Benchmarks asked in words: the published prompts, the files as they are, right answers right, broken files named."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tasks.sources import hub
from unveil import catalogue
from unveil.tasks import (
    GSM8K,
    SVAMP,
    Benchmark,
    Compared,
    Countdown,
    CountdownText,
    Generated,
    Math500,
    Problem,
    Sudoku,
    SudokuText,
    Task,
    generated,
    task,
)

Item = dict[str, Any]

ABLE = {  # what each can do beside being a task
    "sudoku": {Generated}, "countdown": {Generated}, "sums": {Generated}, "rules": {Generated},
    "gsm8k": {Benchmark, Compared}, "math500": {Benchmark, Compared}, "svamp": {Benchmark, Compared},
    "countdown-text": {Generated, Compared}, "sudoku-text": {Generated},
}  # fmt: skip
ASKED = ["gsm8k", "math500", "svamp", "countdown-text", "sudoku-text"]


@pytest.mark.parametrize("name", ABLE)
def test_what_a_task_can_do(name: str) -> None:
    found = task(name)
    assert isinstance(found, Task) and found.name == name and found.num_masks > 0 and found.describe
    assert {kind for kind in (Generated, Benchmark, Compared) if isinstance(found, kind)} == ABLE[name]
    assert set(ABLE) <= set(catalogue.tasks())


def test_a_task_that_makes_no_problems() -> None:
    assert generated(task("sums"), "") == task("sums")
    with pytest.raises(ValueError, match="^task gsm8k cannot make problems: give a file$"):
        generated(GSM8K(), "give a file")


@pytest.mark.parametrize("name", ASKED)
def test_the_canvas_is_a_setting(name: str) -> None:
    assert task(name).num_masks == 256 and task(f"{name}:canvas=512").num_masks == 512
    with pytest.raises(ValueError, match="^canvas is 0; it must be at least 1$"):
        task(f"{name}:canvas=0")


# The words ------------------------------------------------------------------------------------------------------------

EXPERT = (
    "You are a math expert. You will be given a question to solve. Solve it step by step. Wrap the final answer in a"
)
STEPS = "<reasoning>\nYour reasoning here\n</reasoning>\n"
FORM = f"Respond in the following format:\n{STEPS}<answer>\n\\boxed{{...}}\n</answer>"
PROMPTS = {  # as the released code makes them
    "gsm8k": f"{EXPERT} \\boxed{{}}. \n{FORM}\n\nHow many?",
    "math500": f'{EXPERT} \\boxed{{}}.\n{FORM}" \n\n\nHow many?',
    "svamp": f'{EXPERT} \\boxed{{}}.\n{FORM}" \n\n\nTom has 2 eggs. How many?',
    "countdown-text": "Using only the provided numbers, create an arithmetic expression that evaluates to exactly the "
    "provided target number. You may use the operations +, -, *, and / as needed, but each number must be used exactly "
    "once. Think step-by-step. After reasoning, provide only your final expression inside \\boxed{} tags without "
    f"including an equals sign or the target number. For example: \\boxed{{a + b * c}}{FORM}\n\n"
    "Numbers: [30, 100, 93]\nTarget: 23",
    "sudoku-text": "\nPlease solve the following 4x4 Sudoku puzzle. The puzzle is provided as a 16-character string "
    "reading left-to-right, top-to-bottom, where '0' represents empty cells.\n\nRules:\n- Fill empty cells with digits "
    "1-4\n- Each row must contain digits 1-4 exactly once\n- Each column must contain digits 1-4 exactly once\n- Each "
    "2x2 box must contain digits 1-4 exactly once\n\nImportant: Your solution must be a COMPLETE 16-character string "
    "with only the digits 1-4, representing your final solved grid.\n\nRespond in this exact format:\n<reasoning>\n"
    "Your step-by-step solving process\n</reasoning>\n<answer>\n[16-character solution string with no spaces or "
    "separators]\n</answer>\n\n\nSolve the following Sudoku puzzle: 1000000240030000\n",
}
ITEMS: dict[str, Item] = {
    "gsm8k": {"question": "How many?", "answer": "2+3=<<2+3=5>>5\n#### 5"},
    "math500": {"problem": "How many?", "solution": "$5$", "answer": "5", "unique_id": "test/algebra/1.json"},
    "svamp": {"ID": "chal-1", "Body": "Tom has 2 eggs.", "Question": "How many?", "Answer": 2.0, "Equation": "2"},
    "countdown-text": {"input": "30,100,93", "output": "23"},
    "sudoku-text": {"input": "1000\n0002\n4003\n0000", "output": "1234\n3412\n4123\n2341"},
}


def write(folder: Path, name: str, items: list[Item]) -> Path:
    """A file as the task reads it."""
    path = folder / "a.json"
    text = json.dumps(items) if name == "svamp" else "\n".join(map(json.dumps, items))
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("name", ASKED)
def test_the_words_are_the_published_ones(name: str, tmp_path: Path) -> None:
    (problem,) = task(f"{name}:split=all" if name == "svamp" else name).read(write(tmp_path, name, [ITEMS[name]]))
    assert (problem.prompt, problem.prefix) == (PROMPTS[name], "<reasoning>")


def test_an_answer_is_worked_in_the_form_that_is_asked_for(tmp_path: Path) -> None:
    (problem,) = GSM8K().read(write(tmp_path, "gsm8k", [ITEMS["gsm8k"]]))
    assert problem.answer == "2+3=5\n</reasoning>\n<answer>\n\\boxed{5}\n</answer>"
    assert (problem.id, problem.data) == ("a:1", {"gold": "5"})


@pytest.mark.parametrize("name", ASKED)
def test_the_last_box_goes_before_the_answer_tag(name: str, tmp_path: Path) -> None:
    found = task(f"{name}:split=all" if name == "svamp" else name)
    assert r"the last \boxed{...}, else <answer>, " in found.describe
    (problem,) = found.read(write(tmp_path, name, [ITEMS[name]]))
    answer = {"countdown-text": "30-(100-93)", "sudoku-text": "1234341241232341", "svamp": "2"}.get(name, "5")
    assert found.correct(problem, rf"\boxed{{0}} \boxed{{{answer}}} <answer>0</answer>")
    assert found.correct(problem, f"<answer>{answer}</answer> <answer>0</answer>")
    assert not found.correct(problem, rf"\boxed{{0}} <answer>{answer}</answer>")


# The files ------------------------------------------------------------------------------------------------------------


def right(tasks: Task, problems: list[Problem]) -> int:
    return sum(tasks.correct(problem, problem.answer or "") for problem in problems)


def test_gsm8k_has_only_right_answers(data: Path) -> None:
    gsm8k, commas, negative = GSM8K(), 14, 2
    problems = gsm8k.read(data / "gsm8k" / "test.jsonl")
    assert right(gsm8k, problems) == len(problems) == 1319
    golds = [problem.data["gold"] for problem in problems]
    lost = [gold for problem, gold in zip(problems, golds, strict=True)
            if not gsm8k.compat(problem, problem.answer or "").right]  # fmt: skip
    assert len([gold for gold in lost if "," in gold]) == commas and len([g for g in lost if g[0] == "-"]) == negative
    assert len(lost) == commas + negative
    plain = [
        gsm8k.compat(problem, rf"\boxed{{{gold.replace(',', '')}}}").right
        for problem, gold in zip(problems, golds, strict=True)
    ]
    assert plain.count(False) == negative


def test_gsm8k_knows_a_wrong_answer(data: Path) -> None:
    gsm8k = GSM8K()
    for problem in gsm8k.read(data / "gsm8k" / "test.jsonl"):
        gold = int(problem.data["gold"].replace(",", ""))
        for wrong in (gold + 1, gold - 1, -gold or 1, gold * 10 or 10, gold + 0.5):
            assert (
                not gsm8k.correct(problem, rf"\boxed{{{wrong}}}")
                and not gsm8k.compat(problem, rf"\boxed{{{wrong}}}").right
            )


def test_math500_has_only_right_answers(data: Path) -> None:
    math500 = Math500()
    problems = math500.read(data / "math500" / "test.jsonl")
    assert right(math500, problems) == len({problem.id for problem in problems}) == 500
    assert all(math500.compat(problem, problem.answer or "").right for problem in problems)
    assert not any(math500.compat(problem, rf"\boxed{{1+{problem.data['gold']}}}").right for problem in problems)


def test_svamp_has_the_published_splits(data: Path) -> None:
    path = data / "svamp" / "SVAMP.json"
    found = {split: SVAMP(split=split).read(path) for split in ("test", "train", "all")}
    assert {split: len(problems) for split, problems in found.items()} == {"test": 300, "train": 700, "all": 1000}
    ids = {split: [problem.id for problem in problems] for split, problems in found.items()}
    assert ids["test"][:2] == ["chal-736", "chal-162"] and "chal-777" in ids["train"]  # the hub's first rows
    assert sorted(ids["test"] + ids["train"]) == sorted(ids["all"])
    svamp = SVAMP()
    for problem in found["all"]:
        answer, gold = problem.answer or "", int(problem.data["gold"])
        assert svamp.correct(problem, answer) and svamp.compat(problem, answer).right
        assert not svamp.correct(problem, rf"\boxed{{{gold + 1}}}")
        assert not svamp.compat(problem, rf"\boxed{{{gold + 1}}}").right


@pytest.mark.parametrize("file", ["cd3_test", "countdown_cd3_test"])
def test_countdown_in_words_is_countdown(data: Path, file: str) -> None:
    path, words = data / "countdown" / f"{file}.jsonl", CountdownText()
    problems, plain = words.read(path), Countdown().read(path)
    assert [(problem.id, problem.data) for problem in problems] == [(one.id, one.data) for one in plain]
    for problem in problems:
        numbers, answer = problem.data["numbers"], problem.answer
        assert problem.prompt.endswith(f"\n\nNumbers: {numbers}\nTarget: {problem.data['target']}")
        if answer is not None:
            assert words.correct(problem, answer) and words.compat(problem, answer).right
            for wrong in (answer.replace("}", "+1}"), answer.replace(str(numbers[0]), "100")):
                assert not words.correct(problem, wrong) and not words.compat(problem, wrong).right


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.sampled_from(["train", "validation"]))
def test_generated_problems_are_those_without_words(seed: int, split: Any) -> None:
    pairs: list[tuple[Any, Generated]] = [
        (CountdownText(split=split), Countdown(split=split)), (SudokuText(split=split), Sudoku(split=split)),
    ]  # fmt: skip
    for words, plain in pairs:
        for problem, one in zip(words.generate(3, seed), plain.generate(3, seed), strict=True):
            assert (problem.id, problem.data) == (one.id, one.data)
            assert words.correct(problem, problem.answer) and not words.correct(problem, one.answer or "")


@pytest.mark.parametrize("givens", [4, 12])
def test_sudoku_in_words_is_sudoku(data: Path, givens: int) -> None:
    words = SudokuText()
    problems = words.read(data / "sudoku" / f"sudoku_4x4_{givens}.jsonl")
    assert right(words, problems) == len(problems) == 108
    for problem in problems:
        assert problem.prompt.endswith(f"\n\nSolve the following Sudoku puzzle: {problem.data['givens']}\n")


# What is broken -------------------------------------------------------------------------------------------------------

BROKEN: list[tuple[str, Item, str]] = [
    ("gsm8k", {"question": None}, r"'question' is None; it must be a text"),
    ("gsm8k", {"question": " "}, r"'question' is ' '; it must be a text"),
    ("gsm8k", {"answer": 5}, r"'answer' is 5; it must be a text"),
    ("gsm8k", {"answer": "It is 5."}, r"'answer' ends in 'It is 5\.'; it must end in '#### ' and a number"),
    ("gsm8k", {"answer": "#### five"}, r"'answer' ends in '#### five'; it must end in '#### ' and a number"),
    ("math500", {"answer": ["5"]}, r"'answer' is \['5'\]; it must be a text"),
    ("math500", {"solution": None}, r"'solution' is None; it must be a text"),
    ("math500", {"unique_id": None}, r"'unique_id' is None; it must be a text"),
    ("svamp", {"Body": 1}, r"'Body' is 1; it must be a text"),
    ("svamp", {"Answer": None}, r"'Answer' is None; it must be a number"),
    ("svamp", {"Answer": "two"}, r"'Answer' is 'two'; it must be a number"),
    ("svamp", {"Answer": "1/2"}, r"'Answer' is '1/2'; it must be a number"),  # the published judge reads no fractions
    ("svamp", {"Answer": float("nan")}, r"'Answer' is nan; it must be a number"),
    ("countdown-text", {"input": "30,100"}, r"'input' is '30,100'"),
    ("sudoku-text", {"input": "1000"}, r"'input' is '1000'"),
]


@pytest.mark.parametrize(("name", "change", "fault"), BROKEN)
def test_a_broken_item_is_named(tmp_path: Path, name: str, change: Item, fault: str) -> None:
    path = write(tmp_path, name, [ITEMS[name], ITEMS[name] | change])
    unit = "item" if name == "svamp" else "line"
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}, {unit} 2: {fault}"):
        task(name).read(path)


@pytest.mark.parametrize(("text", "fault"), [
    ("[{]", " is neither JSON lines, plain or in gzip, nor a JSON list"), ("[1]", ", item 1: a int, but every item"),
    ("{", ", line 1: not JSON"), ("{}", ", line 1: 'ID' is None; it must be a text"),
])  # fmt: skip
def test_what_is_no_svamp(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "SVAMP.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}{fault}')}"):
        SVAMP().read(path)


@pytest.mark.parametrize("split", ["test", "train", "all"])
@pytest.mark.parametrize("text", ["", "[]"])
def test_an_svamp_without_problems(tmp_path: Path, split: Any, text: str) -> None:
    path = tmp_path / "SVAMP.json"
    path.write_text(text)
    fault = f"{path} holds no problems: give the authors' SVAMP.json, a list of them"
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}$"):
        SVAMP(split=split).read(path)


@pytest.mark.parametrize(("split", "other"), [("test", "chal-777"), ("train", "chal-736")])
def test_an_svamp_without_problems_of_the_split(tmp_path: Path, split: Any, other: str) -> None:
    path = write(tmp_path, "svamp", [ITEMS["svamp"] | {"ID": other}])
    with pytest.raises(ValueError, match=rf"a\.json has no problem of the {split} split: write svamp:split=all$"):
        SVAMP(split=split).read(path)
    assert [problem.id for problem in SVAMP(split="all").read(path)] == [other]


@pytest.mark.parametrize("spec", ["svamp:split=validation", "countdown-text:split=test", "sudoku-text:split=all"])
def test_an_unknown_split(spec: str) -> None:
    with pytest.raises(ValueError, match="^split='.*' is unknown: choose one of "):
        task(spec)


# The hub --------------------------------------------------------------------------------------------------------------

SETS = {
    "gsm8k": ("openai/gsm8k", "main", "cc7b047b6e5bb11b4f1af84efc572db110a51b3c"),
    "math500": ("HuggingFaceH4/MATH-500", None, "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"),
    "svamp": ("ChilleD/SVAMP", None, "5e0bf1e5e7c0e9c4bc39180d224f41f3f801b7ef"),
}


def fetching(name: str) -> Benchmark:
    found = task(name)
    assert isinstance(found, Benchmark)
    return found


@pytest.mark.parametrize("name", SETS)
def test_the_hub_gives_the_test_split_of_a_pinned_revision(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(path: str, config: str | None = None, *, revision: str, split: str) -> list[Mapping[str, Any]]:
        asked.append((path, config, revision, split))
        return [ITEMS[name] | ({"Answer": "2"} if name == "svamp" else {})]  # the hub's answers are texts

    hub(monkeypatch, load_dataset)
    (problem,) = fetching(name).fetch()
    assert asked == [(*SETS[name], "test")]
    assert problem.prompt == PROMPTS[name] and problem.data == {"gold": "2" if name == "svamp" else "5"}
    assert problem.id == {"gsm8k": "test:1", "math500": "test/algebra/1.json", "svamp": "chal-1"}[name]


@pytest.mark.parametrize("name", SETS)
def test_what_the_hub_lacks_is_one_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*names: str, **settings: str) -> list[Item]:
        raise ConnectionError("No network.\nMore.")

    hub(monkeypatch, load_dataset)
    with pytest.raises(
        ValueError, match=rf"^{SETS[name][0]} could not be had from the hub \(No network\.\): check the "
    ):
        fetching(name).fetch()
    hub(monkeypatch, lambda *names, **settings: [ITEMS[name], {}])
    with pytest.raises(ValueError, match=rf"^{SETS[name][0]}, test row 2: '\w+' is None; it must be a text$"):
        fetching(name).fetch()


@pytest.mark.parametrize("split", ["train", "all"])
def test_only_the_test_split_of_svamp_is_fetched(split: Any) -> None:
    with pytest.raises(
        ValueError, match=f"^svamp:split={split} is read from the authors' file: give --data SVAMP.json$"
    ):
        SVAMP(split=split).fetch()


def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    fault = "openai/gsm8k needs datasets: pip install 'unveil[tasks]', or download it and give a file"
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}$"):
        GSM8K().fetch()
