"""Sums: the text says what the answer works out, the judge is strict, splits never meet, difficulty is kept."""

import re
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tasks.sources import jsonl
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.tasks import Countdown, Problem, Sums, Task, task
from unveil.tasks.puzzles import sums as module
from unveil.tasks.splits import SPLITS, Split, check_split

TEXT = "Tom has 5 apples. He buys 3 more. Then he gives 2 apples to Ann. How many apples does Tom have?"
ANSWER = "5+3=8 Tom\n8-2=6 Tom\n#6"
PROBLEM = Problem(prompt=TEXT + "\n=\n", answer=ANSWER, id="one", data={"result": 6})

seeds = st.integers(0, 2**32)
splits = st.sampled_from(SPLITS)
canvases = st.sampled_from([64, 128])


def compared(sentence: str, value: dict[str, int]) -> bool:
    """Note what a sentence that compares two people says, if the second one's number is known."""
    parts = re.fullmatch(r"(\w+) (?:has|owns) (.+?)(?: than| as) (\w+)( and (\d+) more)?", sentence)
    if not parts or parts[3] not in value:
        return False
    how, base = parts[2], value[parts[3]]
    number = int((re.search(r"\d+", sentence) or ["0"])[0])
    if parts[4] or "more" in how:
        value[parts[1]] = base + number
    elif "fewer" in how:
        value[parts[1]] = base - number
    else:
        assert how.startswith(("twice", "half"))
        value[parts[1]] = base * 2 if how.startswith("twice") else base // 2
    return True


def told(sentence: str, have: int, name: str) -> int:
    """What somebody has after what the sentence tells."""
    number = int((re.search(r"\d+", sentence) or ["0"])[0])
    if "half" in sentence:
        return have // 2
    if "doubles" in sentence or "again" in sentence:
        return have * 2
    if re.search(rf"\b(loses|sells|eats|takes)\b|\bgives {number} .*\bto\b", sentence):
        return have - number
    assert re.search(rf"\b(buys|finds|gets)\b|\bgives {name}\b", sentence), sentence
    return have + number


def solve(text: str) -> tuple[int, list[str]]:
    """Read a problem sentence by sentence, as a person would: the result, and what everybody comes to have."""
    *sentences, question = re.split(r"[.] ", text.strip().removesuffix("\n=").removesuffix("?"))
    asked = re.fullmatch(r"How many (\w+) do(?:es)? (\w+)(?: and (\w+))? have(?: now| together| in all)?", question)
    assert asked
    things, *people = filter(None, asked.groups())
    value: dict[str, int] = {}
    facts = [s for s in sentences if re.search(r" than | as \w+( and \d+ more)?$", s)]
    waiting, story = facts, []
    for sentence in sentences:
        owns = re.fullmatch(r"(\w+) (?:has|owns|starts with) (\d+) (\w+)", sentence)
        if owns and owns[3] == things:
            value[owns[1]] = int(owns[2])
        elif not owns and sentence not in facts and "years old" not in sentence:
            story.append(sentence)
    while waiting:
        left = [sentence for sentence in waiting if not compared(sentence, value)]
        assert len(left) < len(waiting)
        waiting = left
    made = [f"{value[name]} {name}" for fact in facts for name in fact.split()[:1]]
    hero = people[0] if len(people) == 1 else None
    for sentence in story:
        named = [name for name in (module.HE + module.SHE) if re.search(rf"\b{name}\b", sentence) and name in value]
        hero = named[0] if named else hero
        assert hero, sentence
        value[hero] = told(sentence, value[hero], hero)
        made.append(f"{value[hero]} {hero}")
    return sum(value[name] for name in people), made


# ----------------------------------------------------------------------------------------------------------------------


@given(seed=seeds, split=splits, canvas=canvases)
def test_generated_answers_are_right_and_the_text_says_so(seed: int, split: Split, canvas: int) -> None:
    sums = Sums(canvas=canvas, split=split, distractors=0.0, shuffled=0.5)
    for problem in sums.generate(2, seed):
        answer = problem.answer or ""
        assert sums.correct(problem, answer) and sums.worked(problem, answer)
        result, made = solve(problem.prompt)
        assert result == problem.data["result"] == int(answer.split("#")[1])
        assert sorted(re.findall(r"=(\d+ \w+)\n", answer)) == sorted(made)  # every step says whose number it makes
        assert problem.prompt.endswith("?\n=\n")


@given(seed=seeds, low=st.integers(1, 5), more=st.integers(0, 3), largest=st.integers(10, 99))
def test_difficulty_is_kept(seed: int, low: int, more: int, largest: int) -> None:
    sums = Sums(canvas=128, steps=(low, low + more), largest=largest, split="train")
    for problem in sums.generate(2, seed):
        *steps, _ = (problem.answer or "").split("\n")
        assert low <= len(steps) <= low + more
        assert max(map(int, re.findall(r"\d+", problem.prompt + (problem.answer or "")))) <= largest
        assert min(map(int, re.findall(r"\d+", problem.prompt))) >= 2 and problem.data["result"] >= 1
    assert f"{low} to {low + more} worked steps with numbers to {largest}, 20% " in sums.describe


