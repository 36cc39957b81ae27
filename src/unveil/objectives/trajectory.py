"""Continuous trajectory supervision: the model learns to read the soft inputs that decoding will show it.

EvoToken (Zhong et al. 2026, arXiv 2601.07351). A row begins inside a block, some of its masks opened with the truth;
the sampler's own step is taken `depth` times, and after each forward the block's tokens are learned. Inputs are made of
the model's own predictions, which carry no gradient.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unveil.canvas import SOFT, Canvas
from unveil.models.denoiser import Denoiser, Prediction, Want, Wrapped
from unveil.objectives.loss import Batch
from unveil.sampling.blocks import Blocks
from unveil.sampling.evolve import SoftTokens
from unveil.sampling.mixing import Drawn
from unveil.sampling.picks import Above, Best
from unveil.sampling.sampler import Sampler, Select
from unveil.sampling.scores import Chance, Confidence, Gain

ORDERS = MappingProxyType({"confidence": Confidence(), "random": Chance()})


class Begun(NamedTuple):
    """Rows inside a block: where the sampler starts, what is true, and how it goes on."""

    canvas: Canvas
    targets: Int64[Tensor, "B L"]
    weight: Float[Tensor, " B"]  # of a row's mean loss in one forward
    size: int  # columns of a block
    opens: int  # masks opened a forward

    def rows(self, index: Int64[Tensor, " b"]) -> "Begun":
        """Some of the rows, with the weights they have in the whole."""
        return self._replace(canvas=self.canvas.rows(index), targets=self.targets[index], weight=self.weight[index])

    def narrow(self, columns: int) -> "Begun":
        """The first columns, where all rows have ended."""
        return self._replace(canvas=self.canvas.narrow(columns), targets=self.targets[:, :columns])

    def to(self, device: torch.device) -> "Begun":
        """The same on another device."""
        canvas, targets, weight = self.canvas.to(device), self.targets.to(device), self.weight.to(device)
        return self._replace(canvas=canvas, targets=targets, weight=weight)


@dataclass(frozen=True, kw_only=True)
class TrajectorySupervision:
    """The mean over rows and forwards of -log p, averaged over all columns of the block, opened ones too.

    A batch draws a block size and how many masks a forward opens. A row draws one of its blocks (with `aligned` false
    a window of that size anywhere) and how many of its tokens are open at first, so that there is something to open in
    every forward where the block has room; a share `whole` of the rows begins as decoding does, with none. What stands
    before is given, what comes after is masked. A row whose block fills stays there, to revise it (with `hold` false it
    goes on to the next block, and a row that ends is no longer learned from).
    """

    evolve: SoftTokens = field(default_factory=lambda: SoftTokens(share=Drawn(), lookahead=True))
    sizes: Sequence[int] = (32,)
    opens: Sequence[int] = (1, 2, 4, 8)
    depth: int = 4
    order: str = "confidence"  # in which masks are opened: as in decoding, or random (the paper's)
    aligned: bool = True
    whole: float = 0.0  # the paper's
    hold: bool = True

    def __post_init__(self) -> None:
        for name in ("sizes", "opens"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give one or more positive numbers")
        if not 1 <= self.depth <= 64:
            raise ValueError(f"depth={self.depth} is outside 1..64: it is the number of forwards learned from")
        if not 0 <= self.whole <= 1:
            raise ValueError(f"whole={self.whole} is outside [0, 1]: the share of rows with no open token at first")
        if self.order not in ORDERS:
            raise ValueError(f"order={self.order!r} is unknown: use {' or '.join(ORDERS)}")

    def sampler(self, size: int, opens: int) -> Sampler:
        """What is unrolled, and what the model will be decoded with."""
        return Sampler(
            blocks=Blocks(size=size, min_steps=self.depth + 1 if self.hold else 0),
            unmask=Select(score=ORDERS[self.order], pick=Best(count=opens)),
            revise=Select(score=Gain(), pick=Above()),
            evolve=self.evolve,
        )

    def corrupt(self, batch: Batch, mask_id: int, seed: int) -> Begun:
        """Draw a block and its open tokens for every row; everything random comes from `seed`."""
        if batch.kept.any():
            raise ValueError("kept columns are not for this loss: a trajectory opens all that follows a prompt")
        generator = torch.Generator().manual_seed(seed)
        size, opens = (_one(values, generator) for values in (self.sizes, self.opens))
        u = torch.rand(3, len(batch.tokens), generator=generator, dtype=torch.float64).to(batch.end.device)
        long = (batch.end - batch.start).clamp_max(size)
        if self.aligned:
            first = (u[0] * ((batch.end - batch.start + size - 1) // size)).long() * size
        else:
            first = (u[0] * (batch.end - batch.start - long + 1)).long()
        start = batch.start + first
        window = batch._replace(start=start, end=torch.minimum(start + size, batch.end)).answer
        most = (window.sum(1) - self.depth * opens).clamp_min(0)
        num_open = (u[1] * (most + 1)).long() * (u[2] >= self.whole)
        noise = torch.rand(batch.tokens.shape, generator=generator).to(window.device)
        rank = noise.masked_fill(~window, 2.0).argsort(1).argsort(1)
        opened = window & (rank < num_open[:, None])
        seeds = torch.randint(1 << 40, (len(start),), generator=generator)
        return self.example(batch._replace(start=start), opened, seeds, size, opens, mask_id)

    def example(
        self, batch: Batch, opened: Bool[Tensor, "B L"], seeds: Int64[Tensor, " B"], size: int, opens: int, mask_id: int
    ) -> Begun:
        """The rows that decode from `batch.start` on, with exactly `opened` open: they show their token, revisably."""
        hidden = batch.answer & ~opened
        canvas = Canvas.corrupt(batch.tokens, hidden, start=batch.start, end=batch.end, mask_id=mask_id)
        canvas = self.evolve.ready(replace(canvas, seed=seeds.to(batch.end.device)))
        weights = canvas.soft_weights.clone()
        weights[..., 1] = opened.to(weights)
        canvas = replace(canvas, stage=canvas.stage.masked_fill(opened, SOFT), soft_weights=weights)
        weight = torch.full((len(batch.end),), 1 / (len(batch.end) * self.depth), device=batch.end.device)
        return Begun(canvas, batch.tokens, weight, size, opens)

    def losses(self, denoiser: Denoiser, example: Begun) -> Iterator[Float[Tensor, ""]]:
        """One part a forward: only its graph is alive when it is differentiated."""
        sampler, canvas = self.sampler(example.size, example.opens), example.canvas
        for _ in range(self.depth):
            taught = Taught(inner=denoiser, targets=example.targets, learning=torch.is_grad_enabled())
            with torch.no_grad():
                after = sampler.step(taught, canvas, None).after
            yield taught.loss(sampler.blocks.here(canvas), example.weight)
            canvas = after


@dataclass(frozen=True, kw_only=True, eq=False)
class Taught(Wrapped):
    """A denoiser that answers the sampler and keeps, with its graph, how probable the truth was."""

    targets: Int64[Tensor, "B L"]
    learning: bool  # whether graphs are kept
    said: list[Prediction] = field(default_factory=list)  # the last answer

    def __call__(
        self, canvas: Canvas, fresh: Bool[Tensor, "B L"], read: Bool[Tensor, "B L"], cache: None, want: Want
    ) -> Prediction:
        """See Denoiser. The truth's probability is among what may be chosen: without [MASK]."""
        with torch.set_grad_enabled(self.learning):
            self.said[:] = [self.inner(canvas, fresh, read, cache, replace(want, targets=self.targets))]
        return self.said[0]

    def loss(self, here: Bool[Tensor, "B L"], weight: Float[Tensor, " B"]) -> Float[Tensor, ""]:
        """Over the columns of each row's block, which the sampler has read."""
        (said,) = self.said
        assert said.log_probs is not None
        each = (weight / here.sum(1).clamp_min(1))[:, None] * here
        return -(each.flatten()[said.index].to(said.log_probs) * said.log_probs).sum()


def _one(values: Sequence[int], generator: torch.Generator) -> int:
    return values[int(torch.randint(len(values), (1,), generator=generator))]
