"""From hidden states to tokens and probabilities: the only place where the vocabulary axis exists.

One chunk of columns at a time, so that 256 columns of a 126k vocabulary never stand in memory at once.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from unveil.models.denoiser import Prediction, Want

CHUNK = 1 << 22  # logits in memory at a time: 16 MiB in float32


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
    size = max(1, CHUNK // vocabulary)
    targets = None if want.targets is None else want.targets.flatten()[index]
    parts: dict[str, list[Tensor]] = {}
    for first in range(0, max(len(hidden), 1), size):
        chunk = slice(first, first + size)
        noise = None if uniforms is None else uniforms[chunk]
        wanted = None if targets is None else targets[chunk]
        for name, value in _columns(head(hidden[chunk]), want, noise, wanted).items():
            parts.setdefault(name, []).append(value)
    whole = {name: values[0] if len(values) == 1 else torch.cat(values) for name, values in parts.items()}
    return Prediction(index=index, hidden=hidden if want.hidden else None, **whole)


def _columns(logits: Tensor, want: Want, uniforms: Tensor | None, targets: Tensor | None) -> dict[str, Tensor]:
    out = {}
    if want.logits:
        out["logits"] = logits
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if want.forbid:
        forbidden = torch.tensor(want.forbid, device=logits.device)
        logits = logits.index_fill(-1, forbidden, float("-inf")) if want.logits else _fill(logits, forbidden)
    if targets is not None:
        out["log_probs"] = -F.cross_entropy(logits, targets, reduction="none")
    if want.proposals:
        out.update(_propose(logits, want, uniforms))
    return out


def _fill(logits: Tensor, columns: Tensor) -> Tensor:
    return logits.index_fill_(-1, columns, float("-inf"))  # in place: nobody else holds these logits


def _propose(logits: Tensor, want: Want, uniforms: Tensor | None) -> dict[str, Tensor]:
    hot = logits
    if want.temperature > 0 or want.tempered:
        hot = truncate(logits / (want.temperature or 1.0), top_p=want.top_p, top_k=want.top_k)
        logits = hot if want.tempered else logits
    probs = logits.softmax(-1)
    out = {}
    if want.temperature > 0:
        assert uniforms is not None
        out["tokens"] = draw(hot, uniforms)
        out["confidence"] = probs.gather(-1, out["tokens"][:, None])[:, 0]
    else:
        out["tokens"] = logits.argmax(-1)
        out["confidence"] = probs.amax(-1)
    if want.entropy:
        out["entropy"] = torch.special.entr(probs).sum(-1)
    if want.top:
        out["top_probs"], out["top_ids"] = probs.topk(want.top, -1)
    return out


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
        bar = logits.topk(top_k, -1).values[..., -1:]
        logits = logits.masked_fill(logits < bar, float("-inf"))
    return logits


def draw(logits: Float[Tensor, "W V"], uniforms: Float64[Tensor, " W"]) -> Int64[Tensor, " W"]:
    """A token from softmax(logits) for each column, by inverting the distribution at one uniform number.

    In float64 and a few columns at a time: 126k terms summed in float32 would lose the tail.
    """
    tokens = []
    size = max(1, CHUNK // 8 // logits.shape[-1])
    for first in range(0, len(logits), size):
        cumulated = logits[first : first + size].double().softmax(-1).cumsum(-1)
        point = uniforms[first : first + size, None] * cumulated[:, -1:]
        tokens.append(torch.searchsorted(cumulated, point, right=True)[:, 0])
    drawn = torch.cat(tokens) if tokens else logits.new_zeros(0, dtype=torch.int64)
    return drawn.clamp_max(logits.shape[-1] - 1)
