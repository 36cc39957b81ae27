"""Every published sampler equals its plainly written loop (tests/plain/loops.py), in tokens and in forwards."""

from collections.abc import Callable
from functools import cache, partial

import pytest
import torch
from torch import Tensor

from tests.plain import loops
from tests.toy import MASK, PROMPTS, blank, logits, toy
from unveil import noise
from unveil.models.denoiser import Guided
from unveil.models.transformer import Transformer
from unveil.sampling import recipes
from unveil.sampling.blocks import Blocks
from unveil.sampling.picks import Quota
from unveil.sampling.sampler import Sampler, Select
from unveil.sampling.scores import Confidence, Margin

Plain = Callable[[loops.Logits, Tensor], loops.Done]


@cache
def models() -> list[Transformer]:
    return [toy(0, gain=0.3), toy(1, gain=0.6, shift=1, kv_heads=1)]


def assert_equal_to_plain(sampler: Sampler, plain: Plain, new: int, seed: int = 0) -> set[int]:
    """Batched, ragged, on several models; returns the numbers of forwards seen."""
    seen = set()
    for denoiser in models():
        out = sampler.decode(denoiser, blank(PROMPTS, new, seed=[seed] * len(PROMPTS)))
        for row, prompt in enumerate(PROMPTS):
            tokens, forwards = plain(partial(logits, denoiser), torch.tensor(prompt))
            assert out.tokens[row, len(prompt) : len(prompt) + new].tolist() == tokens.tolist()
            assert out.nfe[row] == forwards
            seen.add(forwards)
    return seen


@pytest.mark.parametrize("new, block, steps", [(12, 12, 12), (12, 12, 5), (12, 4, 9), (12, 4, 6), (8, 2, 4)])
def test_llada(new: int, block: int, steps: int) -> None:
    seen = assert_equal_to_plain(
        recipes.llada(new, steps=steps, block=block),
        lambda logits, prompt: loops.plain_llada(logits, prompt, new, block, steps, MASK),
        new,
    )
    assert seen == {steps}


def test_llada_with_a_shorter_last_block() -> None:
    assert_equal_to_plain(
        recipes.llada(11, block=4), lambda logits, prompt: loops.plain_llada(logits, prompt, 11, 4, 8, MASK), 11
    )


def test_llada_random() -> None:
    def chance(forward: int, columns: Tensor) -> Tensor:
        return noise.uniform(torch.full_like(columns, 7), torch.full_like(columns, forward), 2, columns)

    # The plain loop counts columns of the whole row, as the canvas does.
    assert_equal_to_plain(
        recipes.llada(12, steps=6, block=4, remasking="random"),
        lambda logits, prompt: loops.plain_random(logits, prompt, 12, 4, 6, MASK, lambda *at: chance(*at)),
        12,
        seed=7,
    )


@pytest.mark.parametrize("new, block", [(12, 4), (11, 4), (7, 7)])
@pytest.mark.parametrize("bar", [0.0, 0.15, 0.3, 1.0])
def test_fast_dllm_threshold(new: int, block: int, bar: float) -> None:
    seen = assert_equal_to_plain(
        recipes.fast_dllm(new, threshold=bar, block=block),
        lambda logits, prompt: loops.plain_threshold(logits, prompt, new, block, bar, MASK),
        new,
    )
    blocks = -(-new // block)
    assert seen == {0.0: {blocks}, 1.0: {new}}.get(bar, seen)
    assert bar not in (0.15, 0.3) or len(seen) > 1


@pytest.mark.parametrize("new, block", [(12, 4), (11, 4)])
@pytest.mark.parametrize("factor", [0.5, 2.0, 2.5])
def test_fast_dllm_factor(new: int, block: int, factor: float) -> None:
    seen = assert_equal_to_plain(
        recipes.fast_dllm(new, factor=factor, block=block),
        lambda logits, prompt: loops.plain_factor(logits, prompt, new, block, factor, MASK),
        new,
    )
    assert factor == 0.5 or len(seen) > 1


@pytest.mark.parametrize("new, block", [(12, 4), (11, 4), (7, 7)])
@pytest.mark.parametrize("gamma", [0.0, 1.0, 3.0, 9.0])
def test_eb_sampler(new: int, block: int, gamma: float) -> None:
    seen = assert_equal_to_plain(
        recipes.eb_sampler(new, gamma=gamma, block=block),
        lambda logits, prompt: loops.plain_entropy_bound(logits, prompt, new, block, gamma, MASK),
        new,
    )
    blocks = -(-new // block)
    assert seen == {0.0: {new}}.get(gamma, seen)
    assert gamma != 3.0 or len(seen - {blocks, new}) > 0, "some forwards must open several tokens, but not all"


@pytest.mark.parametrize("alg", ["maskgit_plus", "topk_margin", "entropy"])
@pytest.mark.parametrize("steps, top_k", [(12, 4), (5, 4), (7, 50)])
def test_dream(alg: str, steps: int, top_k: int) -> None:
    seen = assert_equal_to_plain(
        recipes.dream(12, alg=alg, steps=steps, top_k=top_k),
        lambda logits, prompt: loops.plain_dream(logits, prompt, 12, alg, steps, MASK, top_k=top_k),
        12,
    )
    assert seen == {steps}


def test_the_three_algorithms_of_dream_differ() -> None:
    canvas = blank(PROMPTS, 12)
    results = [recipes.dream(12, alg=alg, steps=5).decode(toy(gain=0.3), canvas) for alg in ("maskgit_plus", "entropy")]
    assert not torch.equal(results[0].written, results[1].written)


def test_quota_by_margin() -> None:
    count = loops.quota(12, 4, 9)
    assert_equal_to_plain(
        Sampler(blocks=Blocks(size=4), unmask=Select(score=Margin(), pick=Quota(steps=3))),
        lambda logits, prompt: loops.block_loop(logits, prompt, 12, 4, MASK, loops.margin, count),
        12,
    )


@pytest.mark.parametrize("scale", [0.0, 0.7, 3.0])
def test_guided_llada(scale: float) -> None:
    denoiser, new = toy(gain=0.3), 8
    out = recipes.llada(new, steps=4, block=4).decode(Guided(inner=denoiser, scale=scale), blank(PROMPTS, new))
    for row, prompt in enumerate(PROMPTS):

        def blind(ids: Tensor, given: int = len(prompt)) -> Tensor:
            return logits(denoiser, torch.cat([torch.full((given,), MASK), ids[given:]]))

        mixed = loops.plain_guided(partial(logits, denoiser), blind, scale)
        tokens, forwards = loops.plain_llada(mixed, torch.tensor(prompt), new, 4, 4, MASK)
        assert out.tokens[row, len(prompt) : len(prompt) + new].tolist() == tokens.tolist()
        assert out.nfe[row] == forwards == 4


def test_the_default_sampler_parts_are_the_published_ones() -> None:
    assert recipes.llada(8).unmask == Select(score=Confidence(), pick=Quota(steps=8))
