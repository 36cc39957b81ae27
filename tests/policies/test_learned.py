"""A policy in a sampler: what it sees, that its probabilities recompute, and that batch and cache change nothing."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.laws.parts import PLANS, SIZE, assert_same_row, model, seeded
from tests.policies.observations import awake
from tests.toy import NEW, PROMPTS, blank, toy
from unveil.canvas import DECODED, Canvas
from unveil.policies.confidence import ConfidencePolicy, ConfidenceSettings, Observation
from unveil.policies.learned import Learned
from unveil.sampling.blocks import Blocks
from unveil.sampling.picks import Pick
from unveil.sampling.propose import Propose
from unveil.sampling.queue import decode_queue
from unveil.sampling.random_picks import Coin, CoinsOrBest, PlackettLuce, SomeCoins
from unveil.sampling.refresh import DelayedCache, DualCache, NearCache, NoCache, PrefixCache, Refresh
from unveil.sampling.sampler import Sampler, Select, Step

PICKS = [Coin(), SomeCoins(), CoinsOrBest(), PlackettLuce()]
REFRESHED = [DualCache(every=1), PrefixCache(every=1), NearCache(every=1, radius=1), DelayedCache(every=1)]
RICH = {"top": 3, "entropy": True, "margin": True}


def sampler_of(
    net: ConfidencePolicy,
    pick: Pick | None = None,
    *,
    size: int | None = SIZE,
    refresh: Refresh | None = None,
    **more: float,
) -> Sampler:
    """The sampler that `policy:...` would be."""
    blocks = Blocks(size=size)
    score = Learned(net=net, blocks=blocks if net.settings.view == "block" else Blocks(), **more)
    select = Select(score=score, pick=pick or CoinsOrBest())
    return Sampler(blocks=blocks, refresh=refresh or NoCache(), unmask=select, max_steps=300)


def learned(sampler: Sampler) -> Learned:
    """Its score."""
    assert isinstance(sampler.unmask, Select) and isinstance(sampler.unmask.score, Learned)
    return sampler.unmask.score


@torch.no_grad()
def rollout(sampler: Sampler, canvas: Canvas, dtype: torch.dtype = torch.float64) -> list[Step]:
    return list(sampler.stream(toy(gain=0.5, dtype=dtype), canvas))


@pytest.mark.parametrize("view", ["row", "block"])
@pytest.mark.parametrize("pick", PICKS, ids=repr)
@pytest.mark.parametrize("dtype, within", [(torch.float64, 1e-10), (torch.float32, 1e-4)], ids=str)
def test_recorded_log_probabilities_recompute_from_stored_observations(
    pick: Pick, view: str, dtype: torch.dtype, within: float
) -> None:
    """All steps in one batch, as an update does: what is stored is enough, and its gradient reaches every weight."""
    sampler = sampler_of(awake(dtype=dtype, view=view, **RICH), pick)
    score = learned(sampler)
    steps = rollout(sampler, blank(seed=[0, 1, 2]), dtype)
    seen = [score.observe(step.proposal, step.before) for step in steps]
    stacked = Observation(*(torch.cat(field) for field in zip(*seen, strict=True)))
    logits = score.logits(stacked).unflatten(0, (len(steps), -1))
    again = [pick.log_prob(x, s.unmask.eligible, s.unmask.choice) for x, s in zip(logits, steps, strict=True)]
    recorded = [step.unmask.log_prob for step in steps]
    for mine, theirs in zip(again, recorded, strict=True):
        assert theirs is not None and torch.allclose(mine, theirs, rtol=0, atol=within)
    assert sum(recorded).max() < 0  # type: ignore[arg-type, union-attr]
    torch.stack(again).sum().backward()
    for name, weight in score.net.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), name


def test_an_observation_is_what_the_step_showed() -> None:
    net = awake(top=2, entropy=True, margin=True, alpha=True)
    sampler = sampler_of(net, alpha=3.0)
    score, steps = learned(sampler), rollout(sampler, blank(seed=[0, 1, 2]))
    step = steps[2]
    seen = score.observe(step.proposal, step.before)
    live = ~step.before.done
    region = (step.before.column >= step.before.start[:, None]) & step.before.inside & live[:, None]
    assert torch.equal(seen.seen, region) and torch.equal(seen.masked, step.before.undecided)
    probs, entropy = step.proposal.top_probs, step.proposal.entropy
    assert probs is not None and entropy is not None
    want = torch.cat([probs[..., :2], entropy.neg().exp()[..., None], probs[..., :1] - probs[..., 1:2]], -1)
    assert torch.equal(seen.features[region], want[region]) and (seen.features[~region] == 0).all()
    assert (seen.features[region][:, 0] > 0).all() and (region & ~step.before.undecided).any()  # decided columns too
    assert torch.equal(seen.time, step.before.nfe.double() / torch.tensor(NEW))
    assert torch.equal(seen.share, step.before.num_undecided.double() / torch.tensor(NEW))
    assert seen.alpha.tolist() == [3.0] * 3


def test_a_block_view_sees_the_block_alone() -> None:
    sampler = sampler_of(awake(view="block"))
    for step in rollout(sampler, blank(seed=[0, 1, 2])):
        seen = learned(sampler).observe(step.proposal, step.before).seen
        assert torch.equal(seen, sampler.blocks.here(step.before))
        assert torch.equal(seen, step.proposal.confidence >= 0)  # and nothing else was read


def test_confidence_is_the_models_also_where_tokens_are_drawn() -> None:
    sampler = replace(sampler_of(awake()), propose=Propose(temperature=2.0))
    step = rollout(sampler, blank())[0]
    seen = learned(sampler).observe(step.proposal, step.before)
    truth = rollout(sampler_of(awake()), blank())[0].proposal.confidence
    assert torch.allclose(seen.features[..., 0][seen.seen], truth[seen.seen], rtol=0, atol=1e-12)
    assert not torch.allclose(step.proposal.confidence[seen.seen], truth[seen.seen])


@pytest.mark.parametrize("view", ["row", "block"])
@pytest.mark.parametrize("plan", PLANS)
def test_a_row_does_not_depend_on_its_batch(plan: str, view: str) -> None:
    together, alone = seeded(PROMPTS, NEW)
    sampler = sampler_of(awake(view=view, **RICH), refresh=PLANS[plan])
    with torch.no_grad():
        steps = list(sampler.stream(model(plan, shift=1), together))
        for row, canvas in enumerate(alone):
            assert_same_row(steps, row, list(sampler.stream(model(plan, shift=1), canvas)))


def test_a_queue_changes_nothing() -> None:
    """Continuous batching: rows enter slots that others left, and end as they would alone."""
    sampler, denoiser = sampler_of(awake(), size=None), toy(gain=0.5)
    _, alone = seeded([*PROMPTS, *PROMPTS], [*NEW, 3, 9, 6])
    for number, row in decode_queue(sampler, denoiser, alone, batch=2):
        want = sampler.decode(denoiser, alone[number])
        assert torch.equal(row.tokens, want.tokens) and torch.equal(row.nfe, want.nfe)


@pytest.mark.parametrize("view", ["row", "block"])
@pytest.mark.parametrize("refresh", REFRESHED, ids=lambda plan: type(plan).__name__)
def test_a_cache_refreshed_by_every_forward_is_no_cache(refresh: Refresh, view: str) -> None:
    net = awake(view=view, **RICH)
    truth, steps = (rollout(sampler_of(net, refresh=plan), blank(seed=[0, 1, 2])) for plan in (NoCache(), refresh))
    assert len(steps) == len(truth)
    for mine, theirs in zip(steps, truth, strict=True):
        assert torch.equal(mine.after.tokens, theirs.after.tokens)
        assert torch.allclose(mine.unmask.scores, theirs.unmask.scores, rtol=0, atol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("view", ["row", "block"])
def test_the_block_cache_is_exact_for_block_causal_models(view: str) -> None:
    net, canvas = awake(view=view), blank(seed=[0, 1, 2])
    with torch.no_grad():
        truth, steps = (
            list(sampler_of(net, refresh=plan).stream(model("block"), canvas)) for plan in (NoCache(), PLANS["block"])
        )
    for mine, theirs in zip(steps, truth, strict=True):
        assert torch.equal(mine.after.tokens, theirs.after.tokens)
        assert torch.allclose(mine.unmask.scores, theirs.unmask.scores, rtol=0, atol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("plan", ["dual", "prefix", "near", "delayed"])
def test_a_row_view_is_fresh_under_every_plan(plan: str) -> None:
    """What the policy sees is read, and what is read is recomputed: no column it sees is older than this forward."""
    sampler = sampler_of(awake(), refresh=PLANS[plan])
    for step in rollout(sampler, blank(seed=[0, 1, 2])):
        seen = learned(sampler).observe(step.proposal, step.before).seen
        assert ((step.proposal.confidence >= 0) >= seen).all()


@pytest.mark.parametrize("pick", PICKS, ids=repr)
def test_finished_rows_and_other_blocks_are_never_written(pick: Pick) -> None:
    canvas = blank(seed=[0, 1, 2])
    sampler = sampler_of(awake(), pick)
    steps, early = rollout(sampler, canvas), False
    for step in steps:
        asleep = step.before.done
        early = early or bool(asleep.any())
        assert not step.unmask.chosen[asleep].any()
        assert not (step.unmask.chosen & ~(sampler.blocks.here(step.before) & step.before.undecided)).any()
        assert torch.equal(step.after.tokens[asleep], step.before.tokens[asleep])
    assert early, "rows must end at different times"
    after = steps[-1].after
    assert torch.equal(after.tokens[canvas.stage == 4], canvas.tokens[canvas.stage == 4])
    assert (after.stage[canvas.undecided] == DECODED).all()


def rates(sampler: Sampler) -> Tensor:
    """The first forward's rates, of eligible columns."""
    selection = rollout(sampler, blank())[0].unmask
    assert selection.scores is not None
    return selection.scores[selection.eligible].sigmoid()


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.5, 3.0, 1e6])
def test_scale_multiplies_the_rates_up_to_one(scale: float) -> None:
    net = awake()
    want = (scale * rates(sampler_of(net))).clamp_max(1.0)
    assert torch.allclose(rates(sampler_of(net, scale=scale)), want, rtol=1e-12, atol=0)
    if scale == 1e6:
        steps = rollout(sampler_of(net, Coin(), scale=scale, size=None), blank())
        assert len(steps) == 1 and torch.equal(steps[0].unmask.chosen, steps[0].unmask.eligible)
        assert steps[0].unmask.log_prob.abs().max() < 1e-12  # type: ignore[union-attr]


