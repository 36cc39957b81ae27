"""Fast-dLLM's parallel decoding: thresholds, its factor rule, and caches."""

from unveil.legal import checked
from unveil.sampling.blocks import Blocks, steps_in_block
from unveil.sampling.picks import Factor, Pick, Quota, Threshold, Within
from unveil.sampling.propose import Propose
from unveil.sampling.refresh import cache_plan
from unveil.sampling.sampler import Sampler, Select


@checked
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
        pick = Quota(steps=steps_in_block(new_tokens, steps, block))
    if within is not None:
        pick = Within(pick=pick, steps=steps_in_block(new_tokens, within, block, name="within"))
    return Sampler(
        blocks=Blocks(size=block),
        refresh=cache_plan(cache, block),
        propose=Propose(temperature=temperature),
        unmask=Select(pick=pick),
    )
