"""Caches are exact where they say so, and save the columns they promise."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from tests.laws.parts import PLANS, SIZE, assert_same_row, model, samplers, seeded, soft
from tests.toy import PROMPTS, blank, columns_computed, toy
from unveil.models.attention import BlockCausal, Causal
from unveil.sampling.blocks import Blocks
from unveil.sampling.evolve import SoftTokens
from unveil.sampling.mixing import Spherical
from unveil.sampling.picks import Above, Quota, Threshold
from unveil.sampling.recipes import left_to_right
from unveil.sampling.refresh import BlockCache, DelayedCache, DualCache, NearCache, NoCache, PrefixCache, Refresh
from unveil.sampling.sampler import Sampler, Select
from unveil.sampling.scores import Gain

NEW = [8, 11, 5]
REFRESHED = [DualCache(every=1), PrefixCache(every=1), NearCache(every=1, radius=1), DelayedCache(every=1)]


@pytest.mark.parametrize("k", [0, 2], ids=["hard", "soft"])
@pytest.mark.parametrize("refresh", REFRESHED, ids=lambda plan: type(plan).__name__)
def test_a_cache_refreshed_by_every_forward_is_no_cache(refresh: Refresh, k: int) -> None:
    canvas, _ = seeded(PROMPTS, NEW, k)
    for sampler, shift in product(list(samplers("none", k))[::2], (0, 1)):
        truth = list(sampler.stream(model(shift=shift), canvas))
        steps = list(replace(sampler, refresh=refresh).stream(model(shift=shift), canvas))
        assert [step.before.nfe.tolist() for step in steps] == [step.before.nfe.tolist() for step in truth]
        for a, b in zip(steps, truth, strict=True):
            assert torch.equal(a.after.tokens, b.after.tokens)
            assert torch.allclose(a.proposal.confidence, b.proposal.confidence, rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", [0, 2], ids=["hard", "soft"])
def test_the_block_cache_is_exact_for_block_causal_models(k: int) -> None:
    canvas, _ = seeded(PROMPTS, NEW, k)
    revising = Sampler(
        blocks=Blocks(size=SIZE), refresh=PLANS["block"], unmask=Select(pick=Quota(steps=3)),
        revise=Select(score=Gain(), pick=Above()), evolve=soft(k),
    )  # fmt: skip
    ahead = replace(revising, evolve=SoftTokens(k=k, mix=Spherical(), lookahead=True) if k else soft(k))
    denoisers = [model("block"), model("block", shift=1, kv_heads=1, gain=0.3)]
    for sampler, denoiser in product([*samplers("block", k), revising, ahead], denoisers[: 1 if k else 2]):
        truth = list(replace(sampler, refresh=NoCache()).stream(denoiser, canvas))
        steps = list(sampler.stream(denoiser, canvas))
        for row, end in enumerate(canvas.end.tolist()):
            num = int(truth[-1].after.nfe[row])
            alone = [step._replace(after=step.after.rows(torch.tensor([row]))) for step in truth[:num]]
            assert torch.equal(steps[-1].after.tokens[row, :end], alone[-1].after.tokens[0, :end])
            assert steps[-1].after.nfe[row] == num
        for a, b in zip(steps, truth, strict=True):
            assert torch.allclose(a.proposal.confidence, b.proposal.confidence, rtol=0, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_left_to_right_with_a_cache_is_exact_for_causal_models(temperature: float) -> None:
    """Two columns a forward: the token that the last one wrote, which answers, and the mask that it answers for."""
    denoiser = toy(rule=Causal(), shift=1, kv_heads=1)
    counts = columns_computed(denoiser)
    canvas, _ = seeded(PROMPTS, NEW)
    truth = list(left_to_right(11, temperature=temperature).stream(denoiser, canvas))
    counts.clear()
    steps = list(left_to_right(11, temperature=temperature, cache="block").stream(denoiser, canvas))
    for a, b in zip(steps, truth, strict=True):
        assert torch.equal(a.after.tokens, b.after.tokens)
        assert torch.allclose(a.proposal.confidence, b.proposal.confidence, rtol=0, atol=1e-12)
        assert torch.equal(a.unmask.chosen.sum(1) == 1, ~a.before.done)
        assert not (a.unmask.chosen[:, 1:] & a.before.undecided[:, :-1]).any()  # the leftmost
    assert steps[-1].after.nfe.tolist() == NEW
    assert counts == [sum(map(len, PROMPTS)) + 3] + [2 * sum(new > step for new in NEW) for step in range(1, 11)]


def test_a_stale_cache_does_change_predictions() -> None:
    canvas, _ = seeded(PROMPTS, NEW)
    sampler = next(samplers("none", 0))
    truth = list(sampler.stream(model(), canvas))
    for plan in ("dual", "prefix", "near", "delayed"):
        steps = list(replace(sampler, refresh=PLANS[plan]).stream(model(), canvas))
        pairs = zip(steps, truth, strict=False)
        assert not all(torch.allclose(a.proposal.confidence, b.proposal.confidence, atol=1e-9) for a, b in pairs)


COLUMNS = {  # prompt 5, eight new in two blocks of four, four forwards each
    NoCache(): [13] * 8,
    DualCache(): [13, 4, 4, 4, 13, 4, 4, 4],
    DualCache(every=2): [13, 4, 13, 4, 13, 4, 13, 4],
    PrefixCache(): [13, 8, 8, 8, 13, 4, 4, 4],
    NearCache(radius=1): [13, 6, 6, 6, 13, 5, 5, 5],
    DelayedCache(): [13, 8, 7, 6, 13, 4, 3, 2],
    BlockCache(size=4): [9, 4, 4, 4, 8, 4, 4, 4],
}


@pytest.mark.parametrize("plan", COLUMNS, ids=repr)
def test_caches_shrink_the_work(plan: Refresh) -> None:
    denoiser = toy(rule=BlockCausal(size=4))
    counts = columns_computed(denoiser)
    sampler = Sampler(blocks=Blocks(size=4), refresh=plan, unmask=Select(pick=Quota(steps=4)))
    sampler.decode(denoiser, blank([PROMPTS[0]], 8))
    assert counts == COLUMNS[plan]


def test_the_shift_costs_one_column_more_while_the_first_of_the_block_is_masked() -> None:
    denoiser = toy(shift=1)
    counts = columns_computed(denoiser)
    sampler = Sampler(blocks=Blocks(size=4), refresh=DualCache(), unmask=Select(pick=Quota(steps=4)))
    steps = list(sampler.stream(denoiser, blank([PROMPTS[0]], 8)))
    firsts = [bool(step.before.undecided[0, 5 + 4 * int(step.before.block)]) for step in steps]
    assert counts == [4 + first if index % 4 else 13 for index, first in enumerate(firsts)]
    assert 5 in counts and 4 in counts


def test_lookahead_reads_all_that_follows() -> None:
    denoiser = toy()
    counts = columns_computed(denoiser)
    evolve = SoftTokens(k=2, lookahead=True)
    sampler = Sampler(blocks=Blocks(size=4), refresh=DualCache(), unmask=Select(pick=Quota(steps=2)), evolve=evolve)
    sampler.decode(denoiser, blank([PROMPTS[0]], 8, num_soft=3))
    assert counts == [13, 8, 13, 4]


@pytest.mark.parametrize("plan", PLANS)
def test_rows_that_are_done_cost_no_columns(plan: str) -> None:
    """Columns computed are the sum of what each row computes alone, also with ragged rows."""
    sampler = Sampler(blocks=Blocks(size=SIZE), refresh=PLANS[plan], unmask=Select(pick=Threshold(bar=0.3)))
    together, alone = seeded(PROMPTS, NEW)
    counts = []
    for canvas in [together, *alone]:
        denoiser = toy(gain=0.5, shift=1, rule=BlockCausal(size=SIZE) if plan == "block" else None)
        counts.append(columns_computed(denoiser))
        steps = list(sampler.stream(denoiser, canvas))
        assert len(counts[-1]) == len(steps)
    lengths = [len(row) for row in counts[1:]]
    assert len(set(lengths)) > 1, "the rows must end at different times"
    expected = [sum(row[step] for row in counts[1:] if step < len(row)) for step in range(max(lengths))]
    assert counts[0] == expected


def test_a_used_slot_of_the_buffer_does_not_leak_into_the_next_row() -> None:
    for plan in ("dual", "prefix", "near", "delayed", "block"):
        denoiser, sampler = model(plan, shift=1), list(samplers(plan, 0))[0]
        _, alone = seeded(PROMPTS, NEW)
        cache = sampler.refresh.cache(denoiser, alone[2])
        cache.keys.normal_(generator=torch.Generator().manual_seed(0))
        cache.values.normal_(generator=torch.Generator().manual_seed(1))
        canvas, steps = alone[2], []
        while not canvas.done.all():
            steps.append(sampler.step(denoiser, canvas, cache))
            canvas = steps[-1].after
        assert_same_row(steps, 0, list(sampler.stream(denoiser, alone[2])))
