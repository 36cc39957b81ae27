"""The published decoding loops for one row, written as their papers say: the specification of our samplers.

`logits(ids)` is a full forward of one row, (L,) -> (L, V): position i predicts the token at i (Dream's shift is done).
[MASK] is never predicted. Ties go to the lowest position. A loop returns the new tokens (new,) and its forwards.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Logits = Callable[[Tensor], Tensor]
Score = Callable[..., Tensor]
Count = Callable[[Tensor, int], int]
Done = tuple[Tensor, int]
NEVER = float("-inf")


def distribution(logits: Logits, ids: Tensor, first: int, last: int, mask_id: int) -> Tensor:
    """Probabilities (W, V) of the tokens at positions first to last - 1."""
    scores = logits(ids)[first:last].clone()
    scores[:, mask_id] = NEVER
    return scores.softmax(-1)


def best_first(scores: Tensor, masked: Tensor) -> Tensor:
    """The masked positions, the highest score first."""
    return scores.masked_fill(~masked, NEVER).argsort(descending=True, stable=True)[: int(masked.sum())]


def confidence(p: Tensor, *at: object) -> Tensor:
    return p.amax(-1)


def margin(p: Tensor, *at: object) -> Tensor:
    return -p.topk(2).values.diff()[:, 0]


def certainty(p: Tensor, *at: object) -> Tensor:
    return -torch.special.entr(p).sum(-1)


def block_loop(logits: Logits, prompt: Tensor, new: int, block: int, mask_id: int, score: Score, count: Count) -> Done:
    """Block by block, one forward after another until the block is full. `score(p, forward, columns)` says who comes
    first, `count(scores, step)` how many of the masked positions, given best first, are opened in this step."""
    ids, forwards = torch.cat([prompt, prompt.new_full((new,), mask_id)]), 0
    for first in range(len(prompt), len(ids), block):
        x, step = ids[first : first + block], 0  # a view: what is written to x is written to ids
        while (x == mask_id).any():
            p = distribution(logits, ids, first, first + block, mask_id)
            scores = score(p, forwards, torch.arange(first, first + block))
            order = best_first(scores, x == mask_id)
            chosen = order[: count(scores[order], step)]
            x[chosen] = p.argmax(-1)[chosen]
            forwards, step = forwards + 1, step + 1
    return ids[len(prompt) :], forwards


def quota(new: int, block: int, steps_total: int) -> Count:
    """LLaDA's table: a block has steps_total / blocks steps, the first block % steps of them open one token more."""
    base, remainder = divmod(block, steps_total // (new // block))
    return lambda scores, step: base + (step < remainder)


def plain_llada(logits: Logits, prompt: Tensor, new: int, block: int, steps_total: int, mask_id: int) -> Done:
    """Nie et al. 2025, `low_confidence`: the most probable first."""
    return block_loop(logits, prompt, new, block, mask_id, confidence, quota(new, block, steps_total))


def plain_random(
    logits: Logits, prompt: Tensor, new: int, block: int, steps_total: int, mask_id: int, chance: Score
) -> Done:
    """Nie et al. 2025, `random`: the highest `chance(forward, columns)` first; forwards from 0, columns of the row."""
    return block_loop(logits, prompt, new, block, mask_id, lambda p, *at: chance(*at), quota(new, block, steps_total))


def plain_threshold(logits: Logits, prompt: Tensor, new: int, block: int, bar: float, mask_id: int) -> Done:
    """Fast-dLLM (Wu et al. 2025): all whose confidence is not below the bar, and always the best."""
    return block_loop(logits, prompt, new, block, mask_id, confidence, lambda c, step: max(1, int((c >= bar).sum())))


def plain_factor(logits: Logits, prompt: Tensor, new: int, block: int, factor: float, mask_id: int) -> Done:
    """Fast-dLLM: ranks n = 1, 2, ...: the first always, then on while its confidence is >= 1 - factor / (n + 1)."""

    def count(c: Tensor, step: int) -> int:  # c[n] has rank n + 1
        return next((n for n in range(1, len(c)) if c[n] < 1 - factor / (n + 2)), len(c))
    return block_loop(logits, prompt, new, block, mask_id, confidence, count)


def plain_entropy_bound(logits: Logits, prompt: Tensor, new: int, block: int, gamma: float, mask_id: int) -> Done:
    """EB-sampler (Ben-Hamu et al. 2025): by entropy H in nats, the largest prefix with sum H - max H <= gamma."""
    count = lambda c, step: 1 + int(((-c).cumsum(0)[:-1] <= gamma).sum())  # noqa: E731
    return block_loop(logits, prompt, new, block, mask_id, certainty, count)


def plain_dream(
    logits: Logits, prompt: Tensor, new: int, alg: str, steps: int, mask_id: int, eps: float = 1e-3, top_k: int = 50
) -> Done:
    """Dream's `diffusion_generate` (Ye et al. 2025): time from 1 to eps, int(masked * (1 - s / t)) tokens a step.
    It runs with top_k = 50 unless told otherwise, also at temperature 0, and that changes the scores."""
    score = {"maskgit_plus": confidence, "topk_margin": margin, "entropy": certainty}[alg]
    ids, times = torch.cat([prompt, prompt.new_full((new,), mask_id)]), torch.linspace(1, eps, steps + 1)
    x = ids[len(prompt) :]
    for step, (t, s) in enumerate(zip(times, times[1:], strict=False)):
        p = distribution(logits, ids, len(prompt), len(ids), mask_id)
        p = p * (p >= p.topk(min(top_k, p.shape[1])).values[:, -1:])
        p = p / p.sum(-1, keepdim=True)
        number = int((x == mask_id).sum() / 1 * (1 - s / t)) if step < steps - 1 else new  # float32, as published
        chosen = best_first(score(p), x == mask_id)[:number]
        x[chosen] = p.argmax(-1)[chosen]
    return x, steps


def plain_guided(logits: Logits, blind_logits: Logits, scale: float) -> Logits:
    """LLaDA's classifier-free guidance as another `logits`; `blind_logits(ids)` sees [MASK] in place of the prompt."""

    def guided(ids: Tensor) -> Tensor:
        blind = blind_logits(ids)
        return blind + (scale + 1) * (logits(ids) - blind)
    return guided
