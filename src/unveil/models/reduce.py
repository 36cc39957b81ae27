"""From hidden states to tokens and probabilities: the only place where the vocabulary axis exists.

A few columns at a time, so that 256 columns of a 126k vocabulary never stand in memory at once.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from unveil.models.denoiser import Prediction, Want

CHUNK = 11 << 20  # logits that the head computes at a time: 44 MiB in float32, and it reads its weights for each
PART = 1 << 19  # logits that are reduced at a time: their tempered, sorted or exponentiated copies are small
BLOCK = 128  # ids; published vocabularies are multiples of it


def reduce(
    hidden: Float[Tensor, "W D"],
    head: Callable[[Tensor], Tensor],
    want: Want,
    *,
    index: Int64[Tensor, " W"],
    vocabulary: int,
    uniforms: Float64[Tensor, " W"] | None = None,
) -> Prediction:
    """Apply `head` chunk by chunk and keep what is wanted.

    `uniforms` are the random numbers of the columns, needed where `want.temperature` is above 0.
    """
    if want.top > (most := vocabulary - len(want.forbid)):
        raise ValueError(f"{want.top} candidates are asked for, the vocabulary has {most}: ask for fewer")
    targets = None if want.targets is None else want.targets.flatten()[index]
    parts: dict[str, list[Tensor]] = {}
    chunk, part = max(1, CHUNK // vocabulary), max(1, PART // vocabulary)
    for begin in range(0, max(len(hidden), 1), chunk):
        logits = head(hidden[begin : begin + chunk])
        for place in range(0, max(len(logits), 1), part):
            columns = slice(begin + place, begin + min(place + part, len(logits)))
            noise = None if uniforms is None else uniforms[columns]
            wanted = None if targets is None else targets[columns]
            for name, value in _columns(logits[place : place + part], want, noise, wanted).items():
                parts.setdefault(name, []).append(value)
        del logits  # before the next ones are made
    whole = {name: values[0] if len(values) == 1 else torch.cat(values) for name, values in parts.items()}
    return Prediction(index=index, hidden=hidden if want.hidden else None, **whole)


def _columns(logits: Tensor, want: Want, uniforms: Tensor | None, targets: Tensor | None) -> dict[str, Tensor]:
    out = {}
    if want.logits:
        out["logits"] = logits
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if want.forbid and (want.logits or logits.requires_grad):
        logits = logits.clone()  # else nobody holds them
    for token in want.forbid:
        logits[:, token : token + 1].fill_(float("-inf"))  # none, for a [MASK] that is no token
    if targets is not None:
        out["log_probs"] = -F.cross_entropy(logits, targets, reduction="none")
    if want.proposals:
        out.update(_propose(logits.detach(), want, uniforms))  # what is proposed carries no gradient
    return out


def _propose(logits: Tensor, want: Want, uniforms: Tensor | None) -> dict[str, Tensor]:
    hot = logits
    if want.temperature > 0 or want.tempered:
        hot = truncate(logits / (want.temperature or 1.0), top_p=want.top_p, top_k=want.top_k)
        logits = hot if want.tempered else logits
    probs = logits.softmax(-1)
    if want.temperature > 0:
        assert uniforms is not None
        tokens = draw(hot, uniforms)
    else:
        tokens = best(logits)
    out = {"tokens": tokens, "confidence": probs.gather(-1, tokens[:, None])[:, 0]}
    if want.entropy:
        out["entropy"] = entropy(logits, probs)
    if want.top:
        out["top_probs"], out["top_ids"] = top(probs, want.top)
    return out


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