@given(seed=seeds, digit=st.sampled_from("0123456789"), data=st.data())
def test_another_digit_is_wrong(seed: int, digit: str, data: st.DataObject) -> None:
    (problem,) = Sums(split="train").generate(1, seed)
    answer = problem.answer or ""
    at = data.draw(st.sampled_from([i for i, character in enumerate(answer) if character.isdigit()]))
    changed = answer[:at] + digit + answer[at + 1 :]
    assert Sums().correct(problem, changed) == (changed == answer or at < answer.index("#"))
    assert Sums().worked(problem, changed) == (changed == answer)


@given(seed=seeds, at=st.integers(0, 60), old=st.integers(0, 3), piece=st.text("0123456789+-*/=#\n ", max_size=2))
def test_a_result_other_than_the_only_marked_one_is_wrong(seed: int, at: int, old: int, piece: str) -> None:
    (problem,) = Sums(split="train").generate(1, seed)
    answer = problem.answer or ""
    changed = answer[:at] + piece + answer[at + old :]
    marked = re.fullmatch(r"[^#]*#\s*(\d+)\s*", changed)
    expected = marked is not None and marked[1] == str(problem.data["result"])
    assert Sums().correct(problem, changed) == expected
    if Sums().worked(problem, changed):
        assert expected and re.fullmatch(r"(\d+[-+*/]\d+=\d+( [A-Z][a-z]+)?\n)+#\s*\d+", changed.strip())


@pytest.mark.parametrize(
    "text, correct, worked",
    [
        (ANSWER, True, True),
        (f" {ANSWER}\n\n", True, True),
        ("5+3=8\n8-2=6\n#6", True, True),  # whose numbers these are may be left out
        ("5+3=8 Tom Ann\n8-2=6 Tom\n#6", True, False),
        ("5+3=8 Tom\n8-2=6 tom\n#6", True, False),
        ("#6", True, False),
        ("5+3=8\n8-2=6\n# 6", True, True),
        ("5+3=9\n8-2=6\n#6", True, False),
        ("5+3=8\n8-1=7\n#6", True, False),  # exact, but another result
        ("3+3=6\n#6", True, True),
        ("some words #6", True, False),
        ("5+3=8, 8-2=6\n#6", True, False),
        ("5+3=8\n8-2=6\n0#6", True, False),
        ("12/2=6\n#6", True, True),
        ("13/2=6\n#6", True, False),
        ("6/0=0\n0+6=6\n#6", True, False),
        ("5+3=8\n8-2=6", False, False),
        ("5+3=8\n8-2=6\n#8", False, False),
        ("5+3=8\n8-2=6\n#6#", False, False),
        ("5+3=8\n8-2=6\n#6\n#6", False, False),
        ("5+3=8\n8-2=6\n##6", False, False),
        ("5+3=8\n8-2=6\n#06", False, False),
        ("5+3=8\n8-2=6\n#6.", False, False),
        ("5+3=8\n8-2=6\n#6 6", False, False),
        ("5+3=8\n8-2=6\n#", False, False),
        ("5+3=8\n8-2=6\n#٦", False, False),  # a digit of another script
        ("#" + "6" * 5000, False, False),
        ("", False, False),
    ],
)
def test_the_judges(text: str, correct: bool, worked: bool) -> None:
    assert (Sums().correct(PROBLEM, text), Sums().worked(PROBLEM, text)) == (correct, worked)


def test_fewer_problems_of_a_seed_are_the_first_of_more() -> None:
    many = Sums().generate(40, 5)
    assert Sums().generate(3, 5) == many[:3] and Sums().generate(3, 6) != many[:3]
    assert len({problem.id for problem in many}) == 40


def test_the_splits_never_meet() -> None:
    def drawn(split: Split, count: int) -> set[str]:
        small = Sums(split=split, steps=(1, 1), largest=4, distractors=0.0)
        return {problem.prompt for problem in small.generate(count, 1)}

    train, validation, test = drawn("train", 6000), drawn("validation", 400), drawn("test", 400)
    assert len(train) > 3000 and len(validation) > 200 and len(test) > 200
    assert not train & validation and not train & test and not validation & test


def test_excluded_problems_do_not_come() -> None:
    some, *others = Sums().generate(20, 3)
    left = Sums(exclude=frozenset([some.prompt])).generate(19, 3)
    assert [problem.prompt for problem in left] == [problem.prompt for problem in others]


