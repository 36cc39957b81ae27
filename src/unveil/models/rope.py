"""How a model that was stretched to a longer context scales RoPE's frequencies."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Scaling(Protocol):
    """(h,) frequencies in radians a column -> (h,) frequencies."""

    def __call__(self, frequency: Float[Tensor, " h"]) -> Float[Tensor, " h"]:
        """Scale them."""
        ...


@dataclass(frozen=True, kw_only=True)
class Unscaled:
    """As they are."""

    def __call__(self, frequency: Float[Tensor, " h"]) -> Float[Tensor, " h"]:
        """The same."""
        return frequency


@dataclass(frozen=True, kw_only=True)
class Llama3:
    """Llama 3.1's (rope_type llama3): what turns slowly is slowed down by `factor`, what turns fast is left alone.

    Between `low` and `high` full turns over the `original` context the two are mixed linearly.
    """

    factor: float
    low: float
    high: float
    original: int  # columns

    def __call__(self, frequency: Float[Tensor, " h"]) -> Float[Tensor, " h"]:
        """Scale them."""
        turns = frequency * (self.original / (2 * math.pi))
        kept = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return frequency * (kept + (1 - kept) / self.factor)
