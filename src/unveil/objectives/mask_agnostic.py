"""The mask-agnostic loss: an answer shall not depend on how many [MASK]s follow it.

Piskorz et al. 2025, "Masks Can Be Distracting" (arXiv 2511.21338), section 6.1. Two inputs share the prompt and the
partly masked answer and differ in the number of [MASK]s after it. The answer is learned in both (CE), and their
predictions are drawn together (TV). The paper's v1 leaves open what is marked [D] here.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unveil.canvas import Canvas
from unveil.models.denoiser import Denoiser, Want
from unveil.objectives.loss import Batch

SIDES = ("fewer", "more")  # the input with fewer appended [MASK]s, and the one with more
Scale = Callable[[Tensor], Tensor]
# Numbers of masks are drawn evenly on a scale, given with its inverse. On "log" l has about the weight 1 / (l + 1).
LAWS: Mapping[str, tuple[Scale, Scale]] = MappingProxyType(
    {"uniform": (torch.clone, torch.clone), "log": (torch.log1p, torch.expm1)}
)


class Twins(NamedTuple):
    """Both inputs, alike up to the answer's end: predict `targets` where `canvas` is undecided, equally in both.

    Nothing is asked of the columns after an answer, which both show as they are: [MASK]s, then EOS up to equal length.
    """

    canvas: Canvas  # fewer [MASK]s
    other: Canvas  # more
    targets: Int64[Tensor, "B L"]
    weight: Float[Tensor, " B"]  # of the cross-entropy of a masked token in either input
    pull: Float[Tensor, " B"]  # of the distance of its two distributions

    def rows(self, index: Int64[Tensor, " b"]) -> "Twins":
        """Some of the rows, with the weights they have in the whole."""
        one, other = self.canvas.rows(index), self.other.rows(index)
        return Twins(one, other, self.targets[index], self.weight[index], self.pull[index])

    def narrow(self, columns: int) -> "Twins":
        """The first columns, where all rows have ended."""
        one, other = self.canvas.narrow(columns), self.other.narrow(columns)
        return Twins(one, other, self.targets[:, :columns], self.weight, self.pull)

    def to(self, device: torch.device) -> "Twins":
        """The same on another device."""
        one, other = self.canvas.to(device), self.other.to(device)
        return Twins(one, other, self.targets.to(device), self.weight.to(device), self.pull.to(device))


@dataclass(frozen=True, kw_only=True)
class MaskAgnostic:
    """alpha * CE (eq. 1) + beta * TV (eq. 2), averaged over rows; TV is the L1 distance, without 1/2.

    A row draws p evenly from `masked`, hides each token of its answer with probability p (one token, if that hides
    none [D]), and draws two different numbers of [MASK]s from 0 .. `room` of the batch; with no room TV is 0.

    Two variants are not the paper's: `lengths` "log" draws few masks more often, and the side named by `anchor` gets
    no gradient from TV, so that only the other moves.
    """

    eos: int
    alpha: float = 0.1
    beta: float = 1.0
    masked: tuple[float, float] = (0.2, 0.8)
    lengths: str = "uniform"
    anchor: str = "none"

    def __post_init__(self) -> None:
        if not 0 < self.masked[0] <= self.masked[1] <= 1:
            raise ValueError(f"masked={self.masked} is no range within (0, 1]: give the lowest share and the highest")
        for name in ("alpha", "beta"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative: give 0 or more")
        for name, legal in (("lengths", tuple(LAWS)), ("anchor", ("none", *SIDES))):
            if getattr(self, name) not in legal:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown: use {', '.join(legal)}")

    def corrupt(self, batch: Batch, mask_id: int, seed: int) -> Twins:
        """Draw p, the hidden tokens and two numbers of masks for every row. ValueError for a row without room for 0."""
        if int(batch.room.min()) < 0:
            raise ValueError(f"a row has room for {int(batch.room.min())} masks: leave out what exceeds the context")
        generator = torch.Generator().manual_seed(seed)
        if batch.kept.any():
            raise ValueError("kept columns are not for this loss: answers end a row, the masks follow them")
        rows, device = len(batch.tokens), batch.tokens.device
        low, high = self.masked
        p = low + (high - low) * torch.rand(rows, generator=generator)
        drawn = (torch.rand(batch.tokens.shape, generator=generator) < p[:, None]).to(device)
        lucky = (torch.rand(rows, generator=generator).to(device) * (batch.end - batch.start)).long() + batch.start
        hidden = drawn & batch.answer
        lucky = torch.where(hidden.any(1), -1, lucky)
        hidden |= torch.arange(hidden.shape[1], device=device) == lucky[:, None]
        fewer, more = self.counts(batch.room.cpu().expand(rows), generator)
        return self.example(batch, hidden, p.to(device), fewer.to(device), more.to(device), mask_id)

    def counts(
        self, room: Int64[Tensor, " B"], generator: torch.Generator
    ) -> tuple[Int64[Tensor, " B"], Int64[Tensor, " B"]]:
        """Two different numbers from 0 .. room, the smaller first; 0 and 0 where there is no other.

        A number owns a stretch of the scale. The second is drawn from what is left without the first's stretch.
        """
        scale, number = LAWS[self.lengths]
        draws, most = torch.rand(2, len(room), generator=generator, dtype=torch.float64), room.double()
        whole = scale(most + 1)
        one = torch.minimum(number(draws[0] * whole).floor(), most)
        begin, stretch = scale(one), scale(one + 1) - scale(one)
        place = draws[1] * (whole - stretch)
        place = torch.where(place < begin, place, place + stretch)
        two = torch.minimum(number(place).floor(), most)
        return torch.minimum(one, two).long(), torch.maximum(one, two).long()

    def example(
        self,
        batch: Batch,
        hidden: Bool[Tensor, "B L"],
        p: Float[Tensor, " B"],
        fewer: Int64[Tensor, " B"],
        more: Int64[Tensor, " B"],
        mask_id: int,
    ) -> Twins:
        """The example in which exactly `hidden` is masked, at p, and the two inputs have these numbers of masks.

        Appended masks count as decoded on the canvas: nothing is asked of them.
        """
        end = batch.end + torch.maximum(fewer, more)
        column = torch.arange(int(end.max()), device=end.device)
        targets, hidden = (F.pad(x, (0, len(column) - x.shape[1])) for x in (batch.tokens, hidden))

        def shown(count: Tensor) -> Canvas:
            after = torch.where(column < (batch.end + count)[:, None], mask_id, self.eos)
            tokens = torch.where(column < batch.end[:, None], targets, after)
            return Canvas.corrupt(tokens, hidden, start=batch.start, end=end, mask_id=mask_id)

        number = hidden.sum(1) * len(hidden)
        return Twins(shown(fewer), shown(more), targets, self.alpha / (2 * p * number), self.beta * p / number)

    def losses(self, denoiser: Denoiser, example: Twins) -> Iterator[Float[Tensor, ""]]:
        """The one part: both terms come from one forward."""
        ce, tv = self.terms(denoiser, example)
        yield ce + tv

    def terms(self, denoiser: Denoiser, example: Twins) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """alpha * CE and beta * TV, from one forward. The head runs on the hidden columns alone."""
        both, hidden = example.canvas.join(example.other), example.canvas.undecided
        want = Want(proposals=False, logits=True)
        logits = denoiser(both, both.inside, both.undecided, None, want).logits
        assert logits is not None
        log_probs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1).unflatten(0, (2, -1))
        targets = example.targets[hidden].expand(2, -1)
        nats = -log_probs.gather(-1, targets[..., None])[..., 0].sum(0)
        one, other = (x.detach() if side == self.anchor else x for side, x in zip(SIDES, log_probs.exp(), strict=True))
        distance = (one - other).abs().sum(-1)
        weight, pull = (x[:, None].expand(hidden.shape)[hidden].to(nats) for x in (example.weight, example.pull))
        return (weight * nats).sum(), (pull * distance).sum()
