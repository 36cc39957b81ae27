"""How causal models decode: one token after the other."""

from unveil.legal import checked
from unveil.sampling.blocks import Blocks
from unveil.sampling.picks import Quota
from unveil.sampling.propose import Propose
from unveil.sampling.refresh import cache_plan
from unveil.sampling.sampler import Sampler, Select


@checked
def left_to_right(
    new_tokens: int, *, temperature: float = 0.0, top_p: float = 1.0, top_k: int = 0, cache: str = "none"
) -> Sampler:
    """One token a forward, the leftmost: how causal models decode. A row ends with its end id.

    `cache=block` keeps what stands to the left, which is exact for causal models: a forward then computes two columns.
    """
    return Sampler(
        blocks=Blocks(size=1),
        refresh=cache_plan(cache, 1),
        propose=Propose(temperature=temperature, top_p=top_p, top_k=top_k),
        unmask=Select(pick=Quota(steps=1)),
    )
