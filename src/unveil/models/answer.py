"""From the hidden states that answer to a prediction: guidance, drawn tokens, the reduction over the vocabulary."""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unveil import noise
from unveil.canvas import Canvas
from unveil.models.denoiser import Prediction, Want
from unveil.models.reduce import reduce

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
