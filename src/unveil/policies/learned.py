"""A learned policy as a score: every sampler, pick and cache plan takes it."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unveil.canvas import Canvas
from unveil.models.denoiser import Want
from unveil.sampling.blocks import Blocks
from unveil.sampling.propose import Proposal
from unveil.sampling.scores import Score

CERTAIN = 40.0  # a logit whose sigmoid is exactly 1 in float64


class Observation(NamedTuple):
    """What a policy sees of a step. Logits follow from it alone, so a stored one is enough to train on.

    `seen` is one run of columns a row; what the other fields say of other columns has no influence.
    """

    features: Float[Tensor, "B L F"]  # what `Policy.features` made of the proposal
    masked: Bool[Tensor, "B L"]
    seen: Bool[Tensor, "B L"]
    time: Float[Tensor, " B"]  # forwards so far / new tokens
    share: Float[Tensor, " B"]  # masks left / new tokens
    alpha: Float[Tensor, " B"]  # the weight of speed, 0 where the policy is not told


class Policy(nn.Module):
    """A network that decides which masks to open: it says what it needs of the model, and gives a logit a mask.

    A kind of policy is a subclass in a file of this folder: `unveil.policies.store` finds it by its `name`. Its
    settings are a frozen dataclass with at least `view` (row or block) and `alpha` (whether it is told the weight of
    speed).
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Any]]
    settings: Any

    def require(self, want: Want) -> Want:
        """Add what the network needs to what the denoiser computes."""
        return want

    def features(self, proposal: Proposal) -> Float[Tensor, "B L F"]:
        """The numbers that the network gets for each column."""
        raise NotImplementedError

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and of observations."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device


@dataclass(frozen=True, kw_only=True)
class Learned(Score):
    """The logits of a policy, for picks that draw (Jazbec et al. 2025, arXiv 2512.09106).

    It reads all columns it sees in every forward, so none of them is stale under any cache plan. The network moves to
    the model's device at the first step.
    """

    net: Policy
    blocks: Blocks = field(default_factory=Blocks)  # it sees the block of these: by default the whole answer region
    temperature: float = 1.0  # of the policy: logits are divided by it
    scale: float = 1.0  # a mask opens with min(1, scale * rate) instead of its rate (section 4.1)
    alpha: float | None = None  # the weight of speed, for a policy that was trained with it

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature={self.temperature} of a policy must be above 0: 1 is what it was trained at")
        if self.scale <= 0:
            raise ValueError(f"scale={self.scale} of a policy's rates must be above 0: 1 leaves them as they are")
        if self.alpha is not None and self.alpha < 0:
            raise ValueError(f"alpha={self.alpha} is negative: it is the weight of speed, 0 is correctness alone")
        if self.net.settings.alpha and self.alpha is None:
            raise ValueError("this policy needs alpha, the weight of speed: give one, for example alpha=1")
        if self.alpha is not None and not self.net.settings.alpha:
            raise ValueError(f"alpha={self.alpha} has no effect: this policy was not trained with it, leave it out")

    def require(self, want: Want) -> Want:
        """The inputs of the network."""
        return self.net.require(want)

    def view(self, canvas: Canvas, here: Bool[Tensor, "B L"], eligible: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """All that the network sees, decided columns too."""
        return self.blocks.here(canvas)

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "B L"]:
        """The policy's logits."""
        return self.logits(self.observe(proposal, canvas))

    def observe(self, proposal: Proposal, canvas: Canvas) -> Observation:
        """What the network sees, in its dtype; no gradient leads back to the model."""
        seen, features = self.blocks.here(canvas), self.net.features(proposal)
        new = (canvas.undecided | canvas.chosen).sum(1)
        return Observation(
            features=features.masked_fill(~seen[..., None], 0.0).detach().to(self.net.dtype),
            masked=canvas.undecided,
            seen=seen,
            time=(canvas.nfe.double() / new).to(self.net.dtype),
            share=(canvas.num_undecided.double() / new).to(self.net.dtype),
            alpha=self.alphas(canvas).to(self.net.dtype),
        )

    def alphas(self, canvas: Canvas) -> Float[Tensor, " B"]:
        """The weight of speed of each row."""
        return torch.full_like(canvas.nfe, self.alpha or 0.0, dtype=torch.float64)

    def logits(self, observation: Observation) -> Float[Tensor, "B L"]:
        """The same logits from a stored observation."""
        if self.net.device != observation.seen.device:
            self.net.to(observation.seen.device)
        logits = self.net(observation) / self.temperature
        if self.scale == 1:
            return logits
        rate = (self.scale * logits.sigmoid()).clamp_max(1.0)
        return (math.log(self.scale) + F.logsigmoid(logits) - (-rate).log1p()).clamp_max(CERTAIN)
