"""What the answer hangs on: the gradient of its logit with respect to the input embedding of every column."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unveil.checkpoints.hf import Borrowed
from unveil.decoding.model import Model
from unveil.diagnostics.context.readings import answered, canvas_of
from unveil.diagnostics.context.rows import Row
from unveil.models.denoiser import Prediction, Want
from unveil.models.transformer import Transformer

LAST = 50  # columns before the answer that count as near (Piskorz et al. 2025, table 1)


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """FirstMask, and the L2 norm of d(logit of the answer) / d(input embedding) of every column.

    Piskorz et al. 2025 (arXiv 2511.21338), section 4, figure 3 and table 1; what they divide norms by is our reading:
    the row's largest norm, for examples the largest mean of an example. Rows are read one by one.
    """

    def __call__(self, model: Model, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """For each row what FirstMask reads, and of the norms, None for the mean of no columns:

        "masks" (mean of the masks after the answer's), "answer_mask", "last" (mean of up to 50 columns before the
        answer), "rest" (mean of all columns but masks), "mask_share" (sum of the masks after the answer's, over the sum
        of all), "examples" (mean of each example in order of position), "kinds" (of these examples).
        """
        return [_read(model, row) for row in rows]


def _read(model: Model, row: Row) -> dict[str, Any]:
    out, norms = gradient(model, row)
    assert out.tokens is not None and out.confidence is not None and out.entropy is not None
    sure = {"confidence": float(out.confidence.detach()), "entropy": float(out.entropy.detach()), "nfe": 1}
    return {**answered(model, row, int(out.tokens)), **sure, **_summary(row, norms.tolist())}


def gradient(model: Model, row: Row) -> tuple[Prediction, Float[Tensor, " L"]]:
    """What is predicted at the first mask, and the norm of its logit's gradient at every column."""
    want = Want(entropy=True, logits=True, forbid=(model.denoiser.outline.blank_id,))
    with torch.inference_mode(False), torch.enable_grad(), _leaves(model.denoiser) as leaves:
        canvas = canvas_of(model, [row])
        out = model.denoiser(canvas, canvas.inside, canvas.column == canvas.start[:, None], None, want)
        assert out.logits is not None and out.tokens is not None
        (slope,) = torch.autograd.grad(out.logits[0, out.tokens[0]], leaves)
    return out, slope.flatten(end_dim=-2).norm(dim=-1, dtype=torch.promote_types(slope.dtype, torch.float32))


@contextmanager
def _leaves(denoiser: Transformer | Borrowed) -> Iterator[list[Tensor]]:
    """The input embeddings of the forwards inside, cut off from the weights and ready for gradients."""
    leaves = list[Tensor]()

    def cut(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    hook = denoiser.embed.register_forward_hook(cut)
    try:
        with denoiser.recomputing():
            yield leaves
    finally:
        hook.remove()


def _summary(row: Row, norms: list[float]) -> dict[str, Any]:
    top = max(norms) or 1.0
    kinds = [row.pieces[number].kind if number >= 0 else "question" for number in row.piece]
    masks = [norm for norm, kind in zip(norms, kinds, strict=True) if kind == "masks"]
    rest = [norm for norm, kind in zip(norms, kinds, strict=True) if kind != "masks"]
    before = norms[max(0, row.answer - LAST) : row.answer]
    shown = {n: piece.kind for n, piece in enumerate(row.pieces) if piece.kind in ("relevant", "distractor")}
    examples = [_mean([norm for norm, n in zip(norms, row.piece, strict=True) if n == number]) for number in shown]
    best = max((mean for mean in examples if mean is not None), default=0.0) or 1.0
    return {
        "masks": _mean(masks[1:], top),
        "answer_mask": masks[0] / top,
        "last": _mean(before, top),
        "rest": _mean(rest, top),
        "mask_share": sum(masks[1:]) / (sum(norms) or 1.0),
        "examples": [None if mean is None else mean / best for mean in examples],
        "kinds": list(shown.values()),
    }


def _mean(values: Sequence[float], over: float = 1.0) -> float | None:
    return sum(values) / len(values) / over if values else None
