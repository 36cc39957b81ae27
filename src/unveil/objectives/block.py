"""Block diffusion: one block of each row is noisy, the blocks before it are clean, those after it are absent.

BD3LM (Arriola et al. 2025, arXiv 2503.09573). For block-causal models, whose blocks count from the row's start.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from unveil.canvas import Canvas
from unveil.models.denoiser import Denoiser
from unveil.objectives.loss import Batch, Example, loss, stratified
from unveil.schedule import Linear, Schedule


@dataclass(frozen=True, kw_only=True)
class BlockDiffusion:
    """An unbiased estimate of the bound (their eq. 6), in nats per answer token, averaged over rows.

    One block a row is drawn evenly and weighed by the number of blocks. The published training puts noisy and clean
    copies side by side and learns all blocks in one longer forward; this form needs no second attention rule.
    """

    size: int
    schedule: Schedule = field(default_factory=Linear)
    min_time: float = 1e-3

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"block size {self.size} is not positive: give the block size of the model")
        if not 0 < self.min_time < 1:
            raise ValueError(f"min_time={self.min_time} is outside (0, 1): the weight 1/t has no value at 0")

    def corrupt(self, batch: Batch, mask_id: int, seed: int) -> Example:
        """Draw a block, a time and masks for every row; rows end with their noisy block."""
        generator = torch.Generator().manual_seed(seed)
        rows, device = len(batch.tokens), batch.tokens.device
        t = self.min_time + (1 - self.min_time) * stratified(rows, generator)
        drawn = torch.rand(batch.tokens.shape, generator=generator) >= self.schedule.alpha(t)[:, None]
        blocks = (batch.end - batch.start + self.size - 1) // self.size
        first = batch.start + (torch.rand(rows, generator=generator).to(device) * blocks).long() * self.size
        last = torch.minimum(first + self.size, batch.end)
        hidden = drawn.to(device) & batch._replace(start=first, end=last).answer
        canvas = Canvas.corrupt(batch.tokens, hidden, start=batch.start, end=last, mask_id=mask_id)
        share = blocks / batch.answer.sum(1) / rows
        return Example(canvas, batch.tokens, self.schedule.weight(t).to(device) * share)

    def losses(self, denoiser: Denoiser, example: Example) -> Iterator[Float[Tensor, ""]]:
        """The one part: the weighted cross-entropy."""
        yield loss(denoiser, example)
