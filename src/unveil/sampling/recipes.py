"""One function a paper. Each takes the number of new tokens and returns a Sampler; defaults are one token a forward.

`steps` is the total over all blocks, as in the published codes; `block=None` is one block of everything.
"""

from collections.abc import Mapping

from unveil.sampling.blocks import Blocks
from unveil.sampling.evolve import SoftTokens
from unveil.sampling.mixing import Constant, FollowsConfidence, Linear, Share, Spherical, in_unit
from unveil.sampling.picks import (
    Above,
    Closing,
    EntropyBound,
    Factor,
    Finishing,
    Opening,
    Pick,
    Quota,
    Scheduled,
    Threshold,
    Within,
)
from unveil.sampling.propose import Propose
from unveil.sampling.refresh import BlockCache, DualCache, NoCache, PrefixCache, Refresh
from unveil.sampling.sampler import Never, Sampler, Select, Selector
from unveil.sampling.scores import Certainty, Chance, Confidence, EndsLast, Gain, Margin, Noisy, Score

PLANS: dict[str, Refresh] = {"none": NoCache(), "prefix": PrefixCache(), "dual": DualCache()}
MIXES: dict[str, Linear | Spherical] = {"linear": Linear(), "spherical": Spherical()}
SHOWN = ("consistent", "first")  # commits under which a chosen position shows its own token
# Which chosen tokens a forward replaces: those of which it is surer, all, none.
COMMITS: dict[str, Selector] = {
    "best": Select(score=Gain(), pick=Above()),
    "consistent": Select(score=Gain(), pick=Above()),
    "current": Select(pick=Above(bar=-1.0)),
    "first": Never(),
}


def llada(
    new_tokens: int,
    *,
    steps: int | None = None,
    block: int | None = None,
    remasking: str = "low_confidence",
    temperature: float = 0.0,
    forbid_eos: bool = False,
    ends_last: bool = False,
) -> Sampler:
    """LLaDA (Nie et al. 2025, arXiv 2502.09992): a fixed number of tokens a step, the most confident or random ones.

    `forbid_eos` and `ends_last` are its `logits_eos_inf` and `confidence_eos_eot_inf`.
    """
    scores: dict[str, Score] = {"low_confidence": Confidence(), "random": Chance()}
    score = scores[among("remasking", remasking, scores)]
    return Sampler(
        blocks=Blocks(size=block),
        propose=Propose(temperature=temperature, forbid_eos=forbid_eos),
        unmask=Select(score=EndsLast(score=score) if ends_last else score, pick=_quota(new_tokens, steps, block)),
    )


def dream(
    new_tokens: int,
    *,
    steps: int | None = None,
    alg: str = "maskgit_plus",
    alg_temp: float = 0.0,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 50,
    eps: float = 1e-3,
) -> Sampler:
    """Dream (Ye et al. 2025, arXiv 2508.15487): its schedule over one block; `alg` as in its diffusion_generate.

    `alg_temp` above 0 draws the columns instead of taking the best. The published code inherits top_k = 50 from
    transformers' generation defaults, and it changes confidences even in greedy decoding; 0 turns it off.
    """
    whole = _steps(new_tokens, None, None)
    pick: Pick = Scheduled(steps=whole if steps is None else steps, end=eps)  # a forward may open nothing
    scores: dict[str, Score] = {"maskgit_plus": Confidence(), "topk_margin": Margin(), "entropy": Certainty()}
    score = scores[among("alg", alg, scores)]
    return Sampler(
        propose=Propose(temperature=temperature, top_p=top_p, top_k=top_k, tempered=True),
        unmask=Select(score=Noisy(score=score, temperature=alg_temp) if alg_temp else score, pick=pick),
    )


