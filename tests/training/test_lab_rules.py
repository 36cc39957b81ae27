"""lab-rules: rows are the suite's texts, what is learned of them, how they grow."""

import re
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unveil
from unveil.models.checkpoint import load_checkpoint, read_json
from unveil.models.locate import locate
from unveil.objectives.masked import MaskedDiffusion
from unveil.tasks.few_shot.pools import word_pools
from unveil.tasks.few_shot.shots import Arrangement, Shots, arrange
from unveil.tasks.few_shot.suite import NAMES, suite
from unveil.training.recipes.lab_rules import EOS, MASK, TOKENIZER, VALIDATED, LabRules, drawn, line
from unveil.training.settings import Training
from unveil.training.trainer import run

SMALL = LabRules(columns=2000, validation=1, width=32, layers=1)
SHOT = r"Options: \(A\) (\w+), \(B\) (\w+), \(C\) (\w+)\nAnswer:\[([ABC])\]\."
seeds, numbers = st.integers(0, 10**6), st.integers(1, 16)


def text(ids: list[int]) -> str:
    return TOKENIZER.decode([token for token in ids if token != EOS])


@given(number=numbers, seed=seeds, trailing=st.integers(0, 9), kind=st.sampled_from(["dense", "last", "all"]))
def test_what_is_learned_of_a_row(number: int, seed: int, trailing: int, kind: str) -> None:
    shots = suite()[number - 1].shots(4, 5, seed)
    found, question = Shots(shots.relevant[1:], shots.distractors), shots.relevant[0]
    layout = Arrangement(relevant=3, distractors=5, shuffle=seed)
    laid = arrange(found, question, layout)
    row, pieces = line(laid, kind, trailing), [piece.shot for piece in laid if piece.shot]
    written = "".join(shot.question + shot.answer + shot.ending for shot in pieces).removesuffix("\n\n")
    assert text(row.ids) == written and row.ids.count(EOS) == (0 if kind == "dense" else trailing)
    learned = [token for token, flag in zip(row.ids, row.learned, strict=True) if flag]
    if kind == "dense":
        assert text(learned) == "".join(shot.answer for shot in pieces if shot not in shots.distractors)
    elif kind == "last":
        assert text(learned) == question.answer + "]." and learned.count(EOS) == trailing and row.learned[-1]
    else:
        assert learned == row.ids


@given(number=numbers, seed=seeds)
def test_the_tokenizer_writes_the_suite(number: int, seed: int) -> None:
    task = suite()[number - 1]
    for shot in [*task.shots(5, 5, seed).relevant, *task.shots(5, 5, seed).distractors, *task.questions(5)]:
        whole = shot.question + shot.answer + shot.ending
        ids = TOKENIZER.encode(whole)
        assert TOKENIZER.decode(ids) == whole and len(ids) == 9 and max(ids) < min(EOS, MASK)
        parts = [token for part in (shot.question, shot.answer, shot.ending) for token in TOKENIZER.encode(part)]
        assert parts == ids  # prompts are put together from pieces
    assert len(TOKENIZER.encode(".")) == len(TOKENIZER.encode("].")) == 1


def shots_of(recipe: LabRules, steps: range) -> list[list[tuple[str, ...]]]:
    """The examples and the question of every row: three options and a letter."""
    batches = [recipe.batch(step) for step in steps]
    texts = [text(ids[:end].tolist()) for batch in batches for ids, end in zip(batch.tokens, batch.end, strict=True)]
    return [re.findall(SHOT, row) for row in texts]


