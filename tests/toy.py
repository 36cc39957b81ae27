"""A small random model of the real class, and small canvases: what laws are tried on.

Weights are larger than a fresh model's, so that predictions differ from column to column and follow their context.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unveil.canvas import Canvas
from unveil.models.attention import Bidirectional, Rule
from unveil.models.denoiser import Want
from unveil.models.transformer import Architecture, Transformer, initialise

VOCABULARY = 50
MASK = 49
PROMPTS = [[1, 2, 3, 4, 5], [7, 8, 9], [10, 11, 12, 13, 14, 15, 16]]
NEW = [8, 11, 5]  # new tokens of a ragged batch; with blocks of 4 the last block is whole, 3 or 1


def toy(
    seed: int = 0,
    *,
    layers: int = 2,
    width: int = 32,
    heads: int = 2,
    kv_heads: int | None = None,
    shift: int = 0,
    rule: Rule | None = None,
    gain: float = 1.0,
    dtype: torch.dtype = torch.float64,
    **more: object,
) -> Transformer:
    """A random transformer in eval mode; `gain` sharpens (or flattens) its predictions."""
    architecture = Architecture(
        vocabulary=VOCABULARY, width=width, layers=layers, heads=heads, kv_heads=kv_heads or heads,
        head_width=width // heads, feed_width=2 * width, mask_id=MASK, max_columns=256, rope_base=100.0, shift=shift,
        rule=rule or Bidirectional(), **more,
    )  # fmt: skip
    model = initialise(Transformer(architecture).to(dtype), seed, std=0.5)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # norms and biases are not trivial either
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=dtype))
        model.norm.weight.mul_(gain)
    return model.requires_grad_(False).eval()


def blank(prompts: Sequence[Sequence[int]] = PROMPTS, new: int | Sequence[int] = NEW, **more: object) -> Canvas:
    """Masks after the prompts, by default a ragged batch."""
    return Canvas.blank(prompts, new, mask_id=MASK, **more)


def all_logits(model: Transformer) -> Tensor:
    """Of every column of `blank()`, all computed and read."""
    canvas = blank()
    with torch.no_grad():
        found = model(canvas, canvas.inside, canvas.inside, None, Want(proposals=False, logits=True)).logits
    assert found is not None
    return found


def columns_computed(model: Transformer) -> list[int]:
    """A list to which every forward from now on adds the number of columns that its first layer computes."""
    counts: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        counts.append(len(inputs[0]))

    model.layers[0].key.register_forward_pre_hook(count)
    return counts


def logits(model: Transformer, ids: Tensor, start: int = 0) -> Tensor:
    """(L,) -> (L, V): a full forward of one row of hard tokens."""
    nothing, length = torch.zeros(1, len(ids), dtype=torch.bool), torch.tensor([len(ids)])
    canvas = Canvas.corrupt(ids[None], nothing, start=torch.tensor([start]), end=length, mask_id=model.outline.blank_id)
    out = model(canvas, canvas.inside, canvas.inside, None, Want(proposals=False, logits=True)).logits
    assert out is not None
    return out
