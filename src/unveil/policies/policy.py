"""A learned policy as a sampler by name: `policy:path=FOLDER,block=32,cache=prefix`."""

from dataclasses import replace

from unveil.legal import checked
from unveil.policies.learned import Learned, Policy
from unveil.policies.store import load_policy, locate_policy
from unveil.sampling.blocks import Blocks
from unveil.sampling.picks import Pick
from unveil.sampling.random_picks import Coin, CoinsOrBest, PlackettLuce, SomeCoins
from unveil.sampling.recipes.evotoken import evotoken
from unveil.sampling.refresh import cache_plan
from unveil.sampling.sampler import Sampler, Select
from unveil.settings import one_of

PICKS: dict[str, Pick] = {
    "coins_or_best": CoinsOrBest(),
    "some_coins": SomeCoins(),
    "coin": Coin(),
    "plackett_luce": PlackettLuce(),
}


@checked
def policy(
    new_tokens: int,
    *,
    path: str | None = None,
    name: str | None = None,
    block: int | None = None,
    temperature: float = 1.0,
    scale: float = 1.0,
    alpha: float | None = None,
    pick: str = "coins_or_best",
    cache: str = "none",
    mask_share: float | None = None,
) -> Sampler:
    """Learned unmasking (Jazbec et al. 2025, arXiv 2512.09106): a folder, or the name of a policy that is shipped.

    `temperature` is the policy's (the paper: 0.5 in blocks of 32, else 1); tokens are the most probable ones. `scale`
    multiplies its rates. A policy that was trained with `alpha` needs one: larger is faster. With `mask_share` its
    tokens are soft and revisable, as `evotoken`'s.
    """
    net = load_policy(locate_policy(path=path, name=name))
    sampler = sampler_of(net, block=block, temperature=temperature, scale=scale, alpha=alpha, pick=pick, cache=cache)
    if mask_share is None:
        return sampler
    soft = evotoken(new_tokens, mask_share=mask_share, block=block, cache=cache)
    return replace(sampler, revise=soft.revise, evolve=soft.evolve)


def sampler_of(
    net: Policy,
    *,
    block: int | None = None,
    temperature: float = 1.0,
    scale: float = 1.0,
    alpha: float | None = None,
    pick: str = "coins_or_best",
    cache: str = "none",
) -> Sampler:
    """The same, with a policy that is in memory."""
    blocks = Blocks(size=block)
    sees = blocks if net.settings.view == "block" else Blocks()
    return Sampler(
        blocks=blocks,
        refresh=cache_plan(cache, block),
        unmask=Select(
            score=Learned(net=net, blocks=sees, temperature=temperature, scale=scale, alpha=alpha),
            pick=PICKS[one_of("pick", pick, PICKS)],
        ),
    )