def test_nothing_left_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unveil.tasks.splits.split_of", lambda mark: "train")
    monkeypatch.setattr("unveil.tasks.splits.HOPELESS", 10)
    with pytest.raises(ValueError, match="no test problem with these settings is left; widen them"):
        Sums(split="test").generate(1, 0)


def test_misses_are_counted_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    found = cycle(["train", "train", "test"])
    monkeypatch.setattr("unveil.tasks.splits.split_of", lambda mark: next(found))
    monkeypatch.setattr("unveil.tasks.splits.HOPELESS", 3)
    assert len(Sums(split="test").generate(10, 0)) == 10


def mixed(problems: list[Problem]) -> int:
    """In how many problems the numbers of the text do not come in the order of the steps."""
    count = 0
    for problem in problems:
        answer = (problem.answer or "").split("\n")
        numbers = [answer[0].split("+")[0].split("-")[0].split("*")[0].split("/")[0]]
        numbers += [parts[1] for step in answer[:-1] if (parts := re.match(r"\d+[+-](\d+)=\d+ ", step))]
        count += numbers != re.findall(r"\d+", problem.prompt)[: len(numbers)]
    return count


def test_what_is_not_shuffled_is_told_in_the_order_of_the_steps() -> None:
    shares = [mixed(Sums(split="train", distractors=0.0, shuffled=x).generate(400, 4)) / 400 for x in (0.0, 0.5, 1.0)]
    assert shares[0] == 0 and 0.4 < shares[1] / shares[2] < 0.6


def test_texts_vary_and_order_matters() -> None:
    problems = Sums(split="train", shuffled=1.0).generate(600, 4)
    text = "".join(problem.prompt for problem in problems)
    assert all(name in text for name in module.HE + module.SHE + module.THINGS)
    assert len(module.HE + module.SHE) >= 15 and len(module.THINGS) >= 20
    assert sum("together" in p.prompt or "in all" in p.prompt for p in problems) > 30
    assert 0.3 < mixed(problems) / len(problems) < 0.8
    lengths = sorted(len(problem.answer or "") for problem in problems)
    assert lengths[60] < 30 and lengths[540] > 60


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_distractors_come_as_often_as_asked_and_do_not_matter(share: float) -> None:
    problems = Sums(split="train", distractors=share).generate(300, 5)
    extra = 0
    for problem in problems:
        needed = 1 + len(re.findall(r"\d[+-]\d+=", problem.answer or ""))
        needed -= "together" in problem.prompt or "in all" in problem.prompt
        extra += len(re.findall(r"\d+", problem.prompt)) - needed
        if "years old" not in problem.prompt:
            assert solve(problem.prompt)[0] == problem.data["result"]
        else:  # "he" and "them" in the sentence that follows must not point at it
            assert re.search(r"years old[.] (How|\w+ (has|owns|starts)) ", problem.prompt)
    assert abs(extra / 300 - share) < 0.1


@given(seed=seeds, canvas=canvases)
def test_the_texts_are_written_in_the_alphabet(seed: int, canvas: int) -> None:
    sums = Sums(canvas=canvas, split="train")
    tokenizer = FileTokenizer.words([*Countdown().alphabet(), *sums.alphabet()], ["[EOS]", "[MASK]"])
    for problem in sums.generate(3, seed):
        ids, prompt = tokenizer.encode(problem.prompt + (problem.answer or "")), tokenizer.encode(problem.prompt)
        assert tokenizer.decode(ids) == problem.prompt + (problem.answer or "")
        assert ids == prompt + tokenizer.encode(problem.answer or "")  # the prompt alone is read the same way
        assert len(ids) - len(prompt) <= canvas and len(prompt) <= 2 * 64


def test_prompts_are_short() -> None:
    tokenizer = FileTokenizer.words(Sums().alphabet(), [])
    lengths = sorted(len(tokenizer.encode(problem.prompt)) for problem in Sums(split="train").generate(500, 6))
    assert lengths[25] >= 25 and lengths[475] <= 72


def test_the_alphabet_holds_no_token_that_never_comes() -> None:
    tokenizer = FileTokenizer.words(Sums().alphabet(), [])
    problems = Sums(split="train").generate(3000, 7)
    seen = {token for p in problems for token in tokenizer.encode(p.prompt + (p.answer or ""))}
    assert len(seen) == len(Sums().alphabet()) == len(set(Sums().alphabet()))


# word-level tokens ----------------------------------------------------------------------------------------------------


def test_a_word_level_tokenizer_file_is_loaded_again(tmp_path: Path) -> None:
    tokenizer = FileTokenizer.words(["Tom", " has", " 1", "2", ".", "2"], ["[EOS]", "[MASK]"])
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = FileTokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.encode("Tom has 12.[MASK]") == tokenizer.encode("Tom has 12.[MASK]") == [0, 1, 2, 3, 4, 6]
    assert loaded.decode([0, 1, 2, 3, 4, 6, 5]) == "Tom has 12."


