"""What objectives share: batches, examples and the loss of an example.

An objective corrupts a *global* batch once, from a seed; its weights already hold the average over that batch. The
rows may then be spread over processes and micro-batches in any way: their losses add up to the loss of the batch.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unveil.canvas import Canvas
from unveil.models.denoiser import Denoiser, Want


class Batch(NamedTuple):
    """Whole sequences; columns start .. end - 1 of each row are to be learned, those before are always visible.

    Columns that are `kept` stay visible, too: the text between several answers of a row.
    """

    tokens: Int64[Tensor, "B L"]
    start: Int64[Tensor, " B"]
    end: Int64[Tensor, " B"]
    room: Int64[Tensor, " #B"] = torch.zeros(1, dtype=torch.int64)  # the most [MASK]s that may follow a row
    kept: Bool[Tensor, "#B #L"] = torch.zeros(1, 1, dtype=torch.bool)

    @property
    def answer(self) -> Bool[Tensor, "B L"]:
        """The columns to be learned."""
        column = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return (column >= self.start[:, None]) & (column < self.end[:, None]) & ~self.kept


Own = TypeVar("Own")


@runtime_checkable
class Corrupted(Protocol):
    """What a trainer knows of a corrupted batch: its rows may be dealt out in any way, with the weights they have."""

    @property
    def canvas(self) -> Canvas:
        """What the model sees; `end` is what a row costs."""
        ...

    def rows(self: Own, index: Int64[Tensor, " b"]) -> Own:
        """Some of the rows."""
        ...

    def narrow(self: Own, columns: int) -> Own:
        """The first columns, where all rows have ended."""
        ...

    def to(self: Own, device: torch.device) -> Own:
        """The same on another device."""
        ...


E = TypeVar("E", bound=Corrupted)


class Example(NamedTuple):
    """A corrupted batch: predict `targets` at the masks of `canvas`; `weight` is that of each masked token of a row."""

    canvas: Canvas
    targets: Int64[Tensor, "B L"]
    weight: Float[Tensor, " B"]

    def rows(self, index: Int64[Tensor, " b"]) -> "Example":
        """Some of the rows, with the weights they have in the whole."""
        return Example(self.canvas.rows(index), self.targets[index], self.weight[index])

    def narrow(self, columns: int) -> "Example":
        """The first columns, where all rows have ended."""
        return Example(self.canvas.narrow(columns), self.targets[:, :columns], self.weight)

    def to(self, device: torch.device) -> "Example":
        """The same example on another device."""
        return Example(self.canvas.to(device), self.targets.to(device), self.weight.to(device))


@runtime_checkable
class Objective(Protocol[E]):
    """What to minimise: how sequences become examples, and the losses of an example."""

    def corrupt(self, batch: Batch, mask_id: int, seed: int) -> E:
        """Choose times and masks for a global batch; the same seed gives the same example anywhere."""
        ...

    def losses(self, denoiser: Denoiser, example: E) -> Iterator[Float[Tensor, ""]]:
        """The parts of the loss of some rows; each is differentiated before the next is asked for."""
        ...


def loss(denoiser: Denoiser, example: Example) -> Float[Tensor, ""]:
    """Sum of weight * -log p(target) over the masked columns; the head runs on these columns only."""
    hidden = example.canvas.undecided
    want = Want(proposals=False, targets=example.targets)
    log_probs = denoiser(example.canvas, example.canvas.inside, hidden, None, want).log_probs
    assert log_probs is not None
    weight = example.weight[:, None].expand(hidden.shape)[hidden]
    return -(weight.to(log_probs) * log_probs).sum()


def stratified(rows: int, generator: torch.Generator) -> Float[Tensor, " B"]:
    """One uniform offset and `rows` equidistant points of [0, 1), dealt to the rows at random.

    The order is drawn, since batches often hold their rows by task or length.
    """
    offset = torch.rand(1, generator=generator)  # on the host: the same on every device
    order = torch.randperm(rows, generator=generator)
    return (offset + order / rows) % 1.0
