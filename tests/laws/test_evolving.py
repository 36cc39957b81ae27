"""Soft tokens and editing: EvoToken's and LLaDA2.1's loops, written plainly for one row, equal the sampler's parts."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.plain.loops import Done
from tests.toy import MASK, PROMPTS, blank, logits, toy
from unveil.canvas import DECODED, SOFT, Canvas, Stage
from unveil.evaluation.verify import PublishedBlocks
from unveil.models.denoiser import Want
from unveil.models.transformer import Transformer
from unveil.sampling import recipes
from unveil.sampling.blocks import Blocks
from unveil.sampling.evolve import SoftTokens
from unveil.sampling.mixing import Constant
from unveil.sampling.picks import Above, Quota, Threshold
from unveil.sampling.refresh import PrefixCache
from unveil.sampling.sampler import Sampler, Select
from unveil.sampling.scores import Differs, Gain


def soft_logits(model: Transformer, canvas: Canvas, ids: Tensor, weights: Tensor) -> Tensor:
    """(L, V) where every column shows a mixture: (1, L, K) ids and weights."""
    shown = replace(canvas, soft_ids=ids, soft_weights=weights, stage=torch.full_like(canvas.stage, SOFT))
    out = model(shown, canvas.inside, canvas.inside, None, Want(proposals=False, logits=True)).logits
    assert out is not None
    out[:, MASK] = float("-inf")
    return out


def plain_evotoken(
    model: Transformer, prompt: list[int], n: int, block: int, steps: int, k: int, a: float, late: bool = False
) -> Tensor:
    """EvoToken's released decoding at temperature 0: choose the best, revise what gains, show candidates.

    `late` as released: a block is still soft in the first forward of the next one.
    """
    lo, canvas = len(prompt), blank([prompt], n, num_soft=k + 1)
    x, confidence = canvas.tokens.clone(), canvas.confidence.clone()
    ids, weights = canvas.soft_ids.clone(), canvas.soft_weights.clone()
    weights[..., 0] = 1  # whatever is not soft shows itself
    for b in range(-(-n // block)):
        s, e, z = lo + b * block, min(lo + (b + 1) * block, lo + n), lo + n
        for i in range(steps):
            p = soft_logits(model, canvas, ids, weights)[None, s:z].softmax(-1)
            top, t = p.max(-1)
            masked, here = x[:, s:z] == MASK, torch.arange(s, z)[None] < e
            candidates = top.masked_fill(~(masked & here), float("-inf"))
            number = -(-int((masked & here).sum()) // (steps - i))
            pick = torch.zeros_like(masked)
            pick[0, candidates[0].argsort(dim=0, descending=True, stable=True)[:number]] = True
            write = pick | (~masked & here & (top > confidence[:, s:z]))
            x[:, s:z] = torch.where(write, t, x[:, s:z])
            confidence[:, s:z] = torch.where(write, top, confidence[:, s:z])
            share = torch.where(x[:, s:z] == MASK, a, 0.0)[..., None]
            w, best = p.topk(k, -1)
            ids[:, s:z] = torch.cat([torch.full_like(best[..., :1], MASK), best], -1)
            weights[:, s:z] = torch.cat([share, w / w.sum(-1, keepdim=True) * (1 - share)], -1)
            h = s if late else lo
            ids[:, lo:h], weights[:, lo:h] = x[:, lo:h, None], 0
            weights[:, lo:h, 0] = 1
        h = s if late else e
        ids[:, lo:h], weights[:, lo:h] = x[:, lo:h, None], 0
        weights[:, lo:h, 0] = 1
    return x[0, lo : lo + n]


def evotoken(block: int, steps: int, k: int = 3, a: float = 0.7) -> Sampler:
    """`steps` forwards a block, whatever the number of blocks."""
    sampler = recipes.evotoken(block, steps=steps, block=block, k=k, mask_share=a)
    assert sampler == Sampler(
        blocks=Blocks(size=block),
        unmask=Select(pick=Quota(steps=steps)),
        revise=Select(score=Gain(), pick=Above()),
        evolve=SoftTokens(k=k, share=Constant(share=a), lookahead=True),
    )
    return sampler


@torch.no_grad()
def test_late_hardening_equals_the_released_loop_and_differs_from_ours() -> None:
    model, differ = toy(gain=0.3), False
    late = replace(evotoken(8, 4), blocks=PublishedBlocks(size=8))
    out = late.decode(model, blank(PROMPTS, 24))
    for row, prompt in enumerate(PROMPTS):
        mine = out.tokens[row, len(prompt) : len(prompt) + 24]
        assert torch.equal(mine, plain_evotoken(model, prompt, 24, 8, 4, 3, 0.7, late=True))
        differ |= not torch.equal(mine, plain_evotoken(model, prompt, 24, 8, 4, 3, 0.7))
    assert differ


@pytest.mark.parametrize("shift", [0, 1])
@torch.no_grad()
def test_evotoken_equals_the_plain_loop_and_walks_its_stages(shift: int) -> None:
    model = toy(gain=0.3, shift=shift)
    steps = list(evotoken(8, 4).stream(model, blank(PROMPTS, 16)))
    for row, prompt in enumerate(PROMPTS):
        plain = plain_evotoken(model, prompt, 16, 8, 4, 3, 0.7)
        assert torch.equal(steps[-1].after.tokens[row, len(prompt) : len(prompt) + 16], plain)
    assert any(step.revise.chosen.any() for step in steps)
    for before, step in zip(steps, steps[1:], strict=False):  # a stage never falls
        assert (before.after.stage <= step.after.stage).all()
    seen = {int(v) for step in steps for v in step.after.stage.unique()} | {int(steps[0].before.stage.min())}
    assert seen == {int(stage) for stage in Stage}


@torch.no_grad()
def test_soft_tokens_with_all_weight_on_the_mask_are_hard_while_undecided() -> None:
    """One forward a block: what is shown before the block settles is exactly [MASK], so nothing can differ."""
    model, blocks, unmask = toy(gain=0.3), Blocks(size=4), Select(pick=Quota(steps=1))
    hard = Sampler(blocks=blocks, unmask=unmask).decode(model, blank(PROMPTS, 12))
    evolve = SoftTokens(k=1, share=Constant(share=1.0), lookahead=True)
    soft = Sampler(blocks=blocks, unmask=unmask, evolve=evolve).decode(model, blank(PROMPTS, 12, num_soft=2))
    assert torch.equal(hard.tokens, soft.tokens) and torch.equal(hard.stage, soft.stage)
    assert torch.equal(hard.nfe, soft.nfe)


@torch.no_grad()
def test_soft_tokens_keep_the_books_of_hard_tokens() -> None:
    model, blocks, unmask = toy(gain=0.5), Blocks(size=8), Select(pick=Quota(steps=3))
    hard = Sampler(blocks=blocks, unmask=unmask).decode(model, blank(PROMPTS, 16))
    evolve = SoftTokens(k=1, share=Constant(share=1.0))
    soft = Sampler(blocks=blocks, unmask=unmask, evolve=evolve).decode(model, blank(PROMPTS, 16, num_soft=2))
    assert torch.equal(hard.stage, soft.stage) and torch.equal(hard.nfe, soft.nfe)


def plain_editing(model: Transformer, prompt: list[int], n: int, block: int, bar: float, edit: float) -> Done:
    """LLaDA2.1's loop: open what is sure, replace where another token is sure, until nothing changes."""
    lo, x, forwards = len(prompt), torch.tensor(prompt + [MASK] * n), 0
    for b in range(n // block):
        s, e = lo + b * block, lo + (b + 1) * block
        while True:
            masked = x[s:e] == MASK
            scores = logits(model, x)[s:e]
            scores[:, MASK] = float("-inf")
            p, t = scores.softmax(-1).max(-1)
            forwards += 1
            candidates = p.masked_fill(~masked, float("-inf"))
            put = masked & (candidates >= bar)
            if masked.any() and not put.any():
                put = candidates == candidates.max()
            change = ~masked & (p > edit) & (t != x[s:e])
            x[s:e] = torch.where(put | change, t, x[s:e])
            if not masked.any() and not change.any():
                break
    return x[lo:], forwards


@torch.no_grad()
def test_editing_needs_no_batch_of_one() -> None:
    model = toy(gain=0.5)
    sampler = Sampler(
        blocks=Blocks(size=8, until_quiet=64),
        unmask=Select(pick=Threshold(bar=0.5)),
        revise=Select(score=Differs(), pick=Above(bar=0.25)),
    )
    steps = list(sampler.stream(model, blank(PROMPTS, 16)))
    out = steps[-1].after
    for row, prompt in enumerate(PROMPTS):
        tokens, forwards = plain_editing(model, prompt, 16, 8, 0.5, 0.25)
        assert torch.equal(out.tokens[row, len(prompt) : len(prompt) + 16], tokens) and out.nfe[row] == forwards
    assert sum(int(step.revise.chosen.sum()) for step in steps) > 0
    assert len(set(out.nfe.tolist())) > 1


@torch.no_grad()
def test_a_cached_soft_decode_still_ends_decided() -> None:
    out = replace(evotoken(4, 3), refresh=PrefixCache()).decode(toy(gain=0.3), blank(PROMPTS, 11, num_soft=4))
    assert out.done.all() and not out.undecided.any() and (out.stage[:, 7:12] >= DECODED).all()
