"""EvoToken: soft tokens that stay revisable until their block is full."""

from unveil.legal import checked
from unveil.sampling.blocks import Blocks, steps_in_block
from unveil.sampling.evolve import SoftTokens
from unveil.sampling.mixing import Constant, FollowsConfidence, Linear, Share, Spherical, in_unit
from unveil.sampling.picks import Above, Finishing, Pick, Quota, Threshold
from unveil.sampling.propose import Propose
from unveil.sampling.refresh import cache_plan
from unveil.sampling.sampler import Never, Sampler, Select, Selector
from unveil.sampling.scores import Gain
from unveil.settings import one_of

MIXES: dict[str, Linear | Spherical] = {"linear": Linear(), "spherical": Spherical()}
SHOWN = ("consistent", "first")  # commits under which a chosen position shows its own token
# Which chosen tokens a forward replaces: those of which it is surer, all, none.
COMMITS: dict[str, Selector] = {
    "best": Select(score=Gain(), pick=Above()),
    "consistent": Select(score=Gain(), pick=Above()),
    "current": Select(pick=Above(bar=-1.0)),
    "first": Never(),
}
KEEPS_LATER = ("dual", "near")  # caches that do not compute the columns after a block again


@checked
def evotoken(
    new_tokens: int,
    *,
    steps: int | None = None,
    threshold: float | None = None,
    block: int | None = None,
    k: int = 3,
    mask_share: float = 0.7,
    least_share: float | None = None,
    mix: str = "linear",
    commit: str = "best",
    lookahead: bool | None = None,
    settle: int = 0,
    converged: float | None = None,
    temperature: float = 0.0,
    cache: str = "none",
) -> Sampler:
    """EvoToken (Zhong et al. 2026, arXiv 2601.07351): soft tokens that stay revisable until their block is full.

    `steps` opens LLaDA's quota, `threshold` all above it. `mask_share` of [MASK] is mixed with the best `k` candidates;
    with `least_share` (ours) the share falls to that as confidence rises. `mix=spherical` keeps lengths.
    `commit`: best, the most confident candidate since the mask was opened (theirs); consistent, the same, and it is
    what is shown; current, the last candidate; first, no revision, and what was written is shown. For `settle`
    forwards a full block is still revised, `converged` ends a block once all its masks are that sure (both ours).
    `lookahead` softens later blocks, unless the cache keeps them as they are (dual, near).
    """
    if steps is not None and threshold is not None:
        raise ValueError("steps and threshold exclude each other: give one")
    if cache in KEEPS_LATER and lookahead:
        raise ValueError(
            f"cache={cache} keeps what comes after the block, lookahead reads it anew: leave one of them out"
        )
    if mix == "spherical" and commit in SHOWN and temperature:
        raise ValueError(f"mix=spherical with commit={commit} knows no drawn token: leave temperature at 0")
    _check_settle(settle, threshold is not None or converged is not None or bool(new_tokens % (block or new_tokens)))
    each = steps_in_block(new_tokens, steps, block)
    pick: Pick = Quota(steps=each) if threshold is None else Threshold(bar=threshold)
    ahead = cache not in KEEPS_LATER if lookahead is None else lookahead
    share, mixed = _share(mask_share, least_share), MIXES[one_of("mix", mix, MIXES)]
    return Sampler(
        blocks=Blocks(size=block, min_steps=each + settle if settle else 0),
        refresh=cache_plan(cache, block),
        propose=Propose(temperature=temperature),
        unmask=Select(pick=pick if converged is None else Finishing(pick=pick, bar=converged)),
        revise=COMMITS[one_of("commit", commit, COMMITS)],
        evolve=SoftTokens(k=k, share=share, mix=mixed, consistent=commit in SHOWN, lookahead=ahead),
    )


def _check_settle(settle: int, unknown: bool) -> None:
    """`unknown`: nobody knows beforehand when a block is full."""
    if settle < 0:
        raise ValueError(f"settle={settle} is negative: it is the number of forwards after a block is full")
    if settle and unknown:
        raise ValueError(
            "settle needs to know when a block is full: give steps, not threshold or converged, and blocks of one size"
        )


def _share(most: float, least: float | None) -> Share:
    if least is None:
        in_unit(mask_share=most)
        return Constant(share=most)
    in_unit(mask_share=most, least_share=least)
    return FollowsConfidence(least=least, most=most)
