"""A learned policy as a score: every sampler, pick and cache plan takes it."""

import math
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from unveil.canvas import Canvas
from unveil.models.denoiser import Want
from unveil.policies.confidence import ConfidencePolicy, Observation
from unveil.sampling.blocks import Blocks
from unveil.sampling.propose import Proposal
from unveil.sampling.scores import Score

CERTAIN = 40.0  # a logit whose sigmoid is exactly 1 in float64


@dataclass(frozen=True, kw_only=True)
class Learned(Score):
    """The logits of a policy, for picks that draw (Jazbec et al. 2025, arXiv 2512.09106).

    It reads all columns it sees in every forward, so none of them is stale under any cache plan. The network moves to
    the model's device at the first step.
    """

    net: ConfidencePolicy
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
        s = self.net.settings
        top = max(s.top, 1 + s.margin)
        alone = top == 1 and want.temperature == 0  # then the proposal is the most probable token
        return replace(want, top=max(want.top, 0 if alone else top), entropy=want.entropy or s.entropy)

    def view(self, canvas: Canvas, here: Bool[Tensor, "B L"], eligible: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """All that the network sees, decided columns too."""
        return self.blocks.here(canvas)

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "B L"]:
        """The policy's logits."""
        return self.logits(self.observe(proposal, canvas))

    def observe(self, proposal: Proposal, canvas: Canvas) -> Observation:
        """What the network sees, in its dtype; no gradient leads back to the model."""
        s, seen = self.net.settings, self.blocks.here(canvas)
        probs = proposal.confidence[..., None] if proposal.top_probs is None else proposal.top_probs
        features = [probs[..., : s.top]]
        if s.entropy:
            assert proposal.entropy is not None
            features.append((-proposal.entropy).exp()[..., None])
        if s.margin:
            features.append(probs[..., :1] - probs[..., 1:2])
        new = (canvas.undecided | canvas.chosen).sum(1)
        return Observation(
            features=torch.cat(features, -1).masked_fill(~seen[..., None], 0.0).detach().to(self.net.dtype),
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
