"""Weights in 8 or 4 bits, through bitsandbytes: stored small, made whole for each product."""

import logging
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unveil.models.transformer import Transformer

BITS = (8, 4)
BLOCK = 64  # weights that share a scale, their largest magnitude in float32
PIECE = 1 << 18  # weights that are rounded at a time: on a CPU 4 bits take 300 bytes for each on the way
ABSENT: Any = object()
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Packed(nn.Module):
    """x W^T + b, computed in the dtype of x; only W was rounded, once.

    8 bits: bitsandbytes' dynamic levels; 4 bits: NF4 (Dettmers et al. 2023, arXiv 2305.14314).
    """

    codes: Tensor
    scales: Tensor
    levels: Tensor

    def __init__(self, weight: Float[Tensor, "out in"], bias: nn.Parameter | None, bits: int) -> None:
        super().__init__()
        codes, states = zip(*(_rounded(piece, bits) for piece in weight.flatten().split(PIECE)), strict=True)
        self.register_buffer("codes", torch.cat([piece.flatten() for piece in codes]), persistent=False)
        self.register_buffer("scales", torch.cat([state.absmax for state in states]), persistent=False)
        self.register_buffer("levels", states[0].code, persistent=False)
        self.bits, self.shape, self.bias = bits, weight.shape, bias

    def whole(self, dtype: torch.dtype) -> Float[Tensor, "out in"]:
        """The weights as they were rounded."""
        library = bitsandbytes()
        flat = torch.Size([self.shape.numel()])  # 4-bit rows that are no whole blocks come out wrong on a CPU
        state = library.QuantState(self.scales, flat, self.levels, BLOCK, "nf4", dtype)
        back = library.dequantize_blockwise if self.bits == 8 else library.dequantize_4bit
        weight: Tensor = back(self.codes, state)
        return weight.view(self.shape)

    def forward(self, x: Float[Tensor, "... in"]) -> Float[Tensor, "... out"]:
        """The product."""
        return F.linear(x, self.whole(x.dtype), self.bias)


def _rounded(flat: Tensor, bits: int) -> tuple[Tensor, Any]:
    """Codes and bitsandbytes' state."""
    if bits == 8:
        return bitsandbytes().quantize_blockwise(flat, blocksize=BLOCK)
    return bitsandbytes().quantize_4bit(flat, blocksize=BLOCK, quant_type="nf4")


def packing(bits: int) -> Callable[[Transformer, str, Tensor], Tensor | None]:
    """What `load_checkpoint` does with each weight, so that the layers' linear weights are in `bits` bits.

    Embeddings and head stay as they are: the reduction to tokens reads the head's weights chunk by chunk, so that it
    would make them whole again for each chunk, and soft tokens mix embeddings. Raises ValueError for other numbers of
    bits, where bitsandbytes is not installed, and for weights in float64.
    """
    if bits not in BITS:
        raise ValueError(f"bits={bits} is not supported: give {' or '.join(map(str, BITS))}, or none")
    bitsandbytes()

    def pack(model: Transformer, name: str, weight: Tensor) -> Tensor | None:
        place, _, kind = name.rpartition(".")
        linear = model.get_submodule(place)
        if kind != "weight" or not place.startswith("layers.") or not isinstance(linear, nn.Linear):
            return weight
        if weight.dtype not in DTYPES:
            raise ValueError(f"bits={bits} takes weights in float32, bfloat16 or float16, not {weight.dtype}")
        model.set_submodule(place, Packed(weight, linear.bias, bits))
        return None

    return pack


def check_whole(model: nn.Module, what: str) -> None:
    """ValueError, where any of the model's weights are in 8 or 4 bits: `what` needs them whole."""
    bits = next((layer.bits for layer in model.modules() if isinstance(layer, Packed)), None)
    if bits is not None:
        raise ValueError(f"{what} needs whole weights and this model's are in {bits} bits: load it without bits")


def bitsandbytes() -> Any:
    """bitsandbytes.functional; ValueError where it is not installed.

    With the package `kernels` beside it, it would fetch compiled code from the hub while it is imported. It is kept
    from seeing that package: no remote code.
    """
    name, kernels = "bitsandbytes.functional", sys.modules.get("kernels", ABSENT)
    if name in sys.modules:
        return sys.modules[name]
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of what it could not fetch
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        return import_module(name)
    except ImportError:
        raise ValueError("bits need bitsandbytes: pip install 'unveil[quantise]', or load without bits") from None
    finally:
        del sys.modules["kernels"]
        if kernels is not ABSENT:
            sys.modules["kernels"] = kernels
