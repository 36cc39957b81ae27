"""A learned policy is a score, its exploration a pick: what was recorded can be computed again, with gradients."""

from dataclasses import dataclass

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tests.toy import PROMPTS, blank, toy
from unveil.canvas import Canvas
from unveil.sampling.blocks import Blocks
from unveil.sampling.picks import Choice, Pick, Quota, Threshold
from unveil.sampling.propose import Proposal
from unveil.sampling.random_picks import Coin, PlackettLuce
from unveil.sampling.sampler import Sampler, Select, Step
from unveil.sampling.scores import Score


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned(Score):
    """Logits from confidence and time."""

    head: nn.Module

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "B L"]:
        seen = torch.nan_to_num(proposal.confidence, neginf=0.0)
        time = (canvas.step / 8)[:, None].expand_as(seen).to(seen)
        return self.head(torch.stack([seen, time], -1))[..., 0]


def policy() -> Learned:
    torch.manual_seed(0)
    return Learned(head=nn.Linear(2, 1).double())


def rollout(score: Score, pick: Pick, new: int = 8) -> list[Step]:
    sampler = Sampler(blocks=Blocks(size=4), unmask=Select(score=score, pick=pick), max_steps=200)
    with torch.no_grad():
        return list(sampler.stream(toy(gain=0.5), blank(PROMPTS, [new, new + 3, new], seed=[0, 1, 2])))


@pytest.mark.parametrize("pick", [Coin(), PlackettLuce(stop=0.5)], ids=lambda pick: type(pick).__name__)
def test_recorded_log_probabilities_recompute_and_give_gradients(pick: Pick) -> None:
    score = policy()
    steps = rollout(score, pick)
    recorded = sum(step.unmask.log_prob for step in steps)
    again = sum(
        pick.log_prob(score(step.proposal, step.before), step.unmask.eligible, step.unmask.choice) for step in steps
    )
    assert isinstance(recorded, Tensor) and isinstance(again, Tensor)
    assert torch.allclose(recorded, again, rtol=0, atol=1e-12) and (recorded < 0).all()
    (-(again * torch.tensor([1.0, -0.5, 0.2])).sum()).backward()
    gradient = score.head.weight.grad
    assert gradient.isfinite().all() and gradient.abs().min() > 0


@pytest.mark.parametrize("pick", [Coin(), PlackettLuce()], ids=lambda pick: type(pick).__name__)
def test_a_step_that_asks_a_row_nothing_has_probability_one(pick: Pick) -> None:
    for step in rollout(policy(), pick):
        asleep = ~step.unmask.eligible.any(1)
        assert (step.unmask.log_prob[asleep] == 0).all()
    assert asleep.any()


def test_a_heuristic_can_be_imitated_from_the_same_trajectory() -> None:
    score, coin = policy(), Coin()
    steps = rollout(score, coin)
    total = torch.zeros(3, dtype=torch.float64)
    for step in steps:
        expert = Threshold(bar=0.3)(step.proposal.confidence, step.unmask.eligible, step.before)
        total = total + coin.log_prob(score(step.proposal, step.before), step.unmask.eligible, expert)
    assert total.isfinite().all()
    total.sum().backward()
    assert score.head.weight.grad.abs().min() > 0


def test_a_sequence_can_be_imitated_too() -> None:
    """The two best of a quota, best first, under the sequence model: its gradient raises their scores."""
    steps = rollout(policy(), Coin())
    step = steps[0]
    expert = Quota(steps=2)(step.proposal.confidence, step.unmask.eligible, step.before)
    rank = step.proposal.confidence.masked_fill(~expert.chosen, float("-inf")).argsort(1, descending=True).argsort(1)
    choice = Choice(expert.chosen, rank.masked_fill(~expert.chosen, -1))
    scores = torch.zeros_like(step.proposal.confidence, requires_grad=True)
    PlackettLuce(stop=-1.0).log_prob(scores, step.unmask.eligible, choice).sum().backward()
    assert scores.grad is not None and scores.grad.isfinite().all()
    assert (scores.grad[expert.chosen] > 0).all()
    assert (scores.grad[step.unmask.eligible & ~expert.chosen] < 0).all()
    assert (scores.grad[~step.unmask.eligible] == 0).all()


def test_certain_picks_have_probability_one() -> None:
    for step in rollout(policy(), Threshold(bar=0.2)):
        assert step.unmask.log_prob is not None and (step.unmask.log_prob == 0).all()
