"""The sixteen rule tasks: labels follow the rules, letters are balanced, no example is a question, text to the byte."""

import json
import re
from collections import Counter
from dataclasses import replace
from inspect import unwrap
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unveil.diagnostics.context.few_shot.shots import FewShot, Shot
from unveil.diagnostics.context.few_shot.suite import (
    NEEDED,
    OWN,
    Letters,
    RuleTask,
    choice,
    rule_task,
    suite,
    word_pools,
)

RAW = json.loads(OWN.read_text())
CATEGORY = {word: category for category, words in RAW.items() for word in words}
LETTERS = ("A", "B", "C")
RULES = (  # written out again, from the notes
    ("country", {"name"}),
    None,
    ("verb", {"adjective", "preposition", "object"}),
    ("adjective", {"verb", "preposition", "object"}),
    ("animal", {"object", "fruit", "sport"}),
    ("color", {"animal", "object"}),
    ("emotion", {"color", "object", "animal"}),
    ("object", {"emotion", "color", "adjective"}),
)

numbers = st.integers(1, 16)
draws = st.integers(0, 2**40)
letters = st.sampled_from(("balanced", "random"))


def numbered(number: int, **settings: Any) -> RuleTask:
    return replace(suite()[number - 1], **settings)


def options(shot: Shot) -> list[str]:
    form = re.fullmatch(r"Options: \(A\) (\w+), \(B\) (\w+), \(C\) (\w+)", shot.ask)
    assert form
    return list(form.groups())


def parts(shot: Shot) -> tuple[str, list[str]]:
    """The right option and the two others."""
    words = options(shot)
    assert len(set(words)) == 3
    return words.pop(LETTERS.index(shot.answer)), words


