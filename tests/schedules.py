"""A schedule that is no straight line: what must hold for any is tried on it too."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """alpha(t) = 1 - cos(pi/2 (1 - t)) (MaskGIT, Chang et al. 2022): few tokens early, many late."""

    def alpha(self, t: Tensor) -> Tensor:
        """1 - cos(pi/2 (1 - t))."""
        return 1 - torch.cos(torch.pi / 2 * (1 - t))

    def weight(self, t: Tensor) -> Tensor:
        """pi/2 tan(pi/2 (1 - t))."""
        return torch.pi / 2 * torch.tan(torch.pi / 2 * (1 - t))

    def reveal(self, t: Tensor, s: Tensor) -> Tensor:
        """(alpha_s - alpha_t) / (1 - alpha_t)."""
        return (self.alpha(s) - self.alpha(t)) / (1 - self.alpha(t))
