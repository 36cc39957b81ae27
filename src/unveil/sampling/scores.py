"""Who goes first: a score for every column. With a pick it makes a choice: which masks to open, tokens to replace."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unveil import noise
from unveil.canvas import Canvas
from unveil.models.denoiser import Want
from unveil.sampling.propose import NEVER, Proposal


@dataclass(frozen=True, kw_only=True)
class Score:
    """Larger is sooner. A score declares what it needs of the model and which columns it looks at."""

    def require(self, want: Want) -> Want:
        """Add what this score needs to what the denoiser computes."""
        return want

    def view(self, canvas: Canvas, here: Bool[Tensor, "B L"], eligible: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """The columns whose prediction this score reads: those it may choose from."""
        return eligible

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "B L"]:
        """The score of every column; only eligible ones count."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Confidence(Score):
    """The probability of the proposed token (LLaDA's low-confidence rule, Dream's maskgit_plus)."""

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "B L"]:
        """p(token)."""
        return proposal.confidence


@dataclass(frozen=True, kw_only=True)
class Margin(Score):
    """The distance between the two largest probabilities (Kim et al. 2025; Dream's topk_margin)."""

    def require(self, want: Want) -> Want:
        """The best two."""
        return replace(want, top=max(want.top, 2))

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "B L"]:
        """p(1) - p(2)."""
        assert proposal.top_probs is not None
        return proposal.top_probs[..., 0] - proposal.top_probs[..., 1]


@dataclass(frozen=True, kw_only=True)
class Certainty(Score):
    """Negative entropy in nats (Dream's entropy, the EB-sampler's order)."""

    def require(self, want: Want) -> Want:
        """The entropy."""
        return replace(want, entropy=True)

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "B L"]:
        """-H."""
        assert proposal.entropy is not None
        return -proposal.entropy


@dataclass(frozen=True, kw_only=True)
class Blind(Score):
    """A score that reads nothing of the model."""

    def view(self, canvas: Canvas, here: Bool[Tensor, "B L"], eligible: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """No column."""
        return torch.zeros_like(eligible)


@dataclass(frozen=True, kw_only=True)
class LeftToRight(Blind):
    """Reading order."""

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "B L"]:
        """-column."""
        return -canvas.column.float().expand_as(proposal.confidence)


@dataclass(frozen=True, kw_only=True)
class Chance(Blind):
    """A uniform number in (0, 1) of the row's own noise (LLaDA's random rule)."""

    salt: int = 2

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "B L"]:
        """u."""
        return canvas.uniform(self.salt)


@dataclass(frozen=True, kw_only=True)
class Gain(Score):
    """How much more probable the proposal is than the standing token was when it was written (EvoToken)."""

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "B L"]:
        """p(token) - confidence."""
        return proposal.confidence - canvas.confidence


@dataclass(frozen=True, kw_only=True)
class Differs(Score):
    """The probability of a token other than the one that stands, else -inf (LLaDA2.1's editing)."""

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "B L"]:
        """p(token) where it is another."""
        return proposal.confidence.masked_fill(proposal.tokens == canvas.tokens, NEVER)


@dataclass(frozen=True, kw_only=True)
class Noisy(Score):
    """score / temperature + Gumbel noise: a top-n by it is n draws without replacement from softmax(score / t).

    Dream's `alg_temp`.
    """

    score: Score
    temperature: float
    salt: int = 4

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"noise temperature {self.temperature} must be above 0: use the score itself for no noise")

    def require(self, want: Want) -> Want:
        """What the inner score needs."""
        return self.score.require(want)

    def view(self, canvas: Canvas, here: Bool[Tensor, "B L"], eligible: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """What the inner score sees."""
        return self.score.view(canvas, here, eligible)

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "B L"]:
        """score / t + g."""
        return self.score(proposal, canvas) / self.temperature + noise.gumbel(canvas.uniform(self.salt))


@dataclass(frozen=True, kw_only=True)
class EndsLast(Score):
    """Columns whose proposal is an end id come after all others (LLaDA's confidence_eos_eot_inf)."""

    score: Score

    def require(self, want: Want) -> Want:
        """What the inner score needs."""
        return self.score.require(want)

    def view(self, canvas: Canvas, here: Bool[Tensor, "B L"], eligible: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """What the inner score sees, and the tokens themselves."""
        return self.score.view(canvas, here, eligible) | eligible

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Float[Tensor, "B L"]:
        """The score, or score - 1e6."""
        ends = torch.zeros_like(proposal.tokens, dtype=torch.bool)
        for end_id in canvas.end_ids:
            ends = ends | (proposal.tokens == end_id)
        return self.score(proposal, canvas) - 1e6 * ends
