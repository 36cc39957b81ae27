"""Becoming: what the next forward sees at each position."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unveil.canvas import DECODED, MASK, SOFT, SOFT_MASK, Canvas
from unveil.models.denoiser import Want
from unveil.sampling.mixing import Constant, Linear, Share, Spherical
from unveil.sampling.propose import Proposal


@dataclass(frozen=True, kw_only=True)
class HardTokens:
    """[MASK], then the token."""

    chosen_stage: ClassVar[int] = DECODED

    def ready(self, canvas: Canvas) -> Canvas:
        """The canvas with room for what the next forward shall see."""
        return canvas

    def require(self, want: Want) -> Want:
        """Nothing more than the tokens."""
        return want

    def view(self, canvas: Canvas, here: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """No column beyond those that the choices read."""
        return torch.zeros_like(here)

    def __call__(
        self,
        canvas: Canvas,
        proposal: Proposal,
        unmask: Bool[Tensor, "B L"],
        revise: Bool[Tensor, "B L"],
        remask: Bool[Tensor, "B L"],
    ) -> Canvas:
        """Write the proposals at `unmask` and `revise`, send `remask` back to [MASK]."""
        write = unmask | revise
        stage = canvas.stage.masked_fill(unmask, self.chosen_stage).masked_fill(remask, MASK)
        return replace(
            canvas,
            tokens=torch.where(write, proposal.tokens, canvas.tokens).masked_fill(remask, canvas.mask_id),
            stage=stage,
            confidence=torch.where(write, proposal.confidence, canvas.confidence).to(canvas.confidence.dtype),
            written=torch.where(write | remask, canvas.nfe[:, None].int(), canvas.written),
        )


@dataclass(frozen=True, kw_only=True)
class SoftTokens(HardTokens):
    """[MASK] -> Soft([MASK] and candidates) -> Soft(candidates) -> the token, the last when the block settles.

    EvoToken (Zhong et al. 2026, arXiv 2601.07351). An undecided position shows the model a share of [MASK] and the rest
    in its best `k` candidates, a chosen one its candidates alone.
    """

    chosen_stage: ClassVar[int] = SOFT
    k: int = 3
    share: Share = field(default_factory=Constant)
    mix: Linear | Spherical = field(default_factory=Linear)
    consistent: bool = False  # a chosen position shows its token, with its rivals in the forward that wrote it
    lookahead: bool = False  # also read, and so soften, what comes after the block

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k={self.k} is not positive: a soft token needs at least one candidate")

    def ready(self, canvas: Canvas) -> Canvas:
        """With room for [MASK] and k candidates in every column."""
        return canvas.soften(self.k + 1)

    def require(self, want: Want) -> Want:
        """The candidates, and what the mix needs of them."""
        return self.mix.require(replace(want, top=max(want.top, self.k)))

    def view(self, canvas: Canvas, here: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """The block, with `lookahead` also all after it."""
        if not self.lookahead:
            return here
        return (here.cumsum(1) > 0) & canvas.inside

    def __call__(
        self,
        canvas: Canvas,
        proposal: Proposal,
        unmask: Bool[Tensor, "B L"],
        revise: Bool[Tensor, "B L"],
        remask: Bool[Tensor, "B L"],
    ) -> Canvas:
        """Choose as hard tokens do, then soften every position that was read and is not final."""
        canvas = super().__call__(self.ready(canvas), proposal, unmask, revise, remask)
        live = (proposal.confidence >= 0) & (canvas.stage <= SOFT)
        written = unmask | revise
        ids, weights = self.candidates(proposal, written)
        share = self.share(proposal, canvas).expand(live.shape).masked_fill(~canvas.undecided, 0.0)
        mixed = self.mix(share, weights, proposal).to(canvas.soft_weights.dtype)
        shown = live & (canvas.undecided | written) if self.consistent else live
        mask = torch.full_like(ids[..., :1], canvas.mask_id)
        return replace(
            canvas,
            stage=canvas.stage.masked_fill(live & canvas.undecided, SOFT_MASK),
            soft_ids=torch.where(shown[..., None], torch.cat([mask, ids], -1), canvas.soft_ids),
            soft_weights=torch.where(shown[..., None], mixed, canvas.soft_weights),
        )

    def candidates(
        self, proposal: Proposal, written: Bool[Tensor, "B L"]
    ) -> tuple[Int64[Tensor, "B L k"], Float[Tensor, "B L k"]]:
        """The best k and their weights, which sum to 1."""
        assert proposal.top_ids is not None and proposal.top_probs is not None
        ids, weights = proposal.top_ids[..., : self.k], proposal.top_probs[..., : self.k]
        if self.consistent:  # a drawn token need not be among the best
            absent = written & (ids != proposal.tokens[..., None]).all(-1)
            ids, weights = ids.clone(), weights.clone()
            ids[..., -1] = torch.where(absent, proposal.tokens, ids[..., -1])
            weights[..., -1] = torch.where(absent, proposal.confidence, weights[..., -1])
        return ids, weights / weights.sum(-1, keepdim=True).clamp_min(1e-12)