def test_rows_follow_from_seed_and_step_and_grow() -> None:
    recipe = replace(SMALL, trailing=20, whole=0.2)
    first, last = recipe.batch(0), recipe.batch(recipe.training.steps - 1)
    assert all(torch.equal(x, y) for x, y in zip(last, recipe.batch(recipe.training.steps - 1), strict=True))
    other = replace(recipe, training=replace(recipe.training, seed=1)).batch(0)
    assert first.tokens.shape != other.tokens.shape or not torch.equal(first.tokens, other.tokens)
    assert int(first.end.max()) <= 4 * 9 + 20 and 200 < int(last.end.max()) <= 51 * 9 + 20
    for batch in (first, last):
        assert 2000 <= int(batch.end.sum()) < 2000 + 51 * 9 + 20 and bool(batch.answer.any(1).all())
    rows = torch.cat([recipe.batch(step).answer[:, 0] for step in range(1400, 1480)])
    assert 0.15 < rows.float().mean() < 0.25 and not first.answer[:, 0].any()  # rows that are learned whole
    for begin, steps in ((True, range(3)), (False, range(1400, 1420))):
        for *shots, question in shots_of(recipe, steps):
            assert shots and question[0].isalpha()
            words = sum(shot[0].isalpha() for shot in shots)
            assert 1 <= words <= (3 if begin else 10) and len(shots) - words <= (0 if begin else 40)


def test_the_letters_of_the_examples_do_not_tell_that_of_the_question() -> None:
    """Balanced letters would: the rarest of five examples' letters would be right whenever a sixth is asked for."""
    hits = []
    for shots in shots_of(SMALL, range(1300, 1400)):
        *letters, last = [shot[3] for shot in shots if shot[0].isalpha()]
        if len(letters) in (2, 5, 8):
            hits.append(last == min("ABC", key=letters.count))
    assert len(hits) > 120 and abs(sum(hits) / len(hits) - 1 / 3) < 0.15


def rules_of(recipe: LabRules) -> set[str]:
    """The categories that are right."""
    words = {word: category for category, pool in word_pools().items() for word in pool}
    rows = shots_of(recipe, range(1400, 1460))
    return {words.get(row[-1]["ABC".index(row[-1][3])], "capitalized") for row in rows}


def test_all_rules_come() -> None:
    suites = {"country", "capitalized", "verb", "adjective", "animal", "color", "emotion", "object"}
    assert rules_of(replace(SMALL, drawn=0.0)) == suites
    assert rules_of(replace(SMALL, drawn=1.0)) == set(word_pools())


def test_a_row_may_follow_several_rules() -> None:
    """The later ones tell what the question asks; examples are shared, not multiplied."""
    words = {word: category for category, pool in word_pools().items() for word in pool}
    right = [
        {words.get(shot["ABC".index(shot[3])], "capitalized") for shot in row if shot[0].isalpha()}
        for row in shots_of(replace(SMALL, rules=4), range(1400, 1440))
    ]
    assert {len(kinds) for kinds in right} == {1, 2, 3, 4}
    assert max(len(row) for row in shots_of(replace(SMALL, rules=4), range(1400, 1440))) <= 51 + 3


@given(seed=seeds)
def test_drawn_rules_are_not_the_suites(seed: int) -> None:
    rule = drawn(Random(seed))
    assert 1 <= len(rule.others) <= 3 and rule.letters == "random"
    assert not any({rule.chosen, *rule.others} == {one, *others} and rule.chosen == one for (one, others), _ in NAMES)


def test_tokens_may_weigh_the_same() -> None:
    example = LabRules(weighted=False).objective.corrupt(SMALL.batch(0), MASK, 0)
    assert torch.allclose(example.weight, 1 / (SMALL.batch(0).answer.sum(1) * len(example.weight)))
    assert LabRules().objective == MaskedDiffusion()


def test_the_shipped_model_answers() -> None:
    found = replace(SMALL, validation=4).validate(load_checkpoint(locate("lab-rules"), dtype=torch.float32))
    assert found["score"] == found["masks_2"] >= 0.95 and found["masks_200"] >= 0.8


@pytest.mark.slow
def test_from_a_name_to_a_model(tmp_path: Path) -> None:
    training = Training(steps=2, optimiser="muon", ema=0.5, micro_rows=4, validate_every=2, save_every=1)
    folder = run(replace(SMALL, columns=60, training=training), out=tmp_path)
    card, model = read_json(folder / "card.json"), unveil.load(folder)
    assert card["recipe"] == "unveil train lab-rules" and card["accuracies"].keys() == {f"masks_{n}" for n in VALIDATED}
    assert card["parameters"] == sum(x.numel() for x in model.denoiser.parameters())
    again = replace(SMALL, start=str(folder)).model()
    assert torch.equal(again.embed.weight, model.denoiser.embed.weight)  # type: ignore[union-attr]