def test_temperature_divides_the_logits() -> None:
    net = awake()
    assert torch.allclose(rates(sampler_of(net, temperature=0.5)).logit(), 2 * rates(sampler_of(net)).logit())


def test_alpha_changes_a_policy_that_was_trained_with_it() -> None:
    net = awake(alpha=True)
    assert (rates(sampler_of(net, alpha=0.3)) - rates(sampler_of(net, alpha=3.0))).abs().min() > 1e-6


def test_a_fresh_policy_needs_as_many_forwards_as_its_rate_says() -> None:
    """One block of 64 columns at rate 0.12: the expected largest of 64 geometric numbers, 37.6."""
    net = ConfidencePolicy(ConfidenceSettings(width=16, feed_width=16))
    canvas = blank([[1, 2]] * 48, 64, seed=list(range(48)))
    nfe = sampler_of(net, Coin(), size=None).decode(toy(dtype=torch.float32), canvas).nfe.double()
    survive = 1 - (1 - 0.88 ** torch.arange(400).double()) ** 64
    assert abs(float(nfe.mean()) - float(survive.sum())) < 4.5 * float(nfe.std()) / 48**0.5


ERRORS = [
    ({"temperature": 0.0}, "temperature=0.0 of a policy must be above 0: 1 is what it was trained at"),
    ({"scale": -1.0}, "scale=-1.0 of a policy's rates must be above 0: 1 leaves them as they are"),
    ({"alpha": 1.0}, "alpha=1.0 has no effect: this policy was not trained with it, leave it out"),
    ({"alpha": -1.0}, "alpha=-1.0 is negative: it is the weight of speed, 0 is correctness alone"),
]


@pytest.mark.parametrize("settings, message", ERRORS, ids=[str(settings) for settings, _ in ERRORS])
def test_wrong_settings_are_explained(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Learned(net=awake(), **settings)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_a_policy_trained_with_alpha_asks_for_it() -> None:
    with pytest.raises(ValueError, match="this policy needs alpha, the weight of speed: give one, for example alpha=1"):
        Learned(net=awake(alpha=True))
