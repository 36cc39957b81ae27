"""Dream's own decoding."""

from unveil.legal import checked
from unveil.sampling.blocks import steps_in_block
from unveil.sampling.picks import Pick, Scheduled
from unveil.sampling.propose import Propose
from unveil.sampling.refresh import cache_plan
from unveil.sampling.sampler import Sampler, Select
from unveil.sampling.scores import Certainty, Confidence, Margin, Noisy, Score
from unveil.settings import one_of


@checked
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
    cache: str = "none",
) -> Sampler:
    """Dream (Ye et al. 2025, arXiv 2508.15487): its schedule over one block; `alg` as in its diffusion_generate.

    `alg_temp` above 0 draws the columns instead of taking the best. The published code inherits top_k = 50 from
    transformers' generation defaults, and it changes confidences even in greedy decoding; 0 turns it off.
    """
    whole = steps_in_block(new_tokens, None, None)
    pick: Pick = Scheduled(steps=whole if steps is None else steps, end=eps)  # a forward may open nothing
    scores: dict[str, Score] = {"maskgit_plus": Confidence(), "topk_margin": Margin(), "entropy": Certainty()}
    score = scores[one_of("alg", alg, scores)]
    return Sampler(
        refresh=cache_plan(cache, None),
        propose=Propose(temperature=temperature, top_p=top_p, top_k=top_k, tempered=True),
        unmask=Select(score=Noisy(score=score, temperature=alg_temp) if alg_temp else score, pick=pick),
    )
