"""Rollouts: what is recorded is what happened, whatever the batch; it is enough to learn from; no forward too many."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.policies.observations import awake
from tests.toy import MASK, NEW, PROMPTS, VOCABULARY, blank, toy
from unveil.canvas import DECODED, GIVEN, Canvas
from unveil.models.denoiser import Prediction, Want, Wrapped
from unveil.objectives.policy import ClippedRatio
from unveil.policies.confidence import ConfidencePolicy
from unveil.policies.learned import Learned
from unveil.sampling.blocks import Blocks
from unveil.sampling.picks import Pick, Threshold
from unveil.sampling.propose import Propose
from unveil.sampling.random_picks import Coin, CoinsOrBest, PlackettLuce, SomeCoins
from unveil.sampling.refresh import DualCache
from unveil.sampling.sampler import Sampler, Select
from unveil.training.rollout import Decisions, Rollouts, Shared, learned_select, roll_out

PICKS = [Coin(), SomeCoins(), CoinsOrBest(), PlackettLuce()]
RICH = {"top": 2, "entropy": True, "margin": True}
COPIES = 2
LIMIT = 12


def sampler_of(net: ConfidencePolicy, pick: Pick, *, size: int | None = 4, **more: Any) -> Sampler:
    """Blocks of four."""
    blocks, own = Blocks(size=size), {name: more.pop(name) for name in ("scale", "alpha") if name in more}
    score = Learned(net=net, blocks=blocks if net.settings.view == "block" else Blocks(), **own)
    return Sampler(blocks=blocks, unmask=Select(score=score, pick=pick), max_steps=LIMIT, **more)


def prompts(new: Sequence[int] = NEW) -> list[Canvas]:
    """One canvas a prompt, of its own width."""
    texts = (PROMPTS * 2)[: len(new)]
    return [blank([text], [count], seed=number) for number, (text, count) in enumerate(zip(texts, new, strict=True))]


@cache
def rolled(pick: Pick, view: str = "row", dtype: torch.dtype = torch.float64) -> tuple[Select, Rollouts]:
    sampler = sampler_of(awake(dtype=dtype, view=view, **RICH), pick)
    return learned_select(sampler), roll_out(sampler, toy(gain=0.5, dtype=dtype), prompts(), copies=COPIES, batch=2)


@dataclass(frozen=True, kw_only=True, eq=False)
class Counted(Wrapped):
    """A denoiser that notes how many rows each forward has."""

    rows: list[int] = field(default_factory=list)

    def __call__(self, canvas: Canvas, fresh: Tensor, read: Tensor, cache: Any, want: Want) -> Prediction:
        self.rows.append(len(canvas.done))
        return super().__call__(canvas, fresh, read, cache, want)


def tensors(decisions: Decisions) -> list[Tensor]:
    own = [decisions.rollout, *decisions.seen, decisions.eligible, decisions.chosen, decisions.log_prob]
    return own if decisions.order is None else [*own, decisions.order]


def assert_same(mine: Rollouts, theirs: Rollouts, within: float = 1e-12) -> None:
    """The same answers, and the same decisions in the same order."""
    assert len(mine.decisions) == len(theirs.decisions)
    for one, other in zip(tensors(mine.decisions), tensors(theirs.decisions), strict=True):
        assert one.dtype == other.dtype and torch.allclose(one.double(), other.double(), rtol=0, atol=within)
    for one, other in zip(mine.finished, theirs.finished, strict=True):
        assert torch.equal(one.tokens, other.tokens) and torch.equal(one.nfe, other.nfe)


@pytest.mark.parametrize("pick, view", [*((pick, "row") for pick in PICKS), (PICKS[-1], "block")], ids=repr)
def test_log_probabilities_recompute_from_what_is_stored(pick: Pick, view: str) -> None:
    select, found = rolled(pick, view)
    again = found.decisions.log_probs(select)
    assert torch.allclose(again, found.decisions.log_prob, rtol=0, atol=1e-10)
    assert (again < -1).any() and again.requires_grad and not found.decisions.log_prob.requires_grad


def test_log_probabilities_recompute_in_float32() -> None:
    select, found = rolled(PlackettLuce(), "row", torch.float32)
    assert found.decisions.log_prob.dtype == found.decisions.seen.features.dtype == torch.float32
    assert torch.allclose(found.decisions.log_probs(select), found.decisions.log_prob, rtol=0, atol=1e-4)


@pytest.mark.parametrize("pick", PICKS, ids=repr)
def test_decisions_replay_to_the_answer(pick: Pick) -> None:
    """As many as forwards; only masks are eligible; each is opened once; finished rows and prompts are not written."""
    _, found = rolled(pick)
    d, nfe = found.decisions, found.nfe.flatten()
    assert d.rollout.bincount().tolist() == nfe.tolist() and (d.rollout.diff() >= 0).all()
    assert len(set(nfe.tolist())) > 1 and not (d.chosen & ~d.eligible).any()
    for number, row in enumerate(found.finished):
        canvas = prompts()[number // COPIES]
        steps, start, new = (d.rollout == number).nonzero()[:, 0], int(canvas.start), NEW[number // COPIES]
        masked = torch.arange(d.chosen.shape[1]) < new
        for forward, step in enumerate(steps.tolist()):
            assert torch.equal(d.seen.masked[step], masked) and not (d.eligible[step] & ~masked).any()
            assert float(d.seen.time[step]) == pytest.approx(forward / new)
            masked = masked & ~d.chosen[step]
        left = row.undecided[0, start:]
        assert torch.equal(masked[:new], left) and not masked[new:].any()
        assert not left.any() or int(row.nfe) == LIMIT
        assert torch.equal(row.tokens[0, :start], canvas.tokens[0, :start]) and (row.stage[0, :start] == GIVEN).all()
        assert (row.stage[0, start:][~left] == DECODED).all()
    assert found.room.tolist() == [[new] * COPIES for new in NEW]


def test_finished_rows_are_as_they_ended() -> None:
    """Each answer is that of its row decoded alone, from its own first forward."""
    sampler = sampler_of(awake(**RICH), CoinsOrBest())
    found = rolled(CoinsOrBest())[1]
    for number, row in enumerate(found.finished):
        canvas = prompts()[number // COPIES]
        alone = replace(canvas, seed=canvas.seed * COPIES + number % COPIES)
        want = sampler.decode(toy(gain=0.5), alone)
        assert torch.equal(row.tokens, want.tokens) and torch.equal(row.nfe, want.nfe)


@pytest.mark.parametrize("batch", [1, 50])
def test_a_rollout_does_not_depend_on_its_batch(batch: int) -> None:
    sampler = sampler_of(awake(**RICH), PlackettLuce())
    assert_same(roll_out(sampler, toy(gain=0.5), prompts(), copies=COPIES, batch=batch), rolled(PlackettLuce())[1])


def test_a_prompt_does_not_depend_on_the_others() -> None:
    sampler = sampler_of(awake(**RICH), SomeCoins())
    _, whole = rolled(SomeCoins())
    alone = roll_out(sampler, toy(gain=0.5), prompts()[1:2], copies=COPIES, batch=2)
    theirs = whole.decisions.rows(whole.decisions.rollout // COPIES == 1)
    assert torch.allclose(alone.decisions.log_prob, theirs.log_prob, rtol=0, atol=1e-12)
    assert [row.tokens.tolist() for row in alone.finished] == [row.tokens.tolist() for row in whole.finished[2:4]]


def test_copies_differ() -> None:
    _, found = rolled(SomeCoins())
    assert all(len({str(row.written.tolist()) for row in found.finished[p * COPIES :][:COPIES]}) > 1 for p in range(3))


def test_a_shared_forward_changes_nothing() -> None:
    """Against the whole queue: what a first forward says is the same for all copies."""
    sampler = sampler_of(awake(**RICH), SomeCoins())
    drawn = replace(sampler, propose=Propose(temperature=1e-9))  # nothing is shared, and every draw is the best
    counted = [Counted(inner=toy(gain=0.5)), Counted(inner=toy(gain=0.5))]
    found = [
        roll_out(kind, model, prompts(), copies=COPIES, batch=9)
        for kind, model in zip((sampler, drawn), counted, strict=True)
    ]
    assert_same(*found)
    assert sum(counted[1].rows) - sum(counted[0].rows) == len(NEW) * (COPIES - 1)


def test_drawn_tokens_are_not_shared() -> None:
    sampler = replace(sampler_of(awake(), CoinsOrBest(), scale=1e9, size=None), propose=Propose(temperature=5.0))
    found = roll_out(sampler, toy(gain=0.1), prompts([8]), copies=4, batch=4)
    assert found.nfe.tolist() == [[1] * 4] and len({str(row.answer(0)) for row in found.finished}) == 4


def test_forwards_follow_a_trace_counted_by_hand() -> None:
    """One token a forward: the best. Rows of 2, 3 and 1 new tokens, two copies, two at a time."""
    sampler, model = sampler_of(awake(), CoinsOrBest(), scale=1e-300), Counted(inner=toy())
    found = roll_out(sampler, model, prompts([2, 3, 1]), copies=2, batch=2)
    # Shared first forwards: prompts 0 and 1, then 2, which is done. Left: 1, 1, 2, 2 tokens.
    assert model.rows == [2, 1, 2, 2, 2]
    assert found.nfe.tolist() == [[2, 2], [3, 3], [1, 1]]
    assert found.decisions.chosen.sum(1).tolist() == [1] * 12
    # In a KV buffer nothing is shared: 2, 2 / 3, 3 / 1, 1 tokens.
    cached = Counted(inner=toy())
    roll_out(replace(sampler, refresh=DualCache()), cached, prompts([2, 3, 1]), copies=2, batch=2)
    assert cached.rows == [2] * 6


def test_empty_forwards_count_and_a_limit_ends_them() -> None:
    sampler = replace(sampler_of(awake(), Coin(), scale=1e-300), max_steps=3)
    found = roll_out(sampler, toy(), prompts([2, 4]), copies=2, batch=4)
    assert found.nfe.tolist() == [[3, 3], [3, 3]] and not found.decisions.chosen.any()
    assert [row.answer(0) for row in found.finished] == [[MASK] * 2] * 2 + [[MASK] * 4] * 2


def test_everything_may_end_in_the_first_forward() -> None:
    model = Counted(inner=toy())
    found = roll_out(sampler_of(awake(), CoinsOrBest(), scale=1e300, size=None), model, prompts(), copies=2, batch=8)
    assert found.nfe.tolist() == [[1, 1]] * 3 and model.rows == [3]


def test_a_cache_plan_is_recorded_as_it_is_used() -> None:
    sampler = replace(sampler_of(awake(**RICH), SomeCoins()), refresh=DualCache())
    found = roll_out(sampler, toy(gain=0.5), prompts(), copies=2, batch=2)
    again = found.decisions.log_probs(learned_select(sampler))
    assert torch.allclose(again, found.decisions.log_prob, rtol=0, atol=1e-10)


def test_an_update_reaches_the_policy_and_not_the_model() -> None:
    """A round by hand: after a step up the gradient, what earned more is more probable."""
    net, model = awake(**RICH), toy(gain=0.5).requires_grad_(True)
    sampler = sampler_of(net, SomeCoins())
    select, found = learned_select(sampler), roll_out(sampler, model, prompts(), copies=COPIES, batch=9)
    objective = ClippedRatio(chunk=5)
    lesson = objective.lesson(found.decisions, 1 / found.nfe.double())

    def loss() -> float:
        with torch.no_grad():
            parts = objective.losses(lambda some: some.log_probs(select), lesson)
            return float(sum(part.loss for part in parts))

    before = loss()
    for part in objective.losses(lambda some: some.log_probs(select), lesson):
        part.loss.backward()
    assert all(weight.grad is None for weight in model.parameters())
    with torch.no_grad():
        for weight in net.parameters():
            assert weight.grad is not None and weight.grad.isfinite().all()
            weight -= 1e-3 * weight.grad
    assert loss() < before - 1e-9


def test_every_prompt_may_be_told_its_own_weight_of_speed() -> None:
    """As if each were alone under a policy told that weight; what was told is stored, so it recomputes."""
    net, alphas = awake(alpha=True), [4.0, 0.0, 1.0]
    samplers = [sampler_of(net, SomeCoins(), alpha=alpha) for alpha in alphas]
    found = roll_out(samplers[0], toy(gain=0.5), prompts()[::-1], copies=2, batch=3, alphas=alphas)
    assert found.decisions.seen.alpha.tolist() == [alphas[number // 2] for number in found.decisions.rollout.tolist()]
    again = found.decisions.log_probs(learned_select(samplers[0]))
    assert torch.allclose(again, found.decisions.log_prob, rtol=0, atol=1e-10)
    for number, (sampler, prompt) in enumerate(zip(samplers, prompts()[::-1], strict=True)):
        alone = roll_out(sampler, toy(gain=0.5), [prompt], copies=2, batch=3)
        mine = found.decisions.log_prob[found.decisions.rollout // 2 == number]
        assert torch.allclose(mine, alone.decisions.log_prob, rtol=0, atol=1e-12)


def test_what_is_stored_is_small() -> None:
    """On the host; columns of answers alone: a bit of a column is a byte, its features are numbers of the policy."""
    _, found = rolled(PlackettLuce(), "row", torch.float32)
    d, widest = found.decisions, max(NEW)
    size = sum(x.numel() * x.element_size() for x in tensors(d))
    assert size == len(d) * (widest * (4 * 1 + 2 + 4 * 4) + 8 + 3 * 4 + 4)
    assert all(x.device.type == "cpu" and not x.requires_grad for x in tensors(d))


TOLD = sampler_of(awake(alpha=True), SomeCoins(), alpha=0.0)
ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"sampler": Sampler(unmask=Select(pick=SomeCoins()))}, "this sampler unmasks by Select"),
    ({"sampler": sampler_of(awake(), Threshold(bar=0.5))}, "Threshold(bar=0.5) leaves nothing to chance, so nothing"),
    ({"prompts": []}, "no prompts: rollouts need at least one"),
    ({"prompts": [blank()]}, "a prompt has several rows: split it with canvas.rows(torch.tensor([i]))"),
    ({"prompts": prompts()[:1] * 2}, "two prompts have the same seed, so their copies would draw the same noise"),
    ({"copies": 0}, "copies=0 is not positive: decode each prompt at least once"),
    ({"alphas": [1.0]}, "1 alphas for 3 prompts: give one for each"),
    ({"alphas": [1.0] * 3}, "alphas have no effect on a policy whose settings do not have alpha=True: leave them out"),
    ({"sampler": TOLD, "alphas": [1.0, -1.0, 0.0]}, "alpha=-1.0 is negative: it is the weight of speed, 0 is correct"),
    ({"batch": 0}, "batch=0 is not positive: decode at least one row at a time"),
]


@pytest.mark.parametrize("change, message", ERRORS, ids=[message[:30] for _, message in ERRORS])
def test_what_cannot_be_rolled_out_is_explained(change: dict[str, Any], message: str) -> None:
    settings = {"sampler": sampler_of(awake(), SomeCoins()), "prompts": prompts(), "copies": 2, "batch": 2} | change
    with pytest.raises(ValueError) as caught:
        roll_out(settings.pop("sampler"), toy(), settings.pop("prompts"), **settings)
    assert str(caught.value).startswith(message)


def test_equal_rows_share_no_cache() -> None:
    with pytest.raises(ValueError, match="equal rows share a forward without a cache alone"):
        Shared(inner=toy(), copies=2).new_cache(blank())
    assert Shared(inner=toy(), copies=2).outline.blank_id == MASK < VOCABULARY
