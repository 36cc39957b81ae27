"""The loop. Where a row works, what is recomputed, who is unmasked and what the next forward sees are parts of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unveil.canvas import Canvas
from unveil.models.denoiser import Cache, Denoiser, Want
from unveil.sampling.blocks import Blocks
from unveil.sampling.evolve import HardTokens
from unveil.sampling.picks import Choice, Pick, Threshold
from unveil.sampling.propose import Proposal, Propose
from unveil.sampling.refresh import NoCache, Refresh
from unveil.sampling.scores import Confidence, Score


class Selection(NamedTuple):
    """A choice and how it came about."""

    chosen: Bool[Tensor, "B L"]
    eligible: Bool[Tensor, "B L"]
    scores: Float[Tensor, "B L"] | None  # None where nothing was asked
    log_prob: Float[Tensor, " B"] | None
    choice: Choice


@runtime_checkable
class Selector(Protocol):
    """Who: chooses among eligible columns."""

    def require(self, want: Want) -> Want:
        """Add what it needs to what the denoiser computes."""
        ...

    def view(self, canvas: Canvas, here: Tensor, eligible: Tensor) -> Tensor:
        """The columns whose prediction it reads."""
        ...

    def __call__(self, proposal: Proposal, canvas: Canvas, eligible: Tensor) -> Selection:
        """Choose."""
        ...


@dataclass(frozen=True, kw_only=True)
class Select:
    """A score and a pick. The same pair unmasks, revises and remasks; only eligibility differs."""

    score: Score = field(default_factory=Confidence)
    pick: Pick

    def require(self, want: Want) -> Want:
        """What the score needs."""
        return self.score.require(want)

    def view(self, canvas: Canvas, here: Bool[Tensor, "B L"], eligible: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """What the score sees."""
        return self.score.view(canvas, here, eligible)

    def __call__(self, proposal: Proposal, canvas: Canvas, eligible: Bool[Tensor, "B L"]) -> Selection:
        """Score and pick."""
        scores = self.score(proposal, canvas)
        choice = self.pick(scores, eligible, canvas)
        return Selection(choice.chosen, eligible, scores, self.pick.log_prob(scores, eligible, choice), choice)


@dataclass(frozen=True, kw_only=True)
class Never:
    """Choose nothing."""

    def require(self, want: Want) -> Want:
        """Nothing."""
        return want

    def view(self, canvas: Canvas, here: Bool[Tensor, "B L"], eligible: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """Nothing."""
        return torch.zeros_like(eligible)

    def __call__(self, proposal: Proposal, canvas: Canvas, eligible: Bool[Tensor, "B L"]) -> Selection:
        """Nothing."""
        none = torch.zeros_like(eligible)
        return Selection(none, none, None, None, Choice(none))


class Step(NamedTuple):
    """What one forward did. Streams, trajectories and diagnostics are made of these."""

    before: Canvas
    fresh: Bool[Tensor, "B L"]  # the columns that were computed
    proposal: Proposal
    unmask: Selection
    revise: Selection
    remask: Selection
    after: Canvas


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """A decoding algorithm: a value made of parts. See unveil.sampling.recipes for the published ones."""

    blocks: Blocks = field(default_factory=Blocks)  # where each row works
    refresh: Refresh = field(default_factory=NoCache)  # which columns to recompute
    propose: Propose = field(default_factory=Propose)  # which token
    unmask: Selector = field(default_factory=lambda: Select(pick=Threshold(bar=0.9)))  # which masks to open
    revise: Selector = field(default_factory=Never)  # which chosen tokens to replace
    remask: Selector = field(default_factory=Never)  # which chosen tokens to mask again
    evolve: HardTokens = field(default_factory=HardTokens)  # what the next forward sees
    max_steps: int = 65536  # a row that never settles ends here, with its masks

    def want(self, canvas: Canvas) -> Want:
        """What the parts together need of the denoiser."""
        want = self.propose.want(canvas)
        for part in (self.unmask, self.revise, self.remask, self.evolve):
            want = part.require(want)
        return want

    def read(self, canvas: Canvas, here: Tensor, masked: Tensor, chosen: Tensor) -> Bool[Tensor, "B L"]:
        """The columns whose prediction any part needs."""
        columns = masked | self.unmask.view(canvas, here, masked)
        columns = columns | self.revise.view(canvas, here, chosen) | self.remask.view(canvas, here, chosen)
        return columns | self.evolve.view(canvas, here)

    def step(self, denoiser: Denoiser, canvas: Canvas, cache: Cache | None) -> Step:
        """One forward and what follows from it."""
        here = self.blocks.here(canvas)
        masked, chosen = here & canvas.undecided, here & canvas.chosen
        read = self.read(canvas, here, masked, chosen)
        fresh = self.refresh(canvas, here) | read
        proposal = self.propose(denoiser(canvas, fresh, read, cache, self.want(canvas)), canvas)
        unmask = self.unmask(proposal, canvas, masked)
        revise = self.revise(proposal, canvas, chosen)
        remask = self.remask(proposal, canvas, chosen)
        after = self.evolve(canvas, proposal, unmask.chosen, revise.chosen, remask.chosen)
        after = self.blocks.advance(after.tick(self.max_steps))
        return Step(canvas, fresh, proposal, unmask, revise, remask, after)

    def stream(self, denoiser: Denoiser, canvas: Canvas) -> Iterator[Step]:
        """The steps, as they happen, until every row is done."""
        canvas = self.evolve.ready(canvas)
        cache = self.refresh.cache(denoiser, canvas)
        while not canvas.done.all():
            step = self.step(denoiser, canvas, cache)
            yield step
            canvas = step.after

    @torch.no_grad()
    def decode(self, denoiser: Denoiser, canvas: Canvas) -> Canvas:
        """The canvas after the last step."""
        for step in self.stream(denoiser, canvas):
            canvas = step.after
        return canvas
