"""What is read at the first mask is what a full forward says there; shared work and batches change nothing."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.diagnostics.context.small import Animals, cell, close, small
from tests.toy import MASK, columns_computed, logits
from unveil.decoding.model import Model
from unveil.diagnostics.context.cells import Reading
from unveil.diagnostics.context.readings import Decoded, FirstMask
from unveil.diagnostics.context.rows import Row, row
from unveil.models.attention import Bidirectional, BlockCausal, Causal, Rule

RULES = [Bidirectional(), Causal(), BlockCausal(size=4)]
SOURCE = Animals()


def built(model: Model, number: int = 0, **arrangement: Any) -> Row:
    layout = cell(FirstMask(), **arrangement).arrangement
    shots = SOURCE.shots(layout.relevant, layout.distractors, 0)
    return row(model, SOURCE, shots, SOURCE.questions(number + 1)[number], layout)


def ragged(model: Model) -> list[Row]:
    """Questions, numbers of masks, orders and places in one batch; rows 0, 1, 2 and 4 begin with the same examples."""
    infill = {"form": "infill", "masks": 1}
    return [
        built(model, 0, masks=2),
        built(model, 1, masks=2),
        built(model, 0, masks=30),
        built(model, 1, masks=9, shuffle=1),
        built(model, 2, filler="dots", fillers=5),
        built(model, 2, relevant=1, distractors=0, **infill),
        built(model, 0, question="left", **infill),
    ]


def at_first_mask(model: Model, one: Row) -> torch.Tensor:
    """Log-probabilities of a full forward of one row, without [MASK]."""
    all_columns = logits(model.denoiser, torch.tensor(one.ids), start=one.answer)
    here = all_columns[one.answer]
    here[MASK] = -torch.inf
    return here.log_softmax(-1)


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("rule", RULES, ids=["bidirectional", "causal", "block causal"])
def test_the_answer_is_that_of_a_full_forward_at_the_first_mask(rule: Rule, shift: int) -> None:
    model = small(rule=rule, shift=shift, gain=2.0)
    rows = ragged(model)
    answers = set()
    for one, found in zip(rows, FirstMask()(model, rows), strict=True):
        log_p = at_first_mask(model, one)
        best = int(log_p.argmax())
        entropy = -(log_p.exp() * log_p.clamp_min(-1e9)).sum()
        text = model.tokenizer.decode([best]).strip()
        want = {"answer": text, "correct": False, "confidence": float(log_p[best].exp()), "entropy": float(entropy)}
        assert close(found, want | {"nfe": 1, "correct": text == one.label})
        right = FirstMask()(model, [one._replace(label=text)])[0]
        assert right["correct"] is True
        answers.add(text)
    assert len(answers) > 1


def test_what_causal_rows_share_is_computed_once() -> None:
    model = small(rule=Causal())
    rows = ragged(model)
    counts = columns_computed(model.denoiser)
    found = FirstMask()(model, rows)
    shared = 7 * 11  # the examples of rows 0, 1, 2 and 4; rows 3 and 5 have their own, the last has none before it
    early = shared + shared + 11
    assert counts == [early, sum(len(one.ids) for one in rows) - 5 * shared - 11]
    plain = [FirstMask()(model, [one])[0] for one in rows]
    assert close(found, plain)


def test_what_block_causal_rows_share_is_computed_once() -> None:
    model = small(rule=BlockCausal(size=4))
    rows = [built(model, question, masks=masks) for question in (0, 1) for masks in (2, 5, 20)]
    counts = columns_computed(model.denoiser)
    found = FirstMask()(model, rows)
    assert counts == [rows[0].answer + rows[3].answer, 2 * (2 + 5 + 20)]  # two prompts, and the masks
    assert close(found, [FirstMask()(model, [one])[0] for one in rows])


def test_bidirectional_rows_share_nothing() -> None:
    model = small()
    rows = ragged(model)
    counts = columns_computed(model.denoiser)
    FirstMask()(model, rows)
    assert counts == [sum(len(one.ids) for one in rows)]


def test_a_causal_model_that_predicts_the_next_token_goes_on_after_the_opening() -> None:
    model = small(rule=Causal(), shift=1)
    rows = [built(model, masks=masks) for masks in (1, 2, 40)]
    following = logits(model.denoiser, torch.tensor([*rows[0].ids[: rows[0].answer], MASK]))  # [MASK] is not seen
    best = int(following[-1, :MASK].argmax())
    found = FirstMask()(model, rows)
    assert {one["answer"] for one in found} == {model.tokenizer.decode([best]).strip()}
    assert close(found[0], found[1]) and close(found[0], found[2])
    seen = FirstMask()(small(shift=1), rows)
    assert not close(seen[0], seen[2])  # a model that looks at all masks is changed by their number


READINGS = [FirstMask(), Decoded(steps=3), Decoded(steps=4, remasking="random")]


@pytest.mark.parametrize("rule", RULES, ids=["bidirectional", "causal", "block causal"])
@pytest.mark.parametrize("reading", READINGS, ids=repr)
def test_a_row_never_depends_on_its_batch(reading: Reading, rule: Rule) -> None:
    model = small(rule=rule)
    rows = ragged(model)
    alone = [reading(model, [one])[0] for one in rows]

    @settings(max_examples=4)
    @given(st.permutations(range(len(rows))), st.integers(1, len(rows)))
    def holds(order: list[int], count: int) -> None:
        assert close(reading(model, [rows[n] for n in order[:count]]), [alone[n] for n in order[:count]])

    holds()


@pytest.mark.parametrize("remasking", ["low_confidence", "random"])
def test_decoding_in_one_step_is_reading_the_first_mask(remasking: str) -> None:
    model = small()
    rows = ragged(model)
    decoded, read = Decoded(steps=1, remasking=remasking)(model, rows), FirstMask()(model, rows)
    for found, want in zip(decoded, read, strict=True):
        assert found.keys() == want.keys() - {"entropy"} and found["answer"] == want["answer"]
        assert found["confidence"] == pytest.approx(want["confidence"], rel=1e-6)  # a canvas keeps it in float32


def test_there_are_as_many_steps_as_asked_or_as_masks() -> None:
    model = small()
    rows = ragged(model)
    found = Decoded(steps=6)(model, rows)
    assert [one["nfe"] for one in found] == [min(6, one.masks) for one in rows] == [2, 2, 6, 6, 2, 1, 1]
    assert not close(found, Decoded(steps=2)(model, rows))


def test_random_orders_differ_from_prompt_to_prompt() -> None:
    model = small()
    rows = [built(model, question, masks=2) for question in range(16)]
    first, second = Decoded(steps=2, remasking="random")(model, rows), FirstMask()(model, rows)
    at_once = [abs(one["confidence"] - other["confidence"]) < 1e-7 for one, other in zip(first, second, strict=True)]
    assert 2 < sum(at_once) < 14  # the answer is opened first in about half of them


BAD = {
    "steps": ({"steps": 0}, "^steps is 0; it must be at least 1$"),
    "remasking": ({"steps": 1, "remasking": "worst"}, "^remasking='worst' is unknown: choose one of low_confidence, r"),
}


@pytest.mark.parametrize(("settings", "words"), BAD.values(), ids=BAD)
def test_decoding_that_does_not_exist(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Decoded(**settings)
