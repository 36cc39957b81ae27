"""The masked diffusion bound: mask a random share of the answer, predict it, weigh by the schedule.

MDLM (Sahoo et al. 2024, arXiv 2406.07524) and LLaDA (arXiv 2502.09992), its pretraining and, where `start` leaves out
the prompt, its fine-tuning form.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from unveil.canvas import Canvas
from unveil.models.denoiser import Denoiser, Want
from unveil.schedule import Linear, Schedule


class Batch(NamedTuple):
    """Whole sequences; columns start .. end - 1 of each row are to be learned, those before are always visible."""

    tokens: Int64[Tensor, "B L"]
    start: Int64[Tensor, " B"]
    end: Int64[Tensor, " B"]


class Loss(NamedTuple):
    """A value to minimise and what to log beside it."""

    value: Float[Tensor, ""]
    parts: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class MaskedDiffusion:
    """E_t [ weight(t) * sum of -log p over the masked tokens ] / number of answer tokens: nats, averaged over rows.

    Times are stratified: one uniform offset and B equidistant points, so a batch covers (0, 1] evenly.
    """

    schedule: Schedule = field(default_factory=Linear)
    min_time: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.min_time < 1:
            raise ValueError(f"min_time={self.min_time} is outside (0, 1): the weight 1/t has no value at 0")

    def times(self, rows: int, generator: torch.Generator) -> Float[Tensor, " B"]:
        """One time for every row, in [min_time, 1)."""
        offset = torch.rand(1, generator=generator)  # on the host: the same on every device
        even = (offset + torch.arange(rows) / rows) % 1.0
        return self.min_time + (1 - self.min_time) * even

    def corrupt(
        self, batch: Batch, t: Float[Tensor, " B"], mask_id: int, generator: torch.Generator
    ) -> Canvas:
        """Mask each answer column with probability 1 - alpha(t) of its row."""
        device = batch.tokens.device
        column = torch.arange(batch.tokens.shape[1], device=device)
        answer = (column >= batch.start[:, None]) & (column < batch.end[:, None])
        drawn = (torch.rand(batch.tokens.shape, generator=generator) >= self.schedule.alpha(t)[:, None]).to(device)
        return Canvas.corrupt(batch.tokens, drawn & answer, start=batch.start, end=batch.end, mask_id=mask_id)

    def __call__(self, denoiser: Denoiser, batch: Batch, seed: int) -> Loss:
        """The loss of one batch; the same seed gives the same times and masks on every device."""
        generator = torch.Generator().manual_seed(seed)
        t = self.times(len(batch.tokens), generator)
        canvas = self.corrupt(batch, t, denoiser.mask_id, generator)
        hidden = canvas.undecided
        scale = self.schedule.weight(t).to(hidden.device) / (batch.end - batch.start) / len(t)
        want = Want(proposals=False, targets=batch.tokens)
        log_probs = denoiser(canvas, canvas.inside, hidden, None, want).log_probs
        assert log_probs is not None
        rows: Int[Tensor, " W"] = hidden.nonzero()[:, 0]
        value = -(scale[rows].to(log_probs) * log_probs).sum()
        return Loss(value, {"masked": float(hidden.sum() / len(t))})
