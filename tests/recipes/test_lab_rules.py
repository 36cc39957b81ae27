"""lab-rules: rows are the suite's texts, what is learned of them, how they grow."""

import re
from dataclasses import replace
from functools import cache
from itertools import groupby, product
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unveil
from recipes import lab_rules
from recipes.lab_rules import EOS, MASK, TOKENIZER, VALIDATED, LabRules, drawn, line
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint
from unveil.diagnostics.context.cells import Cell, Record
from unveil.diagnostics.context.few_shot.shots import Arrangement, Shots, arrange
from unveil.diagnostics.context.few_shot.suite import NAMES, RuleTask, suite, word_pools
from unveil.diagnostics.context.run import measure
from unveil.files import read_json
from unveil.objectives.loss import Batch
from unveil.objectives.masked import MaskedDiffusion
from unveil.training.settings import Training
from unveil.training.trainer import run

SMALL = LabRules(columns=2000, validation=1, width=32, layers=1)
MIXED = replace(SMALL, dense=0.3, whole=0.2)
LATE = range(1050, 1090)  # rows have grown
SHOT = r"Options: \(A\) (\w+), \(B\) (\w+), \(C\) (\w+)\nAnswer:\[([ABC])\]\."
CATEGORY = {word: category for category, pool in word_pools().items() for word in pool}
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


@cache
def batch_of(recipe: LabRules, step: int) -> Batch:
    return recipe.batch(step)


def shots_of(recipe: LabRules, steps: range) -> list[list[tuple[str, ...]]]:
    """The examples and the question of every row: three options and a letter."""
    batches = [batch_of(recipe, step) for step in steps]
    texts = [text(ids[:end].tolist()) for batch in batches for ids, end in zip(batch.tokens, batch.end, strict=True)]
    return [re.findall(SHOT, row) for row in texts]


def test_rows_follow_from_seed_and_step() -> None:
    first, again, *others = (
        replace(SMALL, training=replace(SMALL.training, seed=seed)).batch(step)
        for seed, step in ((0, 1400), (0, 1400), (0, 1401), (1, 1400), (1, 1399))
    )
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
    assert not any(torch.equal(first.tokens[0, :200], other.tokens[0, :200]) for other in others)
    for batch in (first, *others):
        longest = int(batch.end.max())
        assert 200 < longest == batch.tokens.shape[1] and 2000 <= int(batch.end.sum()) < 2000 + longest
        assert bool(batch.answer.any(1).all())


@pytest.mark.parametrize(
    ("steps", "words", "distractors"),
    [(range(599, 600), 3, 0), (range(818, 825), 6, 20), (LATE, 10, 40)],
)
def test_rows_grow(steps: range, words: int, distractors: int) -> None:
    """Until a share `short` of 1,500 steps, halfway from there, and from `growing` on."""
    rows = shots_of(MIXED, steps)
    assert all(row[-1][0].isalpha() for row in rows)
    counts = [sum(shot[0].isalpha() for shot in row) - 1 for row in rows]
    others = [len(row) - 1 - count for row, count in zip(rows, counts, strict=True)]
    assert set(counts) == set(range(1, words + 1))
    assert (min(others), max(others)) == (0, distractors) and len(set(others)) > 0.9 * distractors


def test_shares_of_the_kinds_of_rows() -> None:
    whole, closed, trailing = list[bool](), list[bool](), set[int]()
    for batch in (batch_of(MIXED, step) for step in LATE):
        rows = torch.arange(len(batch.end))
        whole += batch.answer[:, 0].tolist()
        closed += batch.answer[rows, batch.end - 1].tolist()  # its closing, or the EOS after it, is learned
        trailing |= {int((row[:end] == EOS).sum()) for row, end in zip(batch.tokens, batch.end, strict=True)}
    assert abs(sum(whole) / len(whole) - 0.2) < 0.05 and abs(sum(closed) / len(closed) - 0.7) < 0.05
    assert trailing == set(range(17))
    short = batch_of(MIXED, 599)
    assert not short.answer[:, 0].any() and not short.answer[torch.arange(len(short.end)), short.end - 1].any()


def test_the_letters_of_the_examples_do_not_tell_that_of_the_question() -> None:
    """Balanced letters would: the rarest of five examples' letters would be right whenever a sixth is asked for."""
    hits = []
    for shots in shots_of(MIXED, LATE):
        *letters, last = [shot[3] for shot in shots if shot[0].isalpha()]
        if len(letters) in (2, 5, 8):
            hits.append(last == min("ABC", key=letters.count))
    assert len(hits) > 80 and abs(sum(hits) / len(hits) - 1 / 3) < 0.15


