"""How many: from scores to a choice. A pick sees scores, who is eligible, and the canvas; it keeps nothing.

Ties go to the lowest column. Rules that open at least one say so; the others may leave a step empty.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unveil.canvas import Canvas
from unveil.schedule import Linear, Schedule, times

NEVER = float("-inf")


class Choice(NamedTuple):
    """The chosen columns; `order` ranks them from 0 where the rule draws a sequence (-1 elsewhere), else None."""

    chosen: Bool[Tensor, "B L"]
    order: Int[Tensor, "B L"] | None = None


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A rule without chance; rules with chance override `log_prob`."""

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """Choose among the eligible columns of each row."""
        raise NotImplementedError

    def log_prob(
        self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], choice: Choice
    ) -> Float[Tensor, " B"]:
        """The log-probability of `choice` under these scores: 0, a certain choice."""
        return scores.new_zeros(len(scores))


def _best(scores: Tensor, eligible: Tensor, counts: Tensor) -> Choice:
    order = _order(scores, eligible)
    first = torch.arange(scores.shape[1], device=scores.device) < counts[:, None]
    return Choice(torch.zeros_like(eligible).scatter_(1, order, first).logical_and_(eligible))


def _order(scores: Tensor, eligible: Tensor) -> Tensor:
    return torch.where(eligible, scores, NEVER).argsort(dim=1, descending=True, stable=True)


@dataclass(frozen=True, kw_only=True)
class Quota(Pick):
    """The best n, such that the block ends after `steps` forwards: LLaDA's table of transfer counts.

    n = ceil(masks left / forwards left), from the canvas alone.
    """

    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} is not positive: a block needs at least one forward")

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """At least one."""
        left = (self.steps - canvas.step).clamp_min(1)
        return _best(scores, eligible, (eligible.sum(1) + left - 1) // left)


@dataclass(frozen=True, kw_only=True)
class Scheduled(Pick):
    """The best floor(masks left * reveal(t, s)) as t runs from 1 to `end` in `steps` forwards, the rest in the last.

    Dream's schedule; a forward may open nothing.
    """

    steps: int
    schedule: Schedule = field(default_factory=Linear)
    end: float = 1e-3

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} is not positive: decoding needs at least one forward")

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """Possibly none."""
        t = times(self.steps, self.end).to(scores.device)
        share = self.schedule.reveal(t[:-1], t[1:])
        share[-1] = 1.0
        left = eligible.sum(1)
        counts = (left * share[canvas.step.clamp_max(self.steps - 1)]).long()
        return _best(scores, eligible, counts)


@dataclass(frozen=True, kw_only=True)
class Threshold(Pick):
    """All that are not below the bar, and always the best (Fast-dLLM)."""

    bar: float

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """At least one."""
        best = canvas.column == scores.masked_fill(~eligible, NEVER).argmax(1, keepdim=True)
        return Choice(eligible & ((scores >= self.bar) | best))


@dataclass(frozen=True, kw_only=True)
class Factor(Pick):
    """In falling order, the first always, then on while c(n) >= 1 - factor / (n + 1) (Fast-dLLM's dynamic rule)."""

    factor: float

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """At least one."""
        ordered = scores.masked_fill(~eligible, NEVER).sort(dim=1, descending=True, stable=True).values
        rank = torch.arange(1, scores.shape[1] + 1, device=scores.device)
        passes = ordered >= 1 - self.factor / (rank + 1)
        passes[:, 0] = True
        return _best(scores, eligible, passes.long().cumprod(1).sum(1))


@dataclass(frozen=True, kw_only=True)
class Within(Pick):
    """What another rule picks, and in the last of `steps` forwards on a block all that is left: a bound on forwards."""

    pick: Pick
    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} is not positive: a block needs at least one forward")
        if type(self.pick).log_prob is not Pick.log_prob:
            raise ValueError(f"{self.pick!r} draws, but the last forward would not: bound a rule without chance")

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """All in the last forward."""
        last = canvas.step >= self.steps - 1
        return Choice(self.pick(scores, eligible, canvas).chosen | (eligible & last[:, None]))


@dataclass(frozen=True, kw_only=True)
class Finishing(Pick):
    """What another rule picks, and all that is left once no score is below the bar: a converged block ends early."""

    pick: Pick
    bar: float

    def __post_init__(self) -> None:
        if type(self.pick).log_prob is not Pick.log_prob:
            raise ValueError(f"{self.pick!r} draws, but an early end would not: finish a rule without chance")

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """All where all are sure."""
        sure = ~(eligible & (scores < self.bar)).any(1, keepdim=True)
        return Choice(self.pick(scores, eligible, canvas).chosen | (eligible & sure))


@dataclass(frozen=True, kw_only=True)
class Best(Pick):
    """The best `count`."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count={self.count} is not positive: open at least one mask a forward")

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """As many as there are, if they are fewer."""
        return _best(scores, eligible, torch.full_like(canvas.nfe, self.count))


@dataclass(frozen=True, kw_only=True)
class EntropyBound(Pick):
    """The largest set of least entropy whose entropies sum, without the largest, to at most gamma nats.

    EB-sampler (Ben-Hamu et al. 2025, arXiv 2505.24857); scores must be negative entropies.
    """

    gamma: float

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """At least one."""
        ordered = -scores.masked_fill(~eligible, NEVER).sort(dim=1, descending=True, stable=True).values
        return _best(scores, eligible, 1 + (ordered.cumsum(1) <= self.gamma).sum(1))


@dataclass(frozen=True, kw_only=True)
class Above(Pick):
    """All above the bar, perhaps none."""

    bar: float = 0.0

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """Possibly none."""
        return Choice(eligible & (scores > self.bar))


@dataclass(frozen=True, kw_only=True)
class Below(Pick):
    """All below the bar, perhaps none."""

    bar: float

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """Possibly none."""
        return Choice(eligible & (scores < self.bar))


@dataclass(frozen=True, kw_only=True)
class Opening(Pick):
    """Each mask opens with (alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t); scores must be uniform numbers (Chance).

    eta = 0 is ancestral sampling; above 0 it is ReMDM's reverse step with the capped schedule
    sigma = min(eta, (1 - alpha_s) / alpha_t) (Wang et al. 2025, arXiv 2503.00307), paired with Closing.
    """

    steps: int
    eta: float = 0.0
    schedule: Schedule = field(default_factory=Linear)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} is not positive: decoding needs at least one forward")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta={self.eta} is outside [0, 1]: it is a probability")

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """Possibly none; all that are left in the last step."""
        chance = self.chances()[0].to(scores.device)[canvas.step.clamp_max(self.steps - 1)]
        return Choice(eligible & (scores < chance[:, None]))

    def chances(self) -> tuple[Float[Tensor, " steps"], Float[Tensor, " steps"]]:
        """For every step the probability that a mask opens, and that a token is masked again."""
        t = times(self.steps).double()
        before, after = self.schedule.alpha(t[:-1]), self.schedule.alpha(t[1:])
        sigma = ((1 - after) / before.clamp_min(1e-12)).clamp_max(self.eta)  # 0/0 where one step does it all
        sigma[-1] = 0.0  # a schedule may end a rounding error below 1
        opens = (after - (1 - sigma) * before) / (1 - before)
        opens[-1] = 1.0
        return opens, sigma


@dataclass(frozen=True, kw_only=True)
class Closing(Opening):
    """Each token is masked again with sigma: the other half of ReMDM's step."""

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """Possibly none; none in the last step."""
        chance = self.chances()[1].to(scores.device)[canvas.step.clamp_max(self.steps - 1)]
        return Choice(eligible & (scores < chance[:, None]))
