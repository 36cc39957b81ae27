"""Rules: the examples show one rule, the answer keeps it, splits never meet, pools come from a file."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.tasks import Problem, Rules, Task, task
from unveil.tasks.puzzles import rules as module
from unveil.tasks.splits import SPLITS, Split

OWN = json.loads(Path(module.__file__).with_name("rules_pools.json").read_text())
CATEGORY = {word: category for category, words in OWN.items() for word in words}
PROMPT = "cat, run, blue\n-> run\nsit, horse, cow\n-> sit\ngreen, pig, walk\n->"

seeds = st.integers(0, 2**32)


def lines(problem: Problem) -> list[tuple[list[str], str]]:
    """The triples of a problem with what is chosen of each."""
    text = problem.prompt + (problem.answer or "")
    pairs = re.findall(r"(.+)\n-> (\w+)(?:\n|$)", text)
    assert "".join(f"{words}\n-> {chosen}\n" for words, chosen in pairs) == text + "\n"
    return [(words.split(", "), chosen) for words, chosen in pairs]


def rules_of(shown: list[tuple[list[str], str]]) -> set[str]:
    """All rules that choose as shown."""
    found = {place for at, place in enumerate(("first", "middle", "last")) if all(w[at] == c for w, c in shown)}
    chosen = {CATEGORY[c] for _, c in shown}
    if len(chosen) == 1 and all(CATEGORY[w] not in chosen for words, c in shown for w in words if w != c):
        found |= chosen
    return found


def test_the_pools_are_large_and_disjoint() -> None:
    assert len(OWN) >= 8 and all(len(words) >= 20 for words in OWN.values())
    assert len(CATEGORY) == sum(map(len, OWN.values()))
    assert all(re.fullmatch("[a-z]+", word) for word in CATEGORY)


@given(seed=seeds, split=st.sampled_from(SPLITS), num_examples=st.integers(2, 8))
def test_the_examples_show_one_rule_and_the_answer_keeps_it(seed: int, split: Split, num_examples: int) -> None:
    rules = Rules(split=split, num_examples=num_examples)
    (problem,) = rules.generate(1, seed)
    shown = lines(problem)
    assert len(shown) == num_examples + 1 and all(len(set(words)) == 3 and c in words for words, c in shown)
    (rule,) = rules_of(shown[:-1])
    assert rule in rules_of(shown)
    assert rules.correct(problem, problem.answer or "") and problem.data["answer"] == shown[-1][1]


@given(seed=seeds, rule=st.sampled_from(["first", "middle", "last", *OWN]))
def test_the_rule_asked_for_is_shown(seed: int, rule: str) -> None:
    (problem,) = Rules(rule=rule, split="train").generate(1, seed)
    assert rules_of(lines(problem)[:-1]) == {rule}
    assert f"by {rule};" in Rules(rule=rule).describe


@given(seed=seeds, place=st.integers(0, 20), piece=st.text("abcdefghij ,->\n", max_size=2))
def test_another_first_line_is_wrong(seed: int, place: int, piece: str) -> None:
    (problem,) = Rules(split="train").generate(1, seed)
    word = problem.data["answer"]
    changed = word[:place] + piece + word[place + 1 :]
    first = changed.strip().split("\n")[0].strip()
    assert Rules().correct(problem, changed) == (first == word)
    assert Rules().correct(problem, f" {word}\ncat, dog, hen\n-> hen") and not Rules().correct(problem, "")
    assert not any(Rules().correct(problem, other) for other in lines(problem)[-1][0] if other != word)


def test_fewer_problems_of_a_seed_are_the_first_of_more() -> None:
    many = Rules().generate(30, 5)
    assert Rules().generate(3, 5) == many[:3] and Rules().generate(3, 6) != many[:3]
    assert len({problem.id for problem in many}) == 30


def test_the_splits_never_meet(tmp_path: Path) -> None:
    few = tmp_path / "few.json"
    few.write_text(json.dumps({"a": ["b", "c", "d"], "e": ["f", "g", "h"]}))
    drawn = {
        split: {p.prompt for p in Rules(num_examples=2, pools=str(few), split=split).generate(count, 0)}
        for split, count in zip(SPLITS, (2000, 200, 200), strict=True)
    }
    assert not drawn["train"] & drawn["validation"] and not drawn["train"] & drawn["test"]
    assert not drawn["validation"] & drawn["test"] and min(map(len, drawn.values())) > 50


@given(seed=seeds)
def test_the_texts_are_written_in_the_alphabet(seed: int) -> None:
    tokenizer = FileTokenizer.words(Rules().alphabet(), ["[MASK]"])
    for problem in Rules(split="train").generate(2, seed):
        text = problem.prompt + (problem.answer or "")
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert len(tokenizer.encode(problem.answer or "")) == 1


def test_other_pools_are_read(data: Path) -> None:
    path = str(data / "few_shot_rules" / "categories.json")
    rules = Rules(pools=path, rule="fruit", split="train")
    categories = json.loads(Path(path).read_text())
    for problem in rules.generate(30, 0):
        for words, chosen in lines(problem):
            assert chosen in categories["fruit"] and chosen != "orange"  # which is a colour, too
            assert all(word not in categories["fruit"] for word in words if word != chosen)
    assert task(f"rules:pools={path},rule=fruit,split=train") == rules


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"input": PROMPT, "output": "walk"}) + "\n")
    (problem,) = Rules().read(path)
    assert problem == Problem(prompt=PROMPT, answer=" walk", id="a:1", data={"answer": "walk"})


@pytest.mark.parametrize(
    "bad, message",
    [
        ("{", "not JSON"),
        ({"output": "walk"}, "'input' is None; it must be lines such as"),
        ({"input": PROMPT + " ", "output": "walk"}, "it must be lines such as"),
        ({"input": "green, pig\n->", "output": "pig"}, "it must be lines such as"),
        ({"input": PROMPT, "output": "cat"}, "'output' is 'cat'; it must be one of green, pig, walk"),
        ({"input": PROMPT}, "'output' is None; it must be one of"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, bad: object, message: str) -> None:
    path, good = tmp_path / "a.jsonl", json.dumps({"input": PROMPT, "output": "walk"})
    path.write_text("\n".join([good, bad if isinstance(bad, str) else json.dumps(bad), good]))
    with pytest.raises(ValueError, match=rf"a\.jsonl, line 2: .*{re.escape(message)}"):
        Rules().read(path)


@pytest.mark.parametrize(
    "content, message",
    [
        ("[", "is not JSON"),
        ("[1]", "does not hold lists of words by category"),
        ('{"a": "bcd"}', "does not hold lists of words by category"),
        ('{"a": ["b", "c", "d"], "e": ["b", "c", "f", "g h"]}', "has 0 categories with three words of their own"),
    ],
)
def test_a_file_without_pools_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "pools.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"pools\.json {message}"):
        Rules(pools=str(path))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="rule is 'frist'; it must be one of first, middle, last, animal, fruit"):
        Rules(rule="frist")
    with pytest.raises(ValueError, match="num_examples is 1; it must be from 2 to 100"):
        task("rules:num_examples=1")
    found: Task = task("rules")
    assert found == Rules() and found.num_masks == 8 and isinstance(found, Task)