def fast_dllm(
    new_tokens: int,
    *,
    threshold: float | None = None,
    factor: float | None = None,
    block: int | None = None,
    steps: int | None = None,
    within: int | None = None,
    cache: str = "none",
    temperature: float = 0.0,
) -> Sampler:
    """Fast-dLLM (Wu et al. 2025, arXiv 2505.22618): all tokens above a threshold, or its factor rule, and its caches.

    With `steps` it opens LLaDA's quota instead. Give at most one of threshold (default 0.9), factor and steps. `within`
    (not the paper's) bounds the forwards, a total as `steps` is: in the last one on a block all that is left is opened.
    """
    rules = {"threshold": threshold, "factor": factor, "steps": steps}
    given = [name for name, value in rules.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other: give one of threshold, factor, steps")
    pick: Pick = Threshold(bar=0.9 if threshold is None else threshold)
    if factor is not None:
        pick = Factor(factor=factor)
    if steps is not None:
        pick = _quota(new_tokens, steps, block)
    if within is not None:
        pick = Within(pick=pick, steps=_steps(new_tokens, within, block, name="within"))
    return Sampler(
        blocks=Blocks(size=block),
        refresh=PLANS[among("cache", cache, PLANS)],
        propose=Propose(temperature=temperature),
        unmask=Select(pick=pick),
    )


def eb_sampler(new_tokens: int, *, gamma: float = 0.1, block: int | None = None, temperature: float = 0.0) -> Sampler:
    """EB-sampler (Ben-Hamu et al. 2025, arXiv 2505.24857): as many tokens as an entropy budget of gamma nats allows."""
    return Sampler(
        blocks=Blocks(size=block),
        propose=Propose(temperature=temperature),
        unmask=Select(score=Certainty(), pick=EntropyBound(gamma=gamma)),
    )


def remdm(
    new_tokens: int,
    *,
    steps: int | None = None,
    eta: float = 0.02,
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> Sampler:
    """ReMDM (Wang et al. 2025, arXiv 2503.00307), capped schedule: tokens are masked again with at most eta a step."""
    whole = _steps(new_tokens, None, None)
    steps = whole if steps is None else steps  # more steps than tokens is what remasking is for
    return Sampler(
        blocks=Blocks(min_steps=steps),
        propose=Propose(temperature=temperature, top_p=top_p),
        unmask=Select(score=Chance(), pick=Opening(steps=steps, eta=eta)),
        remask=Select(score=Chance(), pick=Closing(steps=steps, eta=eta)),
    )


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
    `lookahead` softens later blocks, unless a dual cache keeps them.
    """
    if steps is not None and threshold is not None:
        raise ValueError("steps and threshold exclude each other: give one")
    if cache == "dual" and lookahead:
        raise ValueError("cache=dual keeps what comes after the block, lookahead reads it anew: leave one of them out")
    if mix == "spherical" and commit in SHOWN and temperature:
        raise ValueError(f"mix=spherical with commit={commit} knows no drawn token: leave temperature at 0")
    _check_settle(settle, threshold is not None or converged is not None or bool(new_tokens % (block or new_tokens)))
    each = _steps(new_tokens, steps, block)
    pick: Pick = Quota(steps=each) if threshold is None else Threshold(bar=threshold)
    ahead = cache != "dual" if lookahead is None else lookahead
    share, mixed = _share(mask_share, least_share), MIXES[among("mix", mix, MIXES)]
    return Sampler(
        blocks=Blocks(size=block, min_steps=each + settle if settle else 0),
        refresh=PLANS[among("cache", cache, PLANS)],
        propose=Propose(temperature=temperature),
        unmask=Select(pick=pick if converged is None else Finishing(pick=pick, bar=converged)),
        revise=COMMITS[among("commit", commit, COMMITS)],
        evolve=SoftTokens(k=k, share=share, mix=mixed, consistent=commit in SHOWN, lookahead=ahead),
    )


def left_to_right(
    new_tokens: int, *, temperature: float = 0.0, top_p: float = 1.0, top_k: int = 0, cache: str = "none"
) -> Sampler:
    """One token a forward, the leftmost: how causal models decode. A row ends with its end id.

    `cache=block` keeps what stands to the left, which is exact for causal models: a forward then computes two columns.
    """
    plans: dict[str, Refresh] = {"none": NoCache(), "block": BlockCache(size=1)}
    return Sampler(
        blocks=Blocks(size=1),
        refresh=plans[among("cache", cache, plans)],
        propose=Propose(temperature=temperature, top_p=top_p, top_k=top_k),
        unmask=Select(pick=Quota(steps=1)),
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


RECIPES = {r.__name__: r for r in (llada, dream, fast_dllm, eb_sampler, remdm, evotoken, left_to_right)}


def among(name: str, value: str, legal: Mapping[str, object]) -> str:
    """The value of a setting. ValueError where it is not one of the legal names."""
    if value not in legal:
        raise ValueError(f"{name}={value!r} is unknown: choose one of {', '.join(legal)}")
    return value


def _steps(new_tokens: int, steps: int | None, block: int | None, name: str = "steps") -> int:
    """Forwards per block, from a total over all blocks."""
    if new_tokens < 1:
        raise ValueError(f"new_tokens={new_tokens} is not positive: ask for at least 1")
    if block is not None and block < 1:
        raise ValueError(f"block={block} is not positive: give at least 1, or leave it out for one block")
    size = new_tokens if block is None else min(block, new_tokens)
    blocks = -(-new_tokens // size)
    if steps is None:
        return size
    if steps < 1 or steps % blocks or steps // blocks > size:
        legal = f"a multiple of {blocks} from {blocks} to {blocks * size}" if blocks > 1 else f"from 1 to {size}"
        raise ValueError(
            f"{name}={steps} does not fit {new_tokens} new tokens in {blocks} block(s) of {size}: "
            f"it is the total over all blocks and must be {legal}"
        )
    return steps // blocks


def _quota(new_tokens: int, steps: int | None, block: int | None) -> Quota:
    return Quota(steps=_steps(new_tokens, steps, block))
