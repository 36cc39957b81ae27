"""Recipes: what each paper's sampler is made of, its forwards, and the refusal of settings that do not fit."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toy import PROMPTS, blank, toy
from unveil import catalogue
from unveil.sampling import recipes
from unveil.sampling.blocks import Blocks
from unveil.sampling.picks import EntropyBound, Factor, Quota, Scheduled, Threshold, Within
from unveil.sampling.propose import Propose
from unveil.sampling.refresh import BlockCache, DualCache, NoCache, PrefixCache
from unveil.sampling.sampler import Sampler, Select
from unveil.sampling.scores import Certainty, Chance, Confidence, EndsLast, Margin, Noisy


def test_every_recipe_decodes_with_its_defaults_one_token_a_forward() -> None:
    canvas = blank(PROMPTS, 8, seed=[1, 2, 3])
    assert recipes.__all__ == [name for name in catalogue.samplers() if name != "policy"]
    for name in recipes.__all__:
        out = getattr(recipes, name)(8).decode(toy(gain=0.1), canvas)
        assert out.done.all() and not out.undecided.any(), name
        if name in ("llada", "dream", "remdm", "evotoken", "left_to_right"):
            assert out.nfe.tolist() == [8, 8, 8], name


def test_what_recipes_are_made_of() -> None:
    llada = recipes.llada(16, steps=8, block=4, remasking="random", temperature=0.5, forbid_eos=True, ends_last=True)
    assert llada == Sampler(
        blocks=Blocks(size=4),
        propose=Propose(temperature=0.5, forbid_eos=True),
        unmask=Select(score=EndsLast(score=Chance()), pick=Quota(steps=2)),
    )
    dream = recipes.dream(16, steps=8, alg="topk_margin", alg_temp=0.1, temperature=0.2, top_p=0.95, top_k=0, eps=0.01)
    assert dream == Sampler(
        propose=Propose(temperature=0.2, top_p=0.95, top_k=0, tempered=True),
        unmask=Select(score=Noisy(score=Margin(), temperature=0.1), pick=Scheduled(steps=8, end=0.01)),
    )
    assert recipes.dream(4).unmask == Select(score=Confidence(), pick=Scheduled(steps=4))
    assert recipes.dream(4).propose == Propose(top_k=50, tempered=True)
    assert recipes.fast_dllm(8) == Sampler(unmask=Select(pick=Threshold(bar=0.9)))
    assert recipes.fast_dllm(8, factor=1.0).unmask == Select(pick=Factor(factor=1.0))
    assert recipes.fast_dllm(8, block=2, steps=8).unmask == Select(pick=Quota(steps=2))
    bounded = recipes.fast_dllm(8, threshold=0.5, block=2, within=8).unmask
    assert bounded == Select(pick=Within(pick=Threshold(bar=0.5), steps=2))
    plans = [recipes.fast_dllm(8, cache=cache).refresh for cache in ("none", "prefix", "dual")]
    assert plans == [NoCache(), PrefixCache(), DualCache()]
    left = recipes.left_to_right(8, temperature=0.5, top_p=0.9, top_k=7, cache="block")
    assert left == Sampler(
        blocks=Blocks(size=1),
        refresh=BlockCache(size=1),
        propose=Propose(temperature=0.5, top_p=0.9, top_k=7),
        unmask=Select(pick=Quota(steps=1)),
    )
    assert recipes.eb_sampler(8, gamma=0.5, block=4).unmask == Select(score=Certainty(), pick=EntropyBound(gamma=0.5))


@pytest.mark.parametrize("within", [2, 4, 6])
def test_within_bounds_the_forwards_of_every_row(within: int) -> None:
    model, canvas = toy(gain=0.1), blank()
    free = recipes.fast_dllm(12, threshold=0.9).decode(model, canvas)
    bound = recipes.fast_dllm(12, threshold=0.9, within=within).decode(model, canvas)
    assert (bound.nfe == free.nfe.clamp(max=within)).all() and (free.nfe > within).any()
    assert not bound.undecided.any()


@settings(max_examples=30)
@given(new=st.integers(1, 10), block=st.one_of(st.none(), st.integers(1, 12)), data=st.data())
def test_steps_that_fit_are_spent_and_others_are_refused(new: int, block: int | None, data: st.DataObject) -> None:
    size = min(block or new, new)
    blocks = -(-new // size)
    steps = data.draw(st.one_of(st.integers(-1, blocks * size + 2), st.integers(1, size).map(lambda n: n * blocks)))
    fits = steps > 0 and steps % blocks == 0 and steps // blocks <= size
    if fits:
        out = recipes.llada(new, steps=steps, block=block).decode(toy(layers=1), blank([[1]], new))
        last = new - (blocks - 1) * size
        per_block = steps // blocks
        assert out.nfe.tolist() == [(blocks - 1) * per_block + min(per_block, last)]
    else:
        fault = f"steps={steps} (does not fit {new} new tokens in {blocks} block|is outside its range)"
        with pytest.raises(ValueError, match=fault):
            recipes.llada(new, steps=steps, block=block)


ERRORS: list[tuple[Callable[[], object], str]] = [
    (
        lambda: recipes.llada(8, remasking="lowest"),
        "remasking='lowest' is unknown: choose one of low_confidence, random",
    ),
    (
        lambda: recipes.dream(8, alg="origin"),
        "alg='origin' is unknown: choose one of maskgit_plus, topk_margin, entropy",
    ),
    (
        lambda: recipes.left_to_right(8, cache="full"),
        "cache='full' is unknown: choose one of none, prefix, dual, near, delayed, block",
    ),
    (
        lambda: recipes.fast_dllm(8, threshold=0.9, steps=8),
        "threshold and steps exclude each other: give one of threshold, factor, steps",
    ),
    (
        lambda: recipes.fast_dllm(8, threshold=0.9, factor=1.0, steps=8),
        "threshold and factor and steps exclude each other: give one of threshold, factor, steps",
    ),
    (
        lambda: recipes.fast_dllm(8, block=4, within=3),
        "within=3 does not fit 8 new tokens in 2 block(s) of 4: it is the total over all blocks and must be a multiple "
        "of 2 from 2 to 8",
    ),
    (lambda: recipes.llada(0), "new_tokens=0 is not positive: ask for at least 1"),
    (lambda: recipes.remdm(-3), "new_tokens=-3 is not positive: ask for at least 1"),
    (lambda: Blocks(size=0), "block size 0 is not positive: give at least 1, or None for one block"),
    (
        lambda: recipes.fast_dllm(8, block=0, steps=2),
        "block=0 is outside its range, from 1 to 65,536: leave it out for one block",
    ),
    (
        lambda: recipes.llada(8, steps=9),
        "steps=9 does not fit 8 new tokens in 1 block(s) of 8: it is the total over all blocks and must be from 1 to 8",
    ),
    (
        lambda: recipes.llada(10, steps=7, block=4),
        "steps=7 does not fit 10 new tokens in 3 block(s) of 4: it is the total over all blocks and must be "
        "a multiple of 3 from 3 to 12",
    ),
    (
        lambda: recipes.remdm(8, steps=0),
        "steps=0 is outside its range, from 1 to 65,536: the total of forwards over all blocks",
    ),
    (
        lambda: recipes.fast_dllm(8, threshold=float("nan")),
        "threshold=nan is not a finite number: give one from 0 to 1",
    ),
    (
        lambda: recipes.evotoken(8, mask_share=1.5),
        "mask_share=1.5 is outside its range, from 0 to 1: the weight of [MASK]",
    ),
]


@pytest.mark.parametrize("wrong, message", ERRORS, ids=[message[:30] for _, message in ERRORS])
def test_settings_that_do_not_fit_are_explained(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        wrong()
    assert str(caught.value) == message


def test_draws_change_with_temperature_and_not_without() -> None:
    canvas = blank(PROMPTS, 8, seed=[1, 2, 3])
    greedy, hot = (recipes.llada(8, temperature=t).decode(toy(gain=0.3), canvas).tokens for t in (0.0, 1.5))
    assert not torch.equal(greedy, hot)
    other = blank(PROMPTS, 8, seed=[4, 5, 6])
    assert torch.equal(recipes.llada(8).decode(toy(gain=0.3), other).tokens, greedy)
