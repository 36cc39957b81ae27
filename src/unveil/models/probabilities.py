"""Of logits over a vocabulary: the best token, the best few, entropy, truncation, a draw. All in float32 or more."""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

BLOCK = 128  # ids; published vocabularies are multiples of it


def best(logits: Float[Tensor, "W V"]) -> Int64[Tensor, " W"]:
    """The most probable token, the lowest id of several: argmax, first over blocks of ids, then in the best block.

    On a CPU argmax takes ten times as long as amax, and so it sees only the blocks' maxima.
    """
    if logits.shape[-1] % BLOCK:
        return logits.argmax(-1)
    blocks = logits.unflatten(-1, (-1, BLOCK))
    block = blocks.amax(-1).argmax(-1)
    inside = blocks.gather(1, block[:, None, None].expand(-1, 1, BLOCK))[:, 0]
    return block * BLOCK + inside.argmax(-1)


def top(values: Float[Tensor, "W V"], k: int) -> tuple[Float[Tensor, "W k"], Int64[Tensor, "W k"]]:
    """The largest `k` and their ids: topk, looking only into the `k` best blocks."""
    if values.shape[-1] % BLOCK or values.shape[-1] <= k * BLOCK:
        return values.topk(k, -1)
    blocks = values.unflatten(-1, (-1, BLOCK))
    best_blocks = blocks.amax(-1).topk(k, -1).indices
    found, place = blocks.gather(1, best_blocks[..., None].expand(-1, -1, BLOCK)).flatten(1).topk(k, -1)
    return found, best_blocks.gather(1, place // BLOCK) * BLOCK + place % BLOCK


def entropy(logits: Float[Tensor, "W V"], probs: Float[Tensor, "W V"]) -> Float[Tensor, " W"]:
    """Nats: sum of p (max - logit), less the logarithm of the largest p. All terms are positive, nothing cancels.

    No logarithm for every token: six times as fast on a CPU.
    """
    below = (logits.amax(-1, keepdim=True) - logits).clamp_max_(torch.finfo(logits.dtype).max)  # 0 * inf is NaN
    return below.mul_(probs).sum(-1) - probs.amax(-1).log()


def truncate(logits: Float[Tensor, "W V"], *, top_p: float, top_k: int) -> Float[Tensor, "W V"]:
    """-inf outside the best `top_k` (0: all) and outside the smallest set with probability at least `top_p`.

    The best token always stays. Holtzman et al. 2020 (top-p), Fan et al. 2018 (top-k).
    """
    if top_p < 1:  # before top_k, as in Dream's published code: both sets are of the whole distribution
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        probs = ordered.softmax(-1)
        cut = probs.cumsum(-1) - probs >= top_p  # what stands before already has enough
        cut[..., 0] = False
        logits = logits.masked_fill(torch.zeros_like(cut).scatter(-1, order, cut), float("-inf"))
    if 0 < top_k < logits.shape[-1]:
        bar = top(logits, top_k)[0][:, -1:]
        logits = logits.masked_fill(logits < bar, float("-inf"))
    return logits


def draw(logits: Float[Tensor, "W V"], uniforms: Float64[Tensor, " W"]) -> Int64[Tensor, " W"]:
    """A token from softmax(logits) for each column, by inverting the distribution at one uniform number.

    In float64: 126k terms summed in float32 would lose the tail.
    """
    cumulated = logits.double().softmax(-1).cumsum(-1)
    drawn = torch.searchsorted(cumulated, uniforms[:, None] * cumulated[:, -1:], right=True)[:, 0]
    return drawn.clamp_max(logits.shape[-1] - 1)