def right(shot: tuple[str, ...]) -> str:
    return shot["ABC".index(shot[3])]


def category(shot: tuple[str, ...]) -> str:
    """Of the right word."""
    return CATEGORY.get(right(shot), "capitalized")


def rules_of(recipe: LabRules, steps: range) -> set[tuple[str, int]]:
    """The category that is right, and of numbers the first or the last of three."""
    found = set()
    for row in shots_of(recipe, steps):
        numbers = [shot for shot in row if shot[0].isdigit()]
        found |= {(category(row[-1]), sorted(map(int, shot[:3])).index(int(right(shot)))) for shot in numbers}
    return found


def test_all_rules_come() -> None:
    suites = {"country", "capitalized", "verb", "adjective", "animal", "color", "emotion", "object"}
    late = LATE[:20]
    assert rules_of(replace(SMALL, drawn=0.0), late) == set(product(suites, (0, 2)))
    assert rules_of(replace(SMALL, drawn=1.0), late) == set(product(CATEGORY.values(), (0, 2)))
    assert {category(row[-1]) for row in shots_of(replace(SMALL, drawn=1.0), range(599, 600))} == suites


def test_a_row_may_follow_several_rules() -> None:
    """One after the other; the question asks by the last one; examples are shared, not multiplied."""
    recipe = replace(SMALL, rules=4)
    rows = shots_of(recipe, LATE[:20])
    kinds = [[category(shot) for shot in row if shot[0].isalpha()] for row in rows]
    assert {sum(1 for _ in groupby(row)) for row in kinds} == {1, 2, 3, 4} and all(row[-1] == row[-2] for row in kinds)
    assert max(map(len, rows)) <= 51 + 3
    assert all(len({category(shot) for shot in row}) == 1 for row in shots_of(recipe, range(599, 600)))


def test_drawn_rules_are_any_but_the_suites() -> None:
    rng, suites = Random(0), {(chosen, frozenset(others)) for (chosen, others), _ in NAMES}
    rules = [drawn(rng) for _ in range(5000)]
    assert not suites & {(rule.chosen, frozenset(rule.others)) for rule in rules}
    assert {len(rule.others) for rule in rules} == {1, 2, 3} and {rule.letters for rule in rules} == {"random"}


def test_tokens_may_weigh_the_same() -> None:
    example = LabRules(weighted=False).objective.corrupt(SMALL.batch(0), MASK, 0)
    assert torch.allclose(example.weight, 1 / (SMALL.batch(0).answer.sum(1) * len(example.weight)))
    assert LabRules().objective == MaskedDiffusion()


def test_the_shipped_model_answers_questions_of_the_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are kept by them, so none may be a test question."""
    records = list[Record]()

    def spy(model: object, tasks: list[RuleTask], cells: list[Cell], **more: object) -> list[Record]:
        assert [(task.name, task.split) for task in tasks] == [(task.name, "validation") for task in suite()]
        assert [cell.arrangement for cell in cells] == [Arrangement(masks=masks) for masks in VALIDATED]
        records.extend(measure(model, tasks, cells, **more))  # type: ignore[arg-type]
        return records

    monkeypatch.setattr(lab_rules, "measure", spy)
    found = replace(SMALL, validation=2).validate(load_checkpoint(Folder.named("lab-rules"), dtype=torch.float32))
    assert len(records) == 2 * 16 * len(VALIDATED)
    for masks in VALIDATED:
        correct = [record.found["correct"] for record in records if record.masks == masks]
        assert found[f"masks_{masks}"] == sum(correct) / 32
    assert found["score"] == found["masks_2"] >= 0.95 and found["masks_200"] >= 0.8


@pytest.mark.slow
def test_from_a_name_to_a_model(tmp_path: Path) -> None:
    training = Training(steps=2, optimiser="muon", ema=0.5, micro_rows=4, validate_every=2, save_every=1)
    folder = run(replace(SMALL, columns=60, training=training), out=tmp_path)
    card, model = read_json(folder / "card.json"), unveil.load(folder)
    assert card["recipe"] == "python -m recipes.lab_rules"
    assert card["accuracies"].keys() == {f"masks_{n}" for n in VALIDATED}
    assert card["parameters"] == sum(x.numel() for x in model.denoiser.parameters())
    size, question = model.denoiser.architecture, suite()[4].questions(1)[0].question
    assert (size.width, size.layers) == (32, 1) and model.tokenizer.encode(question) == TOKENIZER.encode(question)
    again = replace(SMALL, start=str(folder)).model()
    assert torch.equal(again.embed.weight, model.denoiser.embed.weight)  # type: ignore[arg-type, union-attr]
