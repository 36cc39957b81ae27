"""What a soft position shows: how much of [MASK] while it is undecided, and how embeddings are added.

EvoToken (Zhong et al. 2026, arXiv 2601.07351) has one share for all, in training a drawn one, and adds linearly. The
share that follows confidence is ours; the spherical mix is after "Rethinking soft tokens" (arXiv 2609.37391).
"""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from unveil import noise
from unveil.canvas import Canvas
from unveil.models.denoiser import Want
from unveil.sampling.propose import Proposal

SHARE_SALT = 11
EDGE = 1e-7  # cosines keep so far from 1 and -1: there is always an arc


@runtime_checkable
class Share(Protocol):
    """The weight of [MASK] in an undecided position, 0 to 1."""

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "#B #L"]:
        """After the forward that made the proposal."""
        ...


def in_unit(**values: float) -> None:
    """ValueError for a weight of [MASK] that is none."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value} is outside [0, 1]: it is the weight of [MASK]")


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The same everywhere (EvoToken's alpha)."""

    share: float = 0.7

    def __post_init__(self) -> None:
        in_unit(share=self.share)

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "1 1"]:
        """share."""
        return proposal.confidence.new_full((1, 1), self.share)


@dataclass(frozen=True, kw_only=True)
class Between:
    """A share within a range."""

    least: float = 0.5
    most: float = 1.0

    def __post_init__(self) -> None:
        in_unit(least=self.least, most=self.most)
        if self.least > self.most:
            raise ValueError(f"least={self.least} is above most={self.most}: give a range within [0, 1]")


@dataclass(frozen=True, kw_only=True)
class FollowsConfidence(Between):
    """`most` where the proposed token has no probability, `least` where it has all, in a straight line between."""

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "B L"]:
        """most + (least - most) * p(token)."""
        return self.most + (self.least - self.most) * proposal.confidence.clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class Drawn(Between):
    """Drawn evenly for each row and forward, from the row's own noise (EvoToken's training)."""

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "B 1"]:
        """U(least, most)."""
        u = noise.uniform(canvas.seed, canvas.nfe, SHARE_SALT, torch.zeros_like(canvas.seed))
        return (self.least + (self.most - self.least) * u).to(proposal.confidence.dtype)[:, None]


@dataclass(frozen=True, kw_only=True)
class Linear:
    """share * E[MASK] + (1 - share) * sum_k p_k E[v_k] (EvoToken)."""

    def require(self, want: Want) -> Want:
        """Nothing more than the candidates."""
        return want

    def __call__(
        self, share: Float[Tensor, "B L"], weights: Float[Tensor, "B L k"], proposal: Proposal
    ) -> Float[Tensor, "B L K"]:
        """Weights of [MASK] and of k candidates; they sum to 1."""
        return torch.cat([share[..., None], weights * (1 - share[..., None])], -1)


@dataclass(frozen=True, kw_only=True)
class Spherical:
    """Along the arc between the directions of [MASK] and of the candidates' mean, no shorter than what is mixed.

    The length is share * |E[MASK]| + (1 - share) * sum_k p_k |E[v_k]|. A mean of nearly orthogonal embeddings is much
    shorter than they are; this is as long as they are on average. arXiv 2609.37391 reports that the arc, with the norm
    of [MASK], serves frozen models better; the length between its ends is ours. It knows the best candidates alone.
    """

    def require(self, want: Want) -> Want:
        """The candidates' dot products."""
        return replace(want, gram=True)

    def __call__(
        self, share: Float[Tensor, "B L"], weights: Float[Tensor, "B L k"], proposal: Proposal
    ) -> Float[Tensor, "B L K"]:
        """Weights of [MASK] and of k candidates; their sum is free."""
        assert proposal.gram is not None
        size = weights.shape[-1] + 1
        gram = proposal.gram[..., :size, :size].to(torch.promote_types(weights.dtype, torch.float32))
        weights, share = weights.to(gram.dtype), share.to(gram.dtype)
        norms = gram.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
        length = share * norms[..., 0] + (1 - share) * (weights * norms[..., 1:]).sum(-1)
        inner = torch.einsum("blk,blkj,blj->bl", weights, gram[..., 1:, 1:], weights).clamp_min(0).sqrt()  # |mean|
        mask, mean = norms[..., 0].clamp_min(1e-12), inner.clamp_min(1e-12)
        cosine = (gram[..., 0, 1:] * weights).sum(-1) / (mask * mean)
        angle = cosine.clamp(EDGE - 1, 1 - EDGE).acos()
        to_mask, to_mean = ((part * angle).sin() / angle.sin() for part in (share, 1 - share))
        return torch.cat([(length * to_mask / mask)[..., None], (length * to_mean / mean)[..., None] * weights], -1)
