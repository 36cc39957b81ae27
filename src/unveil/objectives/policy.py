"""GRPO for unmasking policies: rewards, advantages within a group, the clipped ratio of every decision.

Jazbec et al. 2025 (arXiv 2512.09106, sections 3.1 and 3.2, and the released code). A decision is what a policy chose
in one row and one forward. P prompts have G rollouts each, R = P * G in all; rollout p * G + g is the g-th of prompt p.
They made N decisions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Multiplicative:
    """correct * ((room - min(nfe, room) + 1) / room)^alpha: a wrong answer earns nothing by being fast.

    Equation 3.1 with the + 1 of the released code, so that one forward earns `correct`.
    """

    def __call__(
        self,
        correct: Float[Tensor, "P G"],
        nfe: Int[Tensor, "P G"],
        room: Int[Tensor, "#P #G"],
        alpha: Float[Tensor, "#P #G"],
    ) -> Float[Tensor, "P G"]:
        """The rewards."""
        left = (room - nfe.minimum(room) + 1).to(correct) / room
        return correct * left ** alpha.to(correct)


@dataclass(frozen=True, kw_only=True)
class Additive:
    """correct - alpha * nfe / room, an ablation: where all are wrong, speed is rewarded (the paper's collapses)."""

    def __call__(
        self,
        correct: Float[Tensor, "P G"],
        nfe: Int[Tensor, "P G"],
        room: Int[Tensor, "#P #G"],
        alpha: Float[Tensor, "#P #G"],
    ) -> Float[Tensor, "P G"]:
        """The rewards."""
        return correct - alpha.to(correct) * nfe / room


def has_signal(rewards: Float[Tensor, "P G"]) -> Bool[Tensor, " P"]:
    """The groups in which not all rollouts earned the same."""
    return rewards.amax(1) > rewards.amin(1)


@dataclass(frozen=True, kw_only=True)
class Centred:
    """Advantage: the reward less the group's mean (the paper)."""

    def __call__(self, rewards: Float[Tensor, "P G"]) -> Float[Tensor, "P G"]:
        """0 in groups without signal."""
        centred = rewards - rewards.mean(1, keepdim=True)
        return centred.masked_fill(~has_signal(rewards)[:, None], 0.0)  # a mean of equal numbers is rounded


@dataclass(frozen=True, kw_only=True)
class Standardised(Centred):
    """The same over the group's standard deviation (GRPO, Shao et al. 2024, arXiv 2402.03300)."""

    def __call__(self, rewards: Float[Tensor, "P G"]) -> Float[Tensor, "P G"]:
        """0 in groups without signal."""
        spread = rewards.std(1, correction=0, keepdim=True)
        return super().__call__(rewards) / spread.masked_fill(~has_signal(rewards)[:, None], 1.0)


@dataclass(frozen=True, kw_only=True)
class PerTrajectory:
    """Every rollout counts the same, and within it every decision (the paper): slow ones weigh less by the step."""

    def __call__(self, num_steps: Int[Tensor, " R"]) -> Float[Tensor, " R"]:
        """The weight of each decision of a rollout."""
        return 1 / num_steps.double().clamp_min(1)


@dataclass(frozen=True, kw_only=True)
class PerStep:
    """Every decision counts the same."""

    def __call__(self, num_steps: Int[Tensor, " R"]) -> Float[Tensor, " R"]:
        """The weight of each decision of a rollout."""
        return torch.ones_like(num_steps, dtype=torch.float64)


@runtime_checkable
class Decided(Protocol):
    """Recorded decisions, whatever a policy was shown."""

    @property
    def rollout(self) -> Int64[Tensor, " N"]:
        """The rollout that each belongs to."""
        ...

    @property
    def log_prob(self) -> Float[Tensor, " N"]:
        """As it was when it was drawn."""
        ...

    def rows(self: "D", index: Tensor | slice) -> "D":
        """Some of them."""
        ...


D = TypeVar("D", bound=Decided)


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson(Generic[D]):
    """What is learned from a round: its decisions in groups with signal, with what they earned."""

    decisions: D
    advantage: Float[Tensor, " N"]
    weight: Float[Tensor, " N"]  # of all decisions of all processes they sum to 1

    def __len__(self) -> int:
        return len(self.weight)


class Part(NamedTuple):
    """The loss of some decisions, and how many of them the clip keeps from moving further."""

    loss: Float[Tensor, ""]
    clipped: Int[Tensor, ""]


@dataclass(frozen=True, kw_only=True)
class ClippedRatio:
    """- sum of weight * min(ratio * A, clip(ratio, 1 - clip, 1 + clip) * A), the ratio joint over a step's columns.

    No KL term and no entropy bonus. The same lesson serves several updates.
    """

    baseline: Centred = field(default_factory=Centred)
    weights: PerTrajectory | PerStep = field(default_factory=PerTrajectory)
    clip: float = 0.5
    chunk: int = 64  # decisions whose graph is in memory at a time

    def __post_init__(self) -> None:
        if not self.clip > 0:
            raise ValueError(f"clip={self.clip} is not positive: a ratio may move this far from 1, give 0.2 or 0.5")
        if self.chunk < 1:
            raise ValueError(f"chunk={self.chunk} is not positive: differentiate at least one decision at a time")

    def mass(self, num_steps: Int[Tensor, " R"]) -> float:
        """What weights are divided by: several processes add theirs up and give the sum to `lesson`."""
        return float((self.weights(num_steps) * num_steps).sum())

    def lesson(self, decisions: D, rewards: Float[Tensor, "P G"], *, mass: float | None = None) -> Lesson[D]:
        """Drop groups without signal, weigh the rest as if none had been dropped; `mass` is that of all processes.

        ValueError for groups of one, and for rewards that are not finite.
        """
        if rewards.shape[1] < 2:
            raise ValueError(f"{rewards.shape[1]} rollout(s) of a prompt: a group needs at least 2 to be compared")
        if not rewards.isfinite().all():
            raise ValueError("a reward is NaN or infinite: look at correctness and alpha")
        num_steps = decisions.rollout.bincount(minlength=rewards.numel())
        assert len(num_steps) == rewards.numel(), "decisions of rollouts without a reward"
        weight = self.weights(num_steps) / (self.mass(num_steps) if mass is None else mass)
        group = decisions.rollout // rewards.shape[1]
        kept = has_signal(rewards)[group].nonzero()[:, 0]
        rollout = decisions.rollout[kept]
        return Lesson(
            decisions=decisions.rows(kept),
            advantage=self.baseline(rewards).flatten()[rollout],
            weight=weight[rollout],
        )

    def losses(self, policy: Callable[[D], Float[Tensor, " n"]], lesson: Lesson[D]) -> Iterator[Part]:
        """The parts of the loss; each is differentiated before the next is asked for.

        `policy` gives the log-probabilities of decisions under its weights of now. A lesson without decisions has no
        parts. Gradients of several processes are summed.
        """
        for first in range(0, len(lesson), self.chunk):
            some = slice(first, first + self.chunk)
            decisions = lesson.decisions.rows(some)
            new = policy(decisions)
            told = (decisions.log_prob, lesson.advantage[some], lesson.weight[some])
            old, advantage, weight = (x.to(new) for x in told)
            ratio = (new - old).exp()
            free, held = ratio * advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * advantage
            yield Part(-(weight * free.minimum(held)).sum(), (held < free).sum())
