"""Classifier-free guidance: a denoiser made of a denoiser."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from unveil.canvas import GIVEN, Canvas
from unveil.models.denoiser import Cache, Prediction, Want, Wrapped


@dataclass(frozen=True, kw_only=True)
class GuidedCache:
    """The caches of both branches; row i of the canvas is rows i and i + B of the buffer."""

    both: Cache
    num_rows: int

    def rows(self, index: Tensor) -> "GuidedCache":
        """The rows at `index` in both branches."""
        chosen = torch.arange(self.num_rows, device=index.device)[index]
        return GuidedCache(both=self.both.rows(torch.cat([chosen, chosen + self.num_rows])), num_rows=len(chosen))


@dataclass(frozen=True, kw_only=True, eq=False)
class Guided(Wrapped):
    """logits + scale * (logits - blind logits), where the blind rows see [MASK] for all that is given.

    LLaDA's unsupervised guidance (Nie et al. 2025, after Ho and Salimans 2022). Both branches go through one forward,
    which mixes their hidden states: the head is linear. A forward of both counts once.
    """

    scale: float

    def new_cache(self, canvas: Canvas) -> GuidedCache:
        """An empty cache for both branches."""
        return GuidedCache(both=self.inner.new_cache(canvas.join(canvas)), num_rows=len(canvas.done))

    def __call__(
        self,
        canvas: Canvas,
        fresh: Bool[Tensor, "B L"],
        read: Bool[Tensor, "B L"],
        cache: GuidedCache | None,
        want: Want,
    ) -> Prediction:
        """See Denoiser."""
        blind = replace(canvas, tokens=canvas.tokens.masked_fill(canvas.stage == GIVEN, canvas.mask_id))
        both = canvas.join(blind)
        doubled = replace(want, guidance=self.scale)
        return self.inner(both, fresh.repeat(2, 1), read.repeat(2, 1), None if cache is None else cache.both, doubled)