def check_words(number: int, shot: Shot, category: dict[str, str]) -> None:
    """That the answer is right by the word rule, and the only one that is."""
    right, others = parts(shot)
    rule = RULES[(number - 1) // 2]
    if rule is None:
        assert right.istitle() and all(word.islower() for word in others)
        assert len({right.lower(), *others}) == 3 and all(word in category for word in (right.lower(), *others))
    else:
        assert category[right] == rule[0] and all(category[word] in rule[1] for word in others)


def check_numbers(number: int, shot: Shot) -> None:
    right, others = parts(shot)
    values = sorted(map(int, (right, *others)))
    assert 1 <= values[0] and values[-1] <= 1000 and int(right) == values[0 if number % 2 else -1]


@given(number=numbers, draw=draws, kind=letters)
def test_fifty_examples_are_ten_and_forty_and_rightly_labelled(number: int, draw: int, kind: Letters) -> None:
    shots = numbered(number, letters=kind).shots(10, 40, draw)
    assert len(shots.relevant) == 10 and len(shots.distractors) == 40
    for shot in shots.relevant:
        check_words(number, shot, CATEGORY)
    for shot in shots.distractors:
        check_numbers(number, shot)


@pytest.mark.parametrize("number", range(1, 17))
def test_a_thousand_questions_are_rightly_labelled_and_distinct(number: int) -> None:
    questions = numbered(number).questions(1000)
    for question in questions:
        check_words(number, question, CATEGORY)
    assert len({frozenset(word.lower() for word in options(question)) for question in questions}) == 1000


def balanced(shots: list[Shot]) -> bool:
    """Whether each letter is right equally often, up to one, among the first ones, however many."""
    counts = Counter(dict.fromkeys(LETTERS, 0))
    for shot in shots:
        counts[shot.answer] += 1
        if max(counts.values()) - min(counts.values()) > 1:
            return False
    return True


@given(number=numbers, draw=draws)
def test_letters_are_balanced_however_many_are_asked_for(number: int, draw: int) -> None:
    task = numbered(number)
    assert all(balanced(list(shots)) for shots in (*task.shots(20, 20, draw), task.questions(20)))


def test_letters_have_no_period() -> None:
    """Or the answer could be told from the place alone."""
    triples = [numbered(5).shots(30, 30, draw) for draw in range(5)]
    for shots in chain(*triples):
        answers = [shot.answer for shot in shots]
        assert len({tuple(answers[at : at + 3]) for at in range(0, 30, 3)}) > 1


def test_the_switch_changes_the_letters_alone() -> None:
    even, chance = numbered(5), numbered(5, letters="random")
    drawn = [(list(task.shots(60, 60, 3).relevant), task.questions(90)) for task in (even, chance)]
    for ours, theirs in zip(*drawn, strict=True):
        assert [parts(shot) for shot in ours] == [parts(shot) for shot in theirs]
        assert balanced(ours) and not balanced(theirs)
        assert {shot.answer for shot in theirs} == set(LETTERS)


def words_of(shots: list[Shot]) -> set[frozenset[str]]:
    return {frozenset(word.lower() for word in options(shot)) for shot in shots}


@pytest.mark.parametrize("number", [1, 3, 5, 12])
def test_no_example_of_any_draw_is_a_question(number: int, tmp_path: Path) -> None:
    """Whatever the order of the options and the letter; few words, so that chance alone would make them meet."""
    few = tmp_path / "few.json"
    few.write_text(json.dumps({category: words[:NEEDED] for category, words in RAW.items()}))
    task = numbered(number, pools=str(few))
    asked = words_of(task.questions(15))
    examples = set[frozenset[str]]().union(*(words_of(list(task.shots(30, 0, draw).relevant)) for draw in range(100)))
    assert len(asked) == 15 and len(examples) > 300 and not asked & examples


def test_questions_to_validate_on_are_no_examples_and_no_questions_of_the_test() -> None:
    test, validation = numbered(10), numbered(10, split="validation")
    assert validation.shots(50, 5, 3) == test.shots(50, 5, 3)
    asked = words_of(validation.questions(300))
    assert len(asked) == 300 and not asked & words_of(test.questions(1000))
    assert not asked & {one for draw in range(20) for one in words_of(list(test.shots(100, 0, draw).relevant))}


@given(number=numbers, draw=draws, few=st.tuples(st.integers(0, 12), st.integers(0, 12)))
def test_fewer_of_a_draw_are_the_first_ones_of_more(number: int, draw: int, few: tuple[int, int]) -> None:
    task = numbered(number)
    relevant, distractors = task.shots(12, 12, draw)
    assert task.shots(*few, draw) == (relevant[: few[0]], distractors[: few[1]])
    assert task.questions(few[0]) == task.questions(12)[: few[0]]
    other = task.shots(12, 12, draw + 1)
    assert relevant != other.relevant and distractors != other.distractors


def test_draws_and_questions_are_the_same_in_every_process() -> None:
    """Records of different runs are put together; a change of this text makes old ones worthless."""
    (question,) = rule_task("T05").questions(1)
    shots = rule_task("T05").shots(1, 1, 0)
    assert question.question + question.answer == "Options: (A) worthy, (B) rope, (C) expand\nAnswer:[C"
    assert shots.relevant[0].ask == "Options: (A) beautiful, (B) clarify, (C) saucer"
    assert shots.distractors[0].ask == "Options: (A) 506, (B) 959, (C) 887"


def test_tasks_share_no_draw() -> None:
    """Intervals over tasks take them to be independent."""
    asked = [tuple(task.questions(3)) for task in suite()]
    numbers = [tuple(task.shots(0, 3, 0).distractors) for task in suite()]
    assert len(set(asked)) == len(set(numbers)) == 16


def test_the_text_is_the_papers_to_the_byte() -> None:
    sample = choice(["knit", "quirky", "persuade"], 1)
    question = choice(["concerning", "hate", "painting"], 1)
    number = choice(["584", "55", "451"], 1)
    assert sample.question + sample.answer + sample.ending == (
        "Options: (A) knit, (B) quirky, (C) persuade\nAnswer:[B].\n\n"
    )
    prompt = "".join(shot.question + shot.answer + shot.ending for shot in (sample, number)) + question.question
    assert prompt == (
        "Options: (A) knit, (B) quirky, (C) persuade\nAnswer:[B].\n\n"
        "Options: (A) 584, (B) 55, (C) 451\nAnswer:[B].\n\n"
        "Options: (A) concerning, (B) hate, (C) painting\nAnswer:["
    )
    assert (question.answer, question.closing, question.ending) == ("B", "].", "].\n\n")
    assert (question.ask, question.opening) == ("Options: (A) concerning, (B) hate, (C) painting", "Answer:[")


def test_our_pools_are_large_and_share_no_word() -> None:
    sizes = {category: len(words) for category, words in RAW.items()}
    assert all(sizes[name] >= 100 for name in ("verb", "adjective", "object", "animal"))
    assert all(sizes[name] >= 60 for name in ("country", "name")) and min(sizes.values()) >= 20
    lowered = [word.lower() for words in RAW.values() for word in words]
    assert len(set(lowered)) == len(lowered)
    for category, words in RAW.items():
        capital = category in ("country", "name")
        assert all(re.fullmatch("[A-Z][a-z]+" if capital else "[a-z]+", word) for word in words), category
    assert word_pools() == {category: tuple(words) for category, words in RAW.items()}


def test_the_published_pools_lose_what_is_in_two_and_what_is_not_a_word(data: Path) -> None:
    path = data / "few_shot_rules" / "categories.json"
    published, pools = json.loads(path.read_text()), word_pools(str(path))
    sizes = {category: len(words) for category, words in published.items()}
    assert sizes == {  # fmt: skip
        "animal": 156, "object": 168, "verb": 167, "color": 22, "fruit": 40, "adjective": 184, "pronoun": 27,
        "preposition": 55,
    }  # fmt: skip
    assert sum(sizes.values()) == 819 and len(set(chain(*published.values()))) == 814
    dropped = {category: set(words) - set(pools[category]) for category, words in published.items()}
    assert dropped == {
        "animal": set(),
        "object": {"cream", "olive", "fishing pole", "tennis racket", "x-ray", "yo-yo"},
        "verb": {"quiet", "like"},
        "color": {"cream", "olive", "orange"},
        "fruit": {"orange"},
        "adjective": {"quiet", "kind-hearted", "quick-witted"},
        "pronoun": set(),
        "preposition": {"like"},
    }
    for ours in ("country", "name", "sport", "emotion"):
        assert pools[ours] == tuple(RAW[ours]), "our words must not take any from the published"
    lowered = [word.lower() for words in pools.values() for word in words]
    assert len(set(lowered)) == len(lowered)


@pytest.mark.parametrize("number", range(1, 17, 2))
def test_tasks_of_the_published_pools(data: Path, number: int) -> None:
    path = str(data / "few_shot_rules" / "categories.json")
    category = {word: name for name, words in word_pools(path).items() for word in words}
    task = numbered(number, pools=path)
    for shot in (*task.shots(100, 0, 0).relevant, *task.questions(1000)):
        check_words(number, shot, category)


def test_a_category_of_a_file_takes_the_place_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "pools.json"
    words = [chr(97 + at) * 3 for at in range(NEEDED)]
    path.write_text(json.dumps({"color": [*words, "Aaa", "two words", "Koala", "aaa"], "sound": ["boom", "fox"]}))
    pools = word_pools(str(path))
    assert [word.lower() for word in pools["color"]] == words and pools["verb"] == tuple(RAW["verb"])
    assert set(RAW["animal"]) - set(pools["animal"]) == {"koala", "fox"} and pools["sound"] == ("boom",)


@pytest.mark.parametrize(
    "content, message",
    [
        ("[", "is not JSON (Expecting value"),
        ("[1]", "does not hold lists of words by category; write {category: [words]}"),
        ('{"color": "red"}', "does not hold lists of words by category"),
        ('{"color": ["red", 1]}', "does not hold lists of words by category"),
        (
            '{"color": ["red", "blue", "navy blue", "fox"]}',
            f": pool 'color' has 2 single words that are in no other pool, {NEEDED} are needed: add words, or leave "
            "'color' out to use our own",
        ),
    ],
)
def test_a_file_without_enough_words_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "pools.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        numbered(11, pools=str(path))
    assert str(path) in str(caught.value)


def test_pools_that_are_used_up_are_said(tmp_path: Path) -> None:
    few = tmp_path / "few.json"
    few.write_text(json.dumps({category: words[:NEEDED] for category, words in RAW.items()}))
    task = numbered(1, pools=str(few))
    with pytest.raises(ValueError, match=r"T01 has only (\d+) questions with these pools; ask for fewer or") as caught:
        task.questions(1000)
    found = re.search(r"only (\d+)", str(caught.value))
    assert found and len(task.questions(int(found[1]))) == int(found[1])
    with pytest.raises(ValueError, match=r"T01 has only \d+ examples with these pools"):
        task.shots(1000, 0, 0)


def test_there_are_sixteen_tasks_with_names_and_sentences() -> None:
    tasks = suite()
    assert [task.name for task in tasks] == [f"T{number:02}" for number in range(1, 17)]
    assert len({task.describe for task in tasks}) == 16
    assert rule_task("T05") == tasks[4] == numbered(5)
    assert tasks[4].describe == (
        "choose the verb (others: adjectives, prepositions, objects), among numbers: choose the smallest"
    )
    assert tasks[3].describe == (
        "choose the capitalized word (others: words in lower case), among numbers: choose the largest"
    )
    found: FewShot = tasks[0]
    assert isinstance(found, FewShot) and found.labels == LETTERS and found.system == ""


def test_settings_reach_every_task(tmp_path: Path) -> None:
    path = tmp_path / "pools.json"
    path.write_text("{}")
    assert all((task.pools, task.letters) == (str(path), "random") for task in suite(str(path), "random"))
    assert rule_task("T16", str(path), "random") == numbered(16, pools=str(path), letters="random")


def raw(**settings: str) -> None:
    """Make a task past the type checks of tests."""
    unwrap(RuleTask.__init__)(object.__new__(RuleTask), chosen="verb", others=("object",), **settings)


def test_rules_of_ones_own(tmp_path: Path) -> None:
    task = RuleTask(chosen="fruit", others=("sport", "name"), numbers="largest")
    assert task.name == "fruit of sport+name, largest"
    assert task.describe == "choose the fruit (others: sports, names), among numbers: choose the largest"
    for shot in [*task.shots(20, 0, 5).relevant, *task.questions(20)]:
        right, others = parts(shot)
        assert CATEGORY[right] == "fruit" and all(CATEGORY[word] in {"sport", "name"} for word in others)
    assert len({CATEGORY[word] for shot in task.questions(20) for word in options(shot)}) == 3
    for shot in task.shots(0, 20, 5).distractors:
        check_numbers(2, shot)
    path, sounds = tmp_path / "pools.json", {"boom", "hiss", "buzz"}
    path.write_text(json.dumps({"sound": sorted(sounds)}))
    task = RuleTask(chosen="sound", others=("fruit",), pools=str(path))
    assert all(parts(shot)[0] in sounds for shot in task.questions(20))


def test_bad_settings_are_refused() -> None:
    for settings, message in (
        ({"chosen": "animal", "others": ()}, "others is () where 'animal' is chosen; it must be some of adjective"),
        ({"chosen": "animal", "others": ("animal",)}, "others is ('animal',) where 'animal' is chosen"),
        ({"chosen": "animal", "others": ("fruit", "fruits")}, "others is ('fruit', 'fruits') where 'animal' is chosen"),
        ({"others": ("fruit",)}, "others is ('fruit',) where 'capitalized word' is chosen; it must be empty"),
        ({"chosen": "animals"}, "chosen is 'animals'; it must be 'capitalized word' or one of country, name, verb"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            numbered(3, **settings)
    with pytest.raises(ValueError, match="letters is 'even'; it must be one of balanced, random"):
        raw(letters="even")
    with pytest.raises(ValueError, match="numbers is 'least'; it must be one of smallest, largest"):
        raw(numbers="least")
    with pytest.raises(ValueError, match="split is 'train'; it must be one of 'test', 'validation'"):
        raw(split="train")
    with pytest.raises(ValueError, match="unknown task 'T5': did you mean 'T.*known are T01, T02, .*T16"):
        rule_task("T5")
    for arguments, name in (((-1, 0, 0), "relevant"), ((0, -1, 0), "distractors"), ((0, 0, -1), "draw")):
        with pytest.raises(ValueError, match=f"{name} is -1; it must be at least 0"):
            numbered(1).shots(*arguments)
    with pytest.raises(ValueError, match="count is -1; it must be at least 0"):
        numbered(1).questions(-1)
