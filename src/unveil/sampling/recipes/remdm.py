"""ReMDM: tokens are masked again while others open."""

from unveil.legal import checked
from unveil.sampling.blocks import Blocks, steps_in_block
from unveil.sampling.picks import Closing, Opening
from unveil.sampling.propose import Propose
from unveil.sampling.refresh import cache_plan
from unveil.sampling.sampler import Sampler, Select
from unveil.sampling.scores import Chance


@checked
def remdm(
    new_tokens: int,
    *,
    steps: int | None = None,
    eta: float = 0.02,
    temperature: float = 1.0,
    top_p: float = 1.0,
    cache: str = "none",
) -> Sampler:
    """ReMDM (Wang et al. 2025, arXiv 2503.00307), capped schedule: tokens are masked again with at most eta a step."""
    whole = steps_in_block(new_tokens, None, None)
    steps = whole if steps is None else steps  # more steps than tokens is what remasking is for
    return Sampler(
        blocks=Blocks(min_steps=steps),
        refresh=cache_plan(cache, None),
        propose=Propose(temperature=temperature, top_p=top_p),
        unmask=Select(score=Chance(), pick=Opening(steps=steps, eta=eta)),
        remask=Select(score=Chance(), pick=Closing(steps=steps, eta=eta)),
    )
