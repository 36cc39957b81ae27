"""Scores: what each says, what it asks of the model, and what it looks at."""

from dataclasses import replace

import pytest
import torch

from tests.toy import MASK, PROMPTS, blank, toy
from unveil.canvas import Canvas
from unveil.models.denoiser import Want
from unveil.sampling.propose import Proposal, Propose
from unveil.sampling.scores import (
    Certainty,
    Chance,
    Confidence,
    Differs,
    EndsLast,
    Gain,
    LeftToRight,
    Margin,
    Noisy,
    Score,
)

NEVER = float("-inf")
ALL: list[Score] = [
    Confidence(), Margin(), Certainty(), LeftToRight(), Chance(), Gain(), Differs(), EndsLast(score=Margin()),
    Noisy(score=Certainty(), temperature=1.0),
]  # fmt: skip


def proposal(canvas: Canvas, *scores: Score) -> Proposal:
    """What the toy says about every undecided column, and the probabilities behind it are checked in models/."""
    want = Propose().want(canvas)
    for score in scores:
        want = score.require(want)
    return Propose()(toy()(canvas, canvas.inside, canvas.undecided, None, want), canvas)


def distribution(canvas: Canvas) -> torch.Tensor:
    """(W, V): the probabilities of the undecided columns."""
    want = Want(proposals=False, logits=True)
    logits = toy()(canvas, canvas.inside, canvas.undecided, None, want).logits
    assert logits is not None
    logits[:, MASK] = NEVER
    return logits.softmax(-1)


def test_scores_of_a_distribution() -> None:
    canvas = blank()
    p, seen = distribution(canvas), canvas.undecided
    first, second = p.topk(2).values.T
    said = proposal(canvas, Margin(), Certainty())
    assert torch.allclose(Confidence()(said, canvas)[seen], first)
    assert torch.allclose(Margin()(said, canvas)[seen], first - second)
    assert torch.allclose(Certainty()(said, canvas)[seen], -torch.special.entr(p).sum(-1))
    assert torch.equal(said.tokens[seen], p.argmax(-1)) and (said.confidence[~seen] == NEVER).all()


def test_reading_order_and_chance_need_no_model() -> None:
    canvas = blank(seed=[1, 2, 3])
    nothing = Proposal(canvas.tokens, torch.full(canvas.tokens.shape, NEVER))
    assert torch.equal(LeftToRight()(nothing, canvas).argsort(1, descending=True), canvas.column.expand(3, -1))
    chance = Chance()(nothing, canvas)
    assert torch.equal(chance, canvas.uniform(2)) and ((0 < chance) & (chance < 1)).all()
    assert torch.equal(Chance()(nothing, canvas.rows(torch.tensor([1]))), chance[1:2])


def test_gain_and_difference_compare_with_what_stands() -> None:
    canvas = Canvas.blank([[1]], 3, mask_id=MASK)
    canvas = replace(canvas, tokens=torch.tensor([[1, 5, 6, 7]]), confidence=torch.tensor([[0.0, 0.5, 0.25, 0.75]]))
    said = Proposal(torch.tensor([[1, 5, 8, 9]]), torch.tensor([[NEVER, 0.75, 0.5, 0.5]]))
    assert Gain()(said, canvas).tolist() == [[NEVER, 0.25, 0.25, -0.25]]
    assert Differs()(said, canvas).tolist() == [[NEVER, NEVER, 0.5, 0.5]]


def test_ends_come_last_in_their_own_order() -> None:
    canvas = Canvas.blank([[1]], 4, mask_id=MASK, end_ids=(5, 6))
    said = Proposal(torch.tensor([[1, 5, 7, 6, 8]]), torch.tensor([[0.1, 0.75, 0.5, 1.0, 0.25]], dtype=torch.float64))
    order = EndsLast(score=Confidence())(said, canvas)[0, 1:].argsort(descending=True)
    assert order.tolist() == [1, 3, 2, 0]
    without = replace(canvas, end_ids=())
    assert torch.equal(EndsLast(score=Confidence())(said, without), said.confidence)


def test_noise_is_added_to_the_score_over_the_temperature() -> None:
    canvas = blank(seed=[1, 2, 3])
    said = Proposal(canvas.tokens, torch.rand(canvas.tokens.shape).double())
    one, hundred = (Noisy(score=Confidence(), temperature=t)(said, canvas) for t in (1.0, 0.01))
    assert torch.allclose(hundred - one, 99 * said.confidence)
    g = one - said.confidence
    assert torch.allclose(torch.exp(-torch.exp(-g)), canvas.uniform(4))  # Gumbel noise of the row's own numbers


@pytest.mark.parametrize("score", ALL, ids=repr)
def test_a_score_asks_for_what_it_needs_and_keeps_what_others_asked(score: Score) -> None:
    canvas = blank(PROMPTS, 4, end_ids=(3,))
    assert score(proposal(canvas, score), canvas).shape == canvas.tokens.shape
    asked = score.require(Want(entropy=True, top=7, temperature=0.5, forbid=(1,)))
    assert (asked.entropy, asked.top, asked.temperature, asked.forbid) == (True, 7, 0.5, (1,))


@pytest.mark.parametrize("score", ALL, ids=repr)
def test_only_scores_that_ignore_the_model_read_no_column(score: Score) -> None:
    canvas = blank()
    here, eligible = canvas.undecided, canvas.undecided & (canvas.column % 2 == 0)
    blind = isinstance(score, LeftToRight | Chance)
    assert torch.equal(score.view(canvas, here, eligible), eligible & (not blind))
