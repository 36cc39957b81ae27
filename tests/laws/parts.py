"""The parts that laws are tried on: rules, cache plans, and models that they fit."""

from collections.abc import Iterator
from functools import cache
from itertools import product

import torch

from tests.toy import blank, toy
from unveil.canvas import Canvas
from unveil.models.attention import BlockCausal
from unveil.models.transformer import Transformer
from unveil.sampling.blocks import Blocks
from unveil.sampling.evolve import HardTokens, SoftTokens
from unveil.sampling.mixing import Drawn, FollowsConfidence, Spherical
from unveil.sampling.picks import (
    Above,
    Closing,
    EntropyBound,
    Factor,
    Opening,
    Quota,
    Scheduled,
    Threshold,
    Within,
)
from unveil.sampling.propose import Propose
from unveil.sampling.random_picks import Coin, CoinsOrBest, PlackettLuce, SomeCoins
from unveil.sampling.refresh import BlockCache, DelayedCache, DualCache, NearCache, NoCache, PrefixCache, Refresh
from unveil.sampling.sampler import Sampler, Select, Step
from unveil.sampling.scores import Certainty, Chance, Confidence, Differs, EndsLast, Gain, LeftToRight, Margin, Noisy

SIZE = 4
PLANS: dict[str, Refresh] = {
    "none": NoCache(),
    "dual": DualCache(),
    "prefix": PrefixCache(),
    "near": NearCache(radius=2),
    "delayed": DelayedCache(every=3),
    "block": BlockCache(size=SIZE),
}
RULES = {
    "confidence x threshold": Select(pick=Threshold(bar=0.3)),
    "certainty x entropy bound": Select(score=Certainty(), pick=EntropyBound(gamma=2.0)),
    "noisy margin x quota": Select(score=Noisy(score=Margin(), temperature=0.2), pick=Quota(steps=3)),
}
MORE_RULES = {
    "confidence x quota": Select(score=Confidence(), pick=Quota(steps=3)),
    "confidence x factor": Select(pick=Factor(factor=1.0)),
    "confidence x threshold within 3": Select(pick=Within(pick=Threshold(bar=0.3), steps=3)),
    "certainty x schedule": Select(score=Certainty(), pick=Scheduled(steps=4)),
    "chance x quota": Select(score=Chance(), pick=Quota(steps=2)),
    "reading order x quota": Select(score=LeftToRight(), pick=Quota(steps=2)),
    "confidence x coin": Select(pick=Coin()),
    "confidence x some coins": Select(pick=SomeCoins()),
    "confidence x coins or best": Select(pick=CoinsOrBest()),
    "certainty x plackett-luce": Select(score=Certainty(), pick=PlackettLuce()),
    "ends last x threshold": Select(score=EndsLast(score=Confidence()), pick=Threshold(bar=0.3)),
}
GREEDY, DRAWN = Propose(), Propose(temperature=1.0)
NUCLEUS = Propose(temperature=0.7, top_p=0.8, top_k=20, tempered=True)


@cache
def model(
    plan: str = "none", *, shift: int = 0, kv_heads: int = 2, gain: float = 0.5, dtype: torch.dtype = torch.float64
) -> Transformer:
    """A toy that the cache plan fits: block-causal for the block cache, bidirectional for all others."""
    rule = BlockCausal(size=SIZE) if plan == "block" else None
    return toy(shift=shift, kv_heads=kv_heads, gain=gain, rule=rule, dtype=dtype)


def soft(k: int) -> HardTokens:
    """SoftTokens(k), HardTokens for 0. The canvas needs num_soft = k + 1 or 0."""
    return SoftTokens(k=k) if k else HardTokens()


def samplers(plan: str, k: int) -> Iterator[Sampler]:
    """Every rule with every way to draw tokens, under one plan, with hard (k = 0) or soft tokens."""
    for rule, propose in product(RULES.values(), (GREEDY, DRAWN, NUCLEUS)):
        yield Sampler(blocks=Blocks(size=SIZE), refresh=PLANS[plan], propose=propose, unmask=rule, evolve=soft(k))


def changing(plan: str) -> Iterator[Sampler]:
    """Samplers that change what they have written."""
    edit = Select(score=Differs(), pick=Above(bar=0.2))
    fixed = {"refresh": PLANS[plan], "max_steps": 60}
    some = Select(pick=Threshold(bar=0.3))
    yield Sampler(blocks=Blocks(size=SIZE, until_quiet=8), unmask=some, revise=edit, **fixed)
    gain = Select(score=Gain(), pick=Above())
    yield Sampler(blocks=Blocks(size=SIZE), unmask=Select(pick=Quota(steps=3)), revise=gain, evolve=soft(2), **fixed)
    for evolve in (
        SoftTokens(k=2, share=FollowsConfidence(), mix=Spherical(), lookahead=True),
        SoftTokens(k=2, share=Drawn(), consistent=True),
    ):
        some = Select(pick=Quota(steps=3))
        yield Sampler(blocks=Blocks(size=SIZE), propose=DRAWN, unmask=some, revise=gain, evolve=evolve, **fixed)
    opening, closing = (Select(score=Chance(), pick=pick(steps=6, eta=0.3)) for pick in (Opening, Closing))
    yield Sampler(blocks=Blocks(size=SIZE, min_steps=6), propose=DRAWN, unmask=opening, remask=closing, **fixed)


def assert_same_row(together: list[Step], row: int, alone: list[Step], within: float = 1e-12) -> None:
    """Row `row` of a batch went the way of the only row of `alone`: tokens, stages, forwards; confidences nearly."""
    end = int(alone[0].before.end)
    assert together[-1].after.nfe[row] == alone[-1].after.nfe[0] == len(alone)
    for mine, theirs in zip(together, alone, strict=False):
        for name in ("tokens", "stage", "written"):
            assert torch.equal(getattr(mine.after, name)[row, :end], getattr(theirs.after, name)[0]), name
        a, b = mine.proposal.confidence[row, :end], theirs.proposal.confidence[0]
        assert torch.equal(a == float("-inf"), b == float("-inf"))
        assert torch.allclose(a, b, rtol=0, atol=within)
    assert together[len(alone) - 1].after.done[row]


def seeded(prompts: list[list[int]], new: list[int], k: int = 0, **more: object) -> tuple[Canvas, list[Canvas]]:
    """A ragged batch, and its rows each on a canvas of its own, made apart."""
    num_soft, seeds = (k + 1 if k else 0), [5 + row for row in range(len(prompts))]
    together = blank(prompts, new, num_soft=num_soft, seed=seeds, **more)
    rows = zip(prompts, new, seeds, strict=True)
    return together, [blank([prompt], count, num_soft=num_soft, seed=seed, **more) for prompt, count, seed in rows]
