"""Noise schedules: alpha(t), the share of tokens still visible at time t, with t running from 1 (all masked) to 0.

Decoding asks how much to open between two times, training how much a masked token weighs; both read the same schedule.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Schedule(Protocol):
    """alpha(t) and the weight of the masked diffusion bound."""

    def alpha(self, t: Tensor) -> Tensor:
        """The probability that a token is visible at time t."""
        ...

    def weight(self, t: Tensor) -> Tensor:
        """-alpha'(t) / (1 - alpha(t)): the weight of a masked token in the bound (Sahoo et al. 2024, MDLM)."""
        ...

    def reveal(self, t: Tensor, s: Tensor) -> Tensor:
        """The share of masked tokens that opens on the way from t down to s: (alpha_s - alpha_t) / (1 - alpha_t)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Linear:
    """alpha(t) = 1 - t: LLaDA's and Dream's schedule; the bound's weight is 1/t."""

    def alpha(self, t: Tensor) -> Tensor:
        """1 - t."""
        return 1 - t

    def weight(self, t: Tensor) -> Tensor:
        """1 / t."""
        return 1 / t

    def reveal(self, t: Tensor, s: Tensor) -> Tensor:
        """1 - s/t, in the order of operations of Dream's published code: its counts are rounded down."""
        return 1 - s / t


def times(steps: int, end: float = 0.0) -> Float[Tensor, " {steps}+1"]:
    """The times of `steps` forwards: a straight line from 1 to `end`, float32 as in Dream's published code."""
    return torch.linspace(1, end, steps + 1)
