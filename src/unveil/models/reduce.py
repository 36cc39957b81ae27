"""From hidden states to tokens and probabilities: the only place where the vocabulary axis exists.

256 columns of a 126k vocabulary never stand in memory at once: a few columns at a time, or, where sums over the
vocabulary are enough, a few ids at a time for all columns, which reads the head's weights once.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from unveil import noise
from unveil.canvas import Canvas
from unveil.models.denoiser import Prediction, Want
from unveil.models.probabilities import IDS, best, by_ids, draw, entropy, sums_suffice, top, truncate

CHUNK = 11 << 20  # logits that the head computes at a time: 44 MiB in float32, and it reads its weights for each
PART = 1 << 19  # logits that are reduced at a time: their tempered, sorted or exponentiated copies are small


def reduce(
    hidden: Float[Tensor, "W D"],
    head: Callable[[Tensor], Tensor],
    want: Want,
    *,
    index: Int64[Tensor, " W"],
    vocabulary: int,
    uniforms: Float64[Tensor, " W"] | None = None,
) -> Prediction:
    """Apply `head` some ids or some columns at a time and keep what is wanted.

    `uniforms` are the random numbers of the columns, needed where `want.temperature` is above 0.
    """
    if want.top > (most := vocabulary - len(want.forbid)):
        raise ValueError(f"{want.top} candidates are asked for, the vocabulary has {most}: ask for fewer")
    targets = None if want.targets is None else want.targets.flatten()[index]
    if vocabulary > IDS and type(head) is nn.Linear and sums_suffice(want) and not _learns(hidden, head):
        found = by_ids(hidden, head, want, targets)
        return Prediction(index=index, hidden=hidden if want.hidden else None, **found)
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


def _learns(hidden: Tensor, head: nn.Linear) -> bool:
    return torch.is_grad_enabled() and (hidden.requires_grad or head.weight.requires_grad)


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


TOKEN_NOISE = 1  # the salt of the noise that draws tokens


def answer(
    hidden: Float[Tensor, "W D"],
    head: Callable[[Tensor], Tensor],
    embed: Callable[[Tensor], Tensor],
    canvas: Canvas,
    want: Want,
    *,
    index: Int64[Tensor, " W"],
    vocabulary: int,
) -> Prediction:
    """What is wanted of the columns at `index` (row * L + column); `head` is affine in `hidden`."""
    if want.guidance is not None:
        told, untold = hidden.chunk(2)
        hidden, index = untold + (1 + want.guidance) * (told - untold), index[: len(told)]
    uniforms = _uniforms(canvas, index) if want.temperature > 0 else None
    out = reduce(hidden, head, want, index=index, vocabulary=vocabulary, uniforms=uniforms)
    if not want.gram:
        return out
    assert out.top_ids is not None
    mask = torch.full_like(out.top_ids[:, :1], canvas.mask_id)
    shown = embed(shown_ids(torch.cat([mask, out.top_ids], 1), vocabulary)).detach()
    return replace(out, gram=shown @ shown.mT)


def shown_ids(ids: Tensor, vocabulary: int) -> Tensor:
    """What is shown for ids: a causal model's [MASK] is no token, and any will do, for nothing that is read sees it."""
    return ids.masked_fill(ids == vocabulary, 0)


def _uniforms(canvas: Canvas, index: Int64[Tensor, " W"]) -> Tensor:
    L = canvas.tokens.shape[1]
    row = index // L
    return noise.uniform(canvas.seed[row], canvas.nfe[row], TOKEN_NOISE, index % L)
