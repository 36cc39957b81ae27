"""Guidance is a denoiser: scale 0 changes nothing, its caches are its own, and rows may leave."""

from dataclasses import replace

import pytest
import torch

from tests.laws.parts import PLANS, SIZE, model, samplers, seeded
from tests.toy import MASK, PROMPTS, blank, toy
from unveil.canvas import Canvas
from unveil.models.denoiser import Guided, Want
from unveil.sampling.blocks import Blocks
from unveil.sampling.picks import Quota
from unveil.sampling.refresh import DualCache
from unveil.sampling.sampler import Sampler, Select

NEW = [5, 8, 3]


@pytest.mark.parametrize("k", [0, 2], ids=["hard", "soft"])
@pytest.mark.parametrize("plan", PLANS)
def test_scale_0_is_no_guidance(plan: str, k: int) -> None:
    canvas, _ = seeded(PROMPTS, NEW, k)
    for sampler in list(samplers(plan, k))[::2]:
        plain = list(sampler.stream(model(plan, shift=1, kv_heads=1), canvas))
        steps = list(sampler.stream(Guided(inner=model(plan, shift=1, kv_heads=1), scale=0.0), canvas))
        assert len(steps) == len(plain)
        for a, b in zip(steps, plain, strict=True):
            assert torch.equal(a.after.tokens, b.after.tokens) and torch.equal(a.after.nfe, b.after.nfe)
            assert torch.allclose(a.proposal.confidence, b.proposal.confidence, rtol=0, atol=1e-12)


@pytest.mark.parametrize("plan", PLANS)
def test_guidance_changes_predictions_under_every_plan(plan: str) -> None:
    canvas, _ = seeded(PROMPTS, NEW)
    sampler = next(samplers(plan, 0))
    first, other = (next(sampler.stream(Guided(inner=model(plan), scale=s), canvas)).proposal for s in (0.0, 4.0))
    read = first.confidence >= 0
    assert (first.confidence - other.confidence)[read].abs().min() > 1e-6


@pytest.mark.parametrize("scale", [0.0, 1.5])
def test_logits_are_mixed_as_published(scale: float) -> None:
    """blind + (scale + 1) (told - blind), where the blind row sees [MASK] for what is given, also after the start."""
    denoiser = toy(shift=1)
    canvas = Canvas.template([[1, 2, MASK, MASK, 3, MASK, 4], [5, MASK, MASK, 6]], mask_id=MASK)
    canvas = replace(canvas, tokens=canvas.tokens.index_fill(1, torch.tensor(2), 8))  # a token that was chosen
    blind = torch.tensor([[MASK, MASK, 8, MASK, MASK, MASK, MASK], [MASK, MASK, 8, MASK, MASK, MASK, MASK]])
    want = Want(proposals=False, logits=True)
    told = denoiser(canvas, canvas.inside, canvas.inside, None, want).logits
    untold = denoiser(replace(canvas, tokens=blind), canvas.inside, canvas.inside, None, want).logits
    mixed = Guided(inner=denoiser, scale=scale)(canvas, canvas.inside, canvas.inside, None, want).logits
    assert mixed is not None and torch.allclose(mixed, untold + (scale + 1) * (told - untold), rtol=0, atol=1e-11)


def test_a_forward_of_both_branches_counts_once() -> None:
    sampler = Sampler(blocks=Blocks(size=4), unmask=Select(pick=Quota(steps=2)))
    assert sampler.decode(Guided(inner=toy(), scale=2.0), blank(PROMPTS, 8)).nfe.tolist() == [4, 4, 4]


def test_rows_of_the_cache_are_rows_of_both_branches() -> None:
    guided = Guided(inner=model(shift=1), scale=1.5)
    sampler = Sampler(blocks=Blocks(size=SIZE), refresh=DualCache(), unmask=Select(pick=Quota(steps=3)))
    canvas, _ = seeded(PROMPTS, NEW)
    truth = sampler.decode(guided, canvas)
    for index in (torch.tensor([2, 0, 0]), torch.tensor([True, False, True])):
        forked, cache = canvas, guided.new_cache(canvas)
        for _ in range(2):
            forked = sampler.step(guided, forked, cache).after
        forked, cache = forked.rows(index), cache.rows(index)
        assert cache.num_rows == len(forked.done)
        while not forked.done.all():
            forked = sampler.step(guided, forked, cache).after
        assert torch.equal(forked.tokens, truth.tokens[index]) and torch.equal(forked.nfe, truth.nfe[index])


def test_draws_under_guidance_use_the_rows_own_noise() -> None:
    canvas, _ = seeded(PROMPTS, NEW)
    sampler = list(samplers("none", 0))[1]
    plain = sampler.decode(model(), canvas)
    assert torch.equal(sampler.decode(Guided(inner=model(), scale=0.0), canvas).tokens, plain.tokens)
    other = replace(canvas, seed=canvas.seed + 1)
    assert not torch.equal(sampler.decode(Guided(inner=model(), scale=0.0), other).tokens, plain.tokens)
