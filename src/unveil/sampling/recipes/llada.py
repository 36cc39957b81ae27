"""LLaDA's own decoding."""

from unveil.legal import checked
from unveil.sampling.blocks import Blocks, steps_in_block
from unveil.sampling.picks import Quota
from unveil.sampling.propose import Propose
from unveil.sampling.refresh import cache_plan
from unveil.sampling.sampler import Sampler, Select
from unveil.sampling.scores import Chance, Confidence, EndsLast, Score
from unveil.settings import one_of


@checked
def llada(
    new_tokens: int,
    *,
    steps: int | None = None,
    block: int | None = None,
    remasking: str = "low_confidence",
    temperature: float = 0.0,
    forbid_eos: bool = False,
    ends_last: bool = False,
    cache: str = "none",
) -> Sampler:
    """LLaDA (Nie et al. 2025, arXiv 2502.09992): a fixed number of tokens a step, the most confident or random ones.

    `forbid_eos` and `ends_last` are its `logits_eos_inf` and `confidence_eos_eot_inf`.
    """
    scores: dict[str, Score] = {"low_confidence": Confidence(), "random": Chance()}
    score = scores[one_of("remasking", remasking, scores)]
    pick = Quota(steps=steps_in_block(new_tokens, steps, block))
    return Sampler(
        blocks=Blocks(size=block),
        refresh=cache_plan(cache, block),
        propose=Propose(temperature=temperature, forbid_eos=forbid_eos),
        unmask=Select(score=EndsLast(score=score) if ends_last else score, pick=pick),
    )
