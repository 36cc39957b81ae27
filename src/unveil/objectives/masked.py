"""The ordinary losses: masked diffusion (LLaDA), and block diffusion (Arriola et al. 2025)."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unveil.canvas import Canvas
from unveil.models.denoiser import Denoiser
from unveil.objectives.loss import Batch, Example, loss, stratified
from unveil.schedule import Linear, Schedule


@dataclass(frozen=True, kw_only=True)
class MaskedDiffusion:
    """E_t [ weight(t) * sum of -log p over the masked tokens ], in nats per answer token.

    Times are stratified: one uniform offset and B equidistant points, so a batch covers (0, 1] evenly. `per` says what
    is averaged: rows, each over its own answer (LLaDA's fine-tuning), or all answer tokens of the batch (pretraining).
    """

    schedule: Schedule = field(default_factory=Linear)
    min_time: float = 1e-3
    per: str = "row"

    def __post_init__(self) -> None:
        if not 0 < self.min_time < 1:
            raise ValueError(f"min_time={self.min_time} is outside (0, 1): the weight 1/t has no value at 0")
        if self.per not in ("row", "token"):
            raise ValueError(f"per={self.per!r} is unknown: average per 'row' or per 'token'")

    def corrupt(self, batch: Batch, mask_id: int, seed: int) -> Example:
        """Mask each answer column with probability 1 - alpha(t) of its row; everything random comes from `seed`."""
        generator = torch.Generator().manual_seed(seed)
        t = self.min_time + (1 - self.min_time) * stratified(len(batch.tokens), generator)
        drawn = torch.rand(batch.tokens.shape, generator=generator) >= self.schedule.alpha(t)[:, None]
        return self.example(batch, drawn.to(batch.tokens.device) & batch.answer, t, mask_id)

    def example(self, batch: Batch, hidden: Bool[Tensor, "B L"], t: Float[Tensor, " B"], mask_id: int) -> Example:
        """The example in which exactly `hidden` is masked, at the times `t`."""
        lengths = batch.answer.sum(1).to(t)
        share = 1 / (lengths * len(t)) if self.per == "row" else torch.ones_like(lengths) / lengths.sum()
        canvas = Canvas.corrupt(batch.tokens, hidden, start=batch.start, end=batch.end, mask_id=mask_id)
        return Example(canvas, batch.tokens, self.schedule.weight(t).to(share.device) * share)

    def losses(self, denoiser: Denoiser, example: Example) -> Iterator[Float[Tensor, ""]]:
        """The one part: the weighted cross-entropy."""
        yield loss(denoiser, example)


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