@pytest.mark.parametrize("text", ["Ann has 12.", "Tom  has", "Tom had", "1", "tom"])
def test_a_word_that_the_vocabulary_lacks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the model's vocabulary cannot write"):
        FileTokenizer.words(["Tom", " has", " 1", "2", "."], ["[MASK]"]).encode(text)


@pytest.mark.parametrize("entry", ["two words", "12", "=\n", ""])
def test_a_vocabulary_entry_must_be_one_piece(entry: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{entry!r} is not one token: give words, digits and other")):
        FileTokenizer.words(["Tom", entry], ["[MASK]"])


# files ----------------------------------------------------------------------------------------------------------------


GOOD = {"input": TEXT, "output": ANSWER}


@pytest.mark.parametrize(
    "bad, message",
    [
        ("{", "not JSON"),
        ({"output": ANSWER}, "'input' is None; it must be the text of a problem"),
        ({"input": " ", "output": ANSWER}, "'input' is ' '"),
        ({"input": TEXT}, "'output' is None; it must end with one '#' and a whole number"),
        ({"input": TEXT, "output": 6}, "'output' is 6"),
        ({"input": TEXT, "output": "5+3=8"}, "'output' is '5+3=8'; it must end with one '#'"),
        ({"input": TEXT, "output": "#6 #6"}, "'output' is '#6 #6'"),
        ({"input": TEXT, "output": "5+3=8\nx#6"}, "'output' has the step 'x', which is not exact"),
        ({"input": TEXT, "output": "5+3=9\n#6"}, "'output' has the step '5+3=9', which is not exact"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, bad: object, message: str) -> None:
    path = jsonl(tmp_path / "problems.jsonl", GOOD, bad, GOOD)
    with pytest.raises(ValueError, match=rf"problems\.jsonl, line 2: .*{re.escape(message)}"):
        Sums().read(path)


def test_a_file_is_read(tmp_path: Path) -> None:
    first, second = Sums().read(jsonl(tmp_path / "a.jsonl", GOOD, {"input": TEXT + "\n", "output": "#6"}))
    assert first == Problem(prompt=TEXT + "\n=\n", answer=ANSWER, id="a:1", data={"result": 6})
    assert second.prompt == first.prompt and second.answer == "#6" and second.data == first.data


# settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"canvas": 32}, "canvas is 32; it must be 64 or 128"),
        ({"largest": 3}, "largest is 3; it must be from 4 to 999"),
        ({"steps": (0, 3)}, "steps is (0, 3); it must be (fewest, most) with 1 <= fewest <= most <= 6"),
        ({"steps": (4, 3)}, "steps is (4, 3)"),
        ({"steps": (2, 7)}, "steps is (2, 7)"),
        ({"largest": 100}, "most <= 4, which numbers to 100 fit on canvas 64"),
        ({"canvas": 128, "steps": (2, 13)}, "most <= 12, which numbers to 20 fit on canvas 128"),
        ({"distractors": 1.5}, "distractors is 1.5; it must be a share from 0 to 1"),
        ({"distractors": float("nan")}, "distractors is nan"),
        ({"shuffled": -0.1}, "shuffled is -0.1; it must be a share from 0 to 1"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Sums(**settings)


def test_bad_draws_and_splits_are_refused() -> None:
    with pytest.raises(ValueError, match="count is 0; it must be at least 1"):
        Sums().generate(0, 0)
    with pytest.raises(ValueError, match="seed is -1; it must be at least 0"):
        Sums().generate(1, -1)
    with pytest.raises(ValueError, match="split is 'dev'; it must be one of 'train', 'validation', 'test'"):
        check_split("dev")


@pytest.mark.parametrize("settings", [{}, {"canvas": 128}, {"canvas": 128, "largest": 9, "steps": (18, 18)}])
def test_the_longest_answers_fit(settings: dict[str, Any]) -> None:
    sums = Sums(split="train", **settings)
    answers = [re.sub(" [A-Z][a-z]+", "N", problem.answer or "") for problem in sums.generate(200, 8)]
    assert max(map(len, answers)) <= sums.num_masks == sums.canvas  # a name is one token


def test_a_spec_sets_fields() -> None:
    found: Task = task("sums:canvas=128")
    assert found == Sums(canvas=128) and found.num_masks == 128 and isinstance(found, Task)
    assert task("sums:steps=2-3,largest=10,distractors=0,split=test") == Sums(
        steps=(2, 3), largest=10, distractors=0.0, split="test"
    )
    assert task("sums:steps=none") == Sums()
    with pytest.raises(ValueError, match="distractors='x' is not a number"):
        task("sums:distractors=x")
