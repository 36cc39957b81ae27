"""The entropy-bounded sampler."""

from unveil.legal import checked
from unveil.sampling.blocks import Blocks
from unveil.sampling.picks import EntropyBound
from unveil.sampling.propose import Propose
from unveil.sampling.refresh import cache_plan
from unveil.sampling.sampler import Sampler, Select
from unveil.sampling.scores import Certainty


@checked
def eb_sampler(
    new_tokens: int,
    *,
    gamma: float = 0.1,
    block: int | None = None,
    temperature: float = 0.0,
    cache: str = "none",
) -> Sampler:
    """EB-sampler (Ben-Hamu et al. 2025, arXiv 2505.24857): as many tokens as an entropy budget of gamma nats allows."""
    return Sampler(
        blocks=Blocks(size=block),
        refresh=cache_plan(cache, block),
        propose=Propose(temperature=temperature),
        unmask=Select(score=Certainty(), pick=EntropyBound(gamma=gamma)),
    )
