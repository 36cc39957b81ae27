"""Noise as a pure function of (row seed, forward, salt, column).

The same row draws the same numbers in any batch, on any device, whether it is decoded alone, resumed or forked.
The generator is the finaliser of splitmix64 (Steele, Lea and Flood 2014), applied twice.
"""

import torch
from jaxtyping import Float64, Int
from torch import Tensor

_ROUNDS = ((30, -4658895280553007687), (27, -7723592293110705685))


def _mix(x: Tensor) -> Tensor:
    for shift, factor in _ROUNDS:
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def uniform(
    seed: Int[Tensor, "*shape"], forward: Int[Tensor, "*shape"], salt: int, column: Int[Tensor, "*shape"]
) -> Float64[Tensor, "*shape"]:
    """One number in (0, 1) for each entry; the three tensors have one shape, `salt` separates independent uses."""
    x = _mix(_mix(seed * 1000003 + forward * 8191 + salt) + column)
    return (((x >> 12) & ((1 << 52) - 1)).double() + 0.5) / 2.0**52  # 53 bits and a half would round up to 1


def gumbel(uniforms: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
    """Standard Gumbel noise from uniform numbers: the argmax of logits + noise is a draw from their softmax."""
    return -torch.log(-torch.log(uniforms))
