"""HotPotQA with two options: what is kept, the exact prompt, parts that never meet, files and `datasets`."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tasks.sources import hub, jsonl
from unveil.diagnostics.context.few_shot.hotpot import REVISION, HotpotQA, _options, _parsed
from unveil.diagnostics.context.few_shot.shots import FewShot, Shot
from unveil.tasks.sources import Item as Placed

Item = dict[str, Any]

CONTEXT: Item = {
    "title": ["Lake Orla", "Lake Pim"],
    "sentences": [["Lake Orla is 90 m deep.", " It is cold."], ["Lake Pim is a pond,", " 2 m deep."]],
}


def item(question: str = "Which is deeper, Lake Orla or Lake Pim?", answer: str = "Lake Orla") -> Item:
    return {"id": "1", "question": question, "answer": answer, "type": "comparison", "context": CONTEXT}


def numbered(count: int) -> list[Item]:
    """Different questions of 26 words each with context and options."""
    return [
        item(f"Which is deeper, Lake Q{i} or Lake Pim?", f"Lake Q{i}" if i % 3 else "Lake Pim") for i in range(count)
    ]


def write(path: Path, items: Sequence[object]) -> str:
    return str(jsonl(path, *items))


def all_of(source: HotpotQA) -> tuple[list[Shot], list[Shot]]:
    """Examples, in the order of draws, and questions; as many as there are."""
    examples, questions = source._parts
    assert [source.shots(1, 0, draw).relevant for draw in range(len(examples))] == [[shot] for shot in examples]
    assert source.questions(len(questions)) == questions
    return examples, questions


# the prompt -----------------------------------------------------------------------------------------------------------


def test_the_prompt_is_the_papers(tmp_path: Path) -> None:
    source = HotpotQA(path=write(tmp_path / "a.jsonl", [item(), item("Is it warm, Orla or Pim ?", "the pim.")]))
    (example,), (question,) = all_of(source)
    assert example.question + example.answer + example.ending == (
        "**Context**:\n'Lake Orla: Lake Orla is 90 m deep. It is cold.\nLake Pim: Lake Pim is a pond, 2 m deep.'.\n\n"
        "**Question**: 'Which is deeper, Lake Orla or Lake Pim?' [A] Lake Orla\n [B] Lake Pim\n**Answer**:[A]\n\n"
    )
    assert question.question.endswith("'Is it warm, Orla or Pim ?' [A] Orla\n [B] Pim\n**Answer**:[")
    assert question.answer == "B"
    assert source.system == "Which of the following answers is true? Respond with [A] or [B]."
    assert source.labels == ("A", "B") and isinstance(source, FewShot) and source.name and source.describe


# options --------------------------------------------------------------------------------------------------------------

WORDS = st.lists(
    st.sampled_from(["Tom", "orla", "Or", "für", "9", "of", "more", "O'Neil", "X-ray"]), min_size=1, max_size=4
)
NAMES = WORDS.map(" ".join)
QUESTIONS = [
    "Who is older, {} or {}?",
    "Who is older, {} or {} ?",
    "Which lives longer: {} or {}",
    "Which of two, either {} or {}?",
    "Who is older between {} or {}?",
    "Which band, {} or {}, had more members?",
    "Which actor, singer or poet, is older, {} or {}?",
]


@given(first=NAMES, second=NAMES, question=st.sampled_from(QUESTIONS), right=st.integers(0, 1), form=st.integers(0, 4))
def test_two_options_are_found_in_their_order(first: str, second: str, question: str, right: int, form: int) -> None:
    name = (first, second)[right]
    answer = [name, name.upper(), f"The {name}.", f' "{name}"', f"a {name}"][form]
    expected = None if first.lower() == second.lower() else (first, second)
    assert _options(question.format(first, second), answer) == expected
    _, shot = _parsed(Placed("here", "a:1", item(question.format(first, second), answer)))
    assert (shot and shot.answer) == (expected and "AB"[right])


@given(first=NAMES, second=NAMES, third=NAMES, question=st.sampled_from(QUESTIONS))
def test_an_answer_that_is_no_option_is_left_out(first: str, second: str, third: str, question: str) -> None:
    if third.lower() not in (first.lower(), second.lower()):
        assert _options(question.format(first, second), third) is None
    for answer in ("yes", "no"):
        assert _options(question.format(first, second), answer) is None


@given(text=st.text("ab or,:?the ", max_size=40), answer=st.text("abthe .", max_size=8))
def test_whatever_the_text_is_exactly_one_option_is_right(text: str, answer: str) -> None:
    options = _options(text, answer)
    if options:
        plain = [re.sub(r"\b(a|an|the)\b|[.,:]", "", option).split() for option in options]
        assert all(plain) and plain.count(re.sub(r"\b(a|an|the)\b", "", answer.replace(".", "")).split()) == 1
        assert all(option in text for option in options) and not any(" or " in option for option in options)


@pytest.mark.parametrize(
    "question, answer",
    [
        ("Is Lake Orla or Lake Pim deeper?", "Lake Pim"),  # where the first begins is not marked
        ("Are both Orla and Pim lakes?", "yes"),
        ("Which is deeper, Orla or Pim or Quo?", "Orla"),
        ("Which is deeper, Orla, Pim, or Quo?", "Pim"),
        ("Which is deeper, the or Pim?", "the"),  # nothing is left of "the"
        ("Which is deeper, Lake Orla or Lake Pim?", "Orla"),
        ("Which is deeper, Orla nor Pim?", "Pim"),
        ("Which is deeper, Orla or?", "Orla"),
    ],
)
def test_other_questions_are_left_out(question: str, answer: str) -> None:
    assert _options(question, answer) is None


def test_an_option_may_have_a_comma_before_a_capital() -> None:
    assert _options("Which was first, Orla or Pim, Inc.?", "Orla") == ("Orla", "Pim, Inc.")


# parts ----------------------------------------------------------------------------------------------------------------


@given(count=st.integers(2, 45), data=st.data())
def test_no_example_is_a_question_and_fewer_are_the_first(
    count: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    items = numbered(count)
    source = HotpotQA(path=write(tmp_path_factory.mktemp("hotpot") / "a.jsonl", [*items, *items, item("How?", "so")]))
    examples, questions = all_of(source)
    assert len({*examples, *questions}) == len(examples) + len(questions) == count
    assert len(examples) == (count + 9) // 10
    draw = data.draw(st.integers(0, len(examples) - 1))
    drawn = source.shots(len(examples), 0, draw)
    assert sorted(shot.ask for shot in drawn.relevant) == sorted(shot.ask for shot in examples)
    assert not drawn.distractors
    fewer = data.draw(st.integers(0, len(examples)))
    assert source.shots(fewer, 0, draw).relevant == drawn.relevant[:fewer]
    asked = data.draw(st.integers(0, len(questions)))
    assert source.questions(asked) == questions[:asked]


def test_long_items_are_left_out(tmp_path: Path) -> None:
    items = numbered(4)
    long = {**items[2], "context": {"title": ["Lake Pim"], "sentences": [["deep "] * 300]}}
    path = write(tmp_path / "a.jsonl", [*items[:2], long, items[3]])
    examples, questions = all_of(HotpotQA(path=path, max_words=300))
    assert [f"Q{i} " in shot.ask for shot, i in zip(examples + questions, (0, 1, 3), strict=True)] == [True] * 3
    num_words = len(examples[0].ask.split())
    assert len(all_of(HotpotQA(path=path, max_words=num_words))[1]) == 2
    assert len(all_of(HotpotQA(path=path))[1]) == 3
    with pytest.raises(
        ValueError,
        match=rf"a\.jsonl has 0 questions with two options in at most {num_words - 1} words; two are needed, one is an",
    ):
        HotpotQA(path=path, max_words=num_words - 1).questions(1)


def test_what_there_is_not_is_refused(tmp_path: Path) -> None:
    source = HotpotQA(path=write(tmp_path / "a.jsonl", numbered(11)))
    with pytest.raises(ValueError, match="distractors is 40; hotpotqa has none: set it to 0"):
        source.shots(1, 40, 0)
    for number in (-1, 3):
        with pytest.raises(ValueError, match=f"relevant is {number}; it must be from 0 to 2, hotpotqa has no more"):
            source.shots(number, 0, 0)
    with pytest.raises(ValueError, match="draw is -1; it must be at least 0"):
        source.shots(1, 0, -1)
    assert source.shots(1, 0, 5) == source.shots(1, 0, 1) != source.shots(1, 0, 4)  # draws go round
    for number in (-1, 10):
        with pytest.raises(ValueError, match=f"count is {number}; it must be from 0 to 9, hotpotqa has no more"):
            source.questions(number)
    with pytest.raises(ValueError, match="max_words is 0; it must be at least 1"):
        HotpotQA(max_words=0)


# files ----------------------------------------------------------------------------------------------------------------


def test_a_list_is_read_as_lines_are(tmp_path: Path) -> None:
    lines, listed = write(tmp_path / "a.jsonl", numbered(12)), tmp_path / "a.json"
    listed.write_text("\n" + json.dumps(numbered(12), indent=1))
    assert all_of(HotpotQA(path=lines)) == all_of(HotpotQA(path=str(listed)))


def test_the_official_layout_is_read_as_the_hubs(tmp_path: Path) -> None:
    pairs = list(zip(CONTEXT["title"], CONTEXT["sentences"], strict=True))
    official = [{**each, "context": pairs, "level": "hard"} for each in numbered(12)]
    hub, listed = write(tmp_path / "a.jsonl", numbered(12)), tmp_path / "dev.json"
    listed.write_text(json.dumps(official))
    assert all_of(HotpotQA(path=hub)) == all_of(HotpotQA(path=str(listed)))


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"question": "How?", "context": CONTEXT}, "'answer' is None; it must be a text"),
        ({"answer": "so", "context": CONTEXT}, "'question' is None; it must be a text"),
        (item(question=" "), "'question' is ' '; it must be a text"),
        ({**item(), "answer": 3}, "'answer' is 3"),
        (
            {**item(), "context": None},
            "'context' must be a list of [title, list of texts], or have a list 'title', and in 'sentences' a list",
        ),
        ({**item(), "context": {"title": ["Orla"], "sentences": []}}, "'context' must be"),
        ({**item(), "context": {"title": ["Orla"], "sentences": ["It is cold."]}}, "'context' must be"),
        ({**item(), "context": {"title": [3], "sentences": [["It is cold."]]}}, "'context' must be"),
        ({**item(), "context": {"sentences": [["It is cold."]]}}, "'context' must be"),
        ({**item("How?"), "context": None}, "'context' must be"),
        ({**item(), "context": ["Orla", ["It is cold."]]}, "'context' must be"),
        ({**item(), "context": [["Orla", "It is cold."]]}, "'context' must be"),
        ({**item(), "context": [["Orla", ["It is cold.", 3]]]}, "'context' must be"),
        ({**item(), "context": [[3, ["It is cold."]]]}, "'context' must be"),
        ({**item(), "context": [["Orla", ["It is cold."], "Pim"]]}, "'context' must be"),
    ],
)
def test_a_broken_item_is_named(tmp_path: Path, bad: Item, message: str) -> None:
    lines, listed = write(tmp_path / "a.jsonl", [item(), bad]), tmp_path / "a.json"
    listed.write_text(json.dumps([item(), bad]))
    with pytest.raises(ValueError, match=rf"a\.jsonl, line 2: {re.escape(message)}"):
        HotpotQA(path=lines).questions(1)
    with pytest.raises(ValueError, match=rf"a\.json, item 2: {re.escape(message)}"):
        HotpotQA(path=str(listed)).questions(1)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"[1]", r"a\.json, item 1: a int, but every item must be an object"),
        (b"[{]", r"a\.json is neither JSON lines, plain or in gzip, nor a JSON list"),
        (b"{", r"a\.json, line 1: not JSON"),
        (b"", r"a\.json has 0 questions with two options in at most 700 words; two are needed"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        HotpotQA(path=str(path)).questions(1)


# `datasets` -----------------------------------------------------------------------------------------------------------


def test_the_published_set_is_loaded_by_datasets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def load_dataset(*names: str, **settings: str) -> list[Item]:
        asked.append((names, settings))
        return numbered(12)

    hub(monkeypatch, load_dataset)
    source = HotpotQA()
    assert not asked
    assert all_of(source) == all_of(HotpotQA(path=write(tmp_path / "a.jsonl", numbered(12))))
    assert asked == [(("hotpotqa/hotpot_qa", "distractor"), {"split": "validation", "revision": REVISION})]  # once


def test_datasets_is_asked_for_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        ValueError, match=re.escape("hotpotqa/hotpot_qa needs datasets: pip install 'unveil[diagnose]', or")
    ):
        HotpotQA().questions(1)


def test_what_the_hub_lacks_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, lambda *names, **settings: 1 / 0)
    with pytest.raises(ValueError, match=r"^hotpotqa/hotpot_qa could not be had from the hub \(division by zero\): "):
        HotpotQA().questions(1)
    hub(monkeypatch, lambda *names, **settings: [item(), {}])
    with pytest.raises(ValueError, match=r"^hotpotqa/hotpot_qa, validation row 2: 'question' is None; it must be a"):
        HotpotQA().questions(1)
