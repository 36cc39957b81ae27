"""lab-rules: rows are the suite's texts, what is learned of them, how they grow."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unveil
from unveil.models.checkpoint import read_json
from unveil.tasks.few_shot.pools import word_pools
from unveil.tasks.few_shot.shots import Arrangement, Shots, arrange
from unveil.tasks.few_shot.suite import RuleTask
from unveil.training.recipes.lab_rules import EOS, MASK, TOKENIZER, LabRules, line, spelled
from unveil.training.settings import Training
from unveil.training.trainer import run

SMALL = LabRules(rows=16, validation=1, width=32, layers=1)
SHOT = r"Options: \(A\) (\w+), \(B\) (\w+), \(C\) (\w+)\nAnswer:\[([ABC]| \w+)\]\."
seeds, numbers = st.integers(0, 10**6), st.integers(1, 16)


def text(ids: list[int]) -> str:
    return TOKENIZER.decode([token for token in ids if token != EOS])


@given(number=numbers, seed=seeds, trailing=st.integers(0, 9), kind=st.sampled_from(["dense", "last", "all"]))
def test_what_is_learned_of_a_row(number: int, seed: int, trailing: int, kind: str) -> None:
    shots = RuleTask(number=number).shots(4, 5, seed)
    found, question = Shots(shots.relevant[1:], shots.distractors), shots.relevant[0]
    layout = Arrangement(relevant=3, distractors=5, shuffle=seed)
    row = line(found, question, layout, kind, trailing)
    pieces = [piece.shot for piece in arrange(found, question, layout) if piece.shot]
    written = "".join(shot.question + shot.answer + shot.ending for shot in pieces).removesuffix("\n\n")
    assert text(row.ids) == written and row.ids.count(EOS) == (0 if kind == "dense" else trailing)
    learned = [token for token, flag in zip(row.ids, row.learned, strict=True) if flag]
    if kind == "dense":
        assert text(learned) == "".join(shot.answer for shot in pieces)
    elif kind == "last":
        assert text(learned) == question.answer + "]." and learned.count(EOS) == trailing and row.learned[-1]
    else:
        assert learned == row.ids


@given(number=numbers, seed=seeds)
def test_spelled_answers_are_the_right_words(number: int, seed: int) -> None:
    for shot in [*RuleTask(number=number).shots(3, 3, seed).relevant, *RuleTask(number=number).questions(3)]:
        words = re.findall(r"\)( \w+)", shot.ask)
        assert spelled(shot).answer == words["ABC".index(shot.answer)] and spelled(shot).ask == shot.ask


@given(number=numbers, seed=seeds)
def test_the_tokenizer_writes_the_suite(number: int, seed: int) -> None:
    task = RuleTask(number=number)
    for shot in [*task.shots(5, 5, seed).relevant, *task.shots(5, 5, seed).distractors, *task.questions(5)]:
        for one in (shot, spelled(shot)):
            whole = one.question + one.answer + one.ending
            ids = TOKENIZER.encode(whole)
            assert TOKENIZER.decode(ids) == whole and len(ids) == 11 and max(ids) < min(EOS, MASK)
            parts = [token for part in (one.question, one.answer, one.ending) for token in TOKENIZER.encode(part)]
            assert parts == ids  # prompts are put together from pieces
    assert len(TOKENIZER.encode(".")) == 1 and TOKENIZER.encode("].") == TOKENIZER.encode("].\n\n")[:-1]


def test_rows_follow_from_seed_and_step_and_grow() -> None:
    recipe = replace(SMALL, trailing=20, whole=0.2)
    first, last = recipe.batch(0), recipe.batch(recipe.training.steps - 1)
    assert all(torch.equal(x, y) for x, y in zip(last, recipe.batch(recipe.training.steps - 1), strict=True))
    other = replace(recipe, training=replace(recipe.training, seed=1)).batch(0)
    assert first.tokens.shape != other.tokens.shape or not torch.equal(first.tokens, other.tokens)
    assert int(first.end.max()) < 120 < 300 < int(last.end.max()) <= 51 * 11 + 20
    for batch, letters in ((first, False), (last, True)):
        for ids, end, answer in zip(batch.tokens, batch.end, batch.answer, strict=True):
            shots = re.findall(SHOT, text(ids[:end].tolist()))
            assert shots and all((len(shot[3]) == 1) == letters for shot in shots) and answer.any()
            assert shots[-1][0].isalpha()  # the question is on words
    kinds = [sum(bool(learned[0]) for learned in recipe.batch(step).answer) for step in range(40)]
    assert 0.12 < sum(kinds) / 640 < 0.28  # rows that are learned whole


def test_the_letters_of_the_examples_do_not_tell_that_of_the_question() -> None:
    """Balanced letters would: the rarest of five examples' letters would be right whenever a sixth is asked for."""
    rarest = rows = 0
    for step in range(3000, 3040):
        batch = SMALL.batch(step)
        for ids, end in zip(batch.tokens, batch.end, strict=True):
            shots = re.findall(SHOT, text(ids[:end].tolist()))
            *letters, last = [shot[3] for shot in shots if shot[0].isalpha()]
            if len(letters) in (2, 5, 8):
                rows += 1
                rarest += last == min("ABC", key=letters.count)
    assert rows > 120 and abs(rarest / rows - 1 / 3) < 0.15


def test_all_tasks_come() -> None:
    words = {word: category for category, pool in word_pools().items() for word in pool}
    lines = [text(ids[:end].tolist()) for b in [SMALL.batch(3900)] for ids, end in zip(b.tokens, b.end, strict=True)]
    right = [dict(zip("ABC", shot[:3], strict=True))[shot[3]] for line in lines for shot in re.findall(SHOT, line)[-1:]]
    assert {words.get(word, "capitalized") for word in right} == {
        "country", "capitalized", "verb", "adjective", "animal", "color", "emotion", "object"
    }  # fmt: skip


@pytest.mark.slow
def test_from_a_name_to_a_model(tmp_path: Path) -> None:
    training = Training(steps=2, optimiser="muon", ema=0.5, micro_rows=4, validate_every=2, save_every=1)
    folder = run(replace(SMALL, rows=4, training=training), out=tmp_path)
    card, model = read_json(folder / "card.json"), unveil.load(folder)
    assert card["recipe"] == "unveil train lab-rules" and card["accuracies"].keys() == {"masks_2", "masks_100"}
    assert card["parameters"] == sum(x.numel() for x in model.denoiser.parameters())
    again = replace(SMALL, start=str(folder)).model()
    assert torch.equal(again.embed.weight, model.denoiser.embed.weight)  # type: ignore[union-attr]
