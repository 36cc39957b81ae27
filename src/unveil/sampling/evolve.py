"""Becoming: what the next forward sees at each position."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from unveil.canvas import DECODED, MASK, SOFT, SOFT_MASK, Canvas
from unveil.models.denoiser import Want
from unveil.sampling.propose import Proposal


@dataclass(frozen=True, kw_only=True)
class HardTokens:
    """[MASK], then the token."""

    chosen_stage: ClassVar[int] = DECODED

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

    EvoToken. An undecided position shows the model `mask_share` of [MASK] and the rest in its best `k` candidates, a
    chosen one its candidates alone. The canvas needs num_soft = k + 1.
    """

    chosen_stage: ClassVar[int] = SOFT
    k: int = 3
    mask_share: float = 0.7
    lookahead: bool = False  # also soften what comes after the block

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k={self.k} is not positive: a soft token needs at least one candidate")
        if not 0 <= self.mask_share <= 1:
            raise ValueError(f"mask_share={self.mask_share} is outside [0, 1]: it is the weight of [MASK]")

    def require(self, want: Want) -> Want:
        """The candidates."""
        return replace(want, top=max(want.top, self.k))

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
        assert proposal.top_ids is not None and proposal.top_probs is not None
        if canvas.soft_ids.shape[2] != self.k + 1:
            raise ValueError(
                f"the canvas has room for {canvas.soft_ids.shape[2]} soft tokens and k={self.k} needs {self.k + 1}: "
                f"build it with num_soft={self.k + 1}"
            )
        canvas = super().__call__(canvas, proposal, unmask, revise, remask)
        live = (proposal.confidence >= 0) & (canvas.stage <= SOFT)
        weights = proposal.top_probs[..., : self.k]
        weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-12)
        share = torch.where(canvas.undecided, self.mask_share, 0.0)[..., None]
        mask = torch.full_like(proposal.top_ids[..., :1], canvas.mask_id)
        ids = torch.cat([mask, proposal.top_ids[..., : self.k]], -1)
        mixed = torch.cat([share, weights * (1 - share)], -1).to(canvas.soft_weights.dtype)
        return replace(
            canvas,
            stage=canvas.stage.masked_fill(live & canvas.undecided, SOFT_MASK),
            soft_ids=torch.where(live[..., None], ids, canvas.soft_ids),
            soft_weights=torch.where(live[..., None], mixed, canvas.soft_weights),
        )
