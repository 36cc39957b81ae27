"""What: a token and its probability for every column read, back on the canvas."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor

from unveil.canvas import Canvas
from unveil.models.denoiser import Prediction, Want

NEVER = float("-inf")


class Proposal(NamedTuple):
    """A token for every column; where nothing was read the confidence is -inf. Fields not wanted are None."""

    tokens: Int64[Tensor, "B L"]
    confidence: Float[Tensor, "B L"]
    entropy: Float[Tensor, "B L"] | None = None
    top_ids: Int64[Tensor, "B L K"] | None = None
    top_probs: Float[Tensor, "B L K"] | None = None
    gram: Float[Tensor, "B L G G"] | None = None


@dataclass(frozen=True, kw_only=True)
class Propose:
    """How tokens are drawn. [MASK] is never a candidate."""

    temperature: float = 0.0  # 0: the most probable token
    top_p: float = 1.0
    top_k: int = 0  # 0: no limit
    tempered: bool = False  # confidence is that of the tempered distribution (Dream), not of the model's (LLaDA)
    forbid_eos: bool = False  # the first end id is no candidate (LLaDA's logits_eos_inf)

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature {self.temperature} is negative: use 0 for greedy, or above 0 to draw")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p} is outside (0, 1]: use 1 to draw from everything")
        if self.top_k < 0:
            raise ValueError(f"top_k {self.top_k} is negative: use 0 to draw from everything")

    def want(self, canvas: Canvas) -> Want:
        """What the denoiser has to compute. ValueError for `forbid_eos` on a canvas that names no end id."""
        if self.forbid_eos and not canvas.end_ids:
            raise ValueError("forbid_eos has no end id to forbid: a template names none, leave the switch out")
        eos = canvas.end_ids[:1] if self.forbid_eos else ()
        return Want(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            tempered=self.tempered,
            forbid=(canvas.mask_id, *eos),
        )

    def __call__(self, prediction: Prediction, canvas: Canvas) -> Proposal:
        """Spread the flat answers over the canvas."""
        index, (B, L) = prediction.index, canvas.tokens.shape

        def spread(x: Tensor | None, empty: int | float) -> Tensor | None:
            if x is None:
                return None
            return x.new_full((B * L, *x.shape[1:]), empty).index_copy_(0, index, x).unflatten(0, (B, L))

        tokens, confidence = spread(prediction.tokens, canvas.mask_id), spread(prediction.confidence, NEVER)
        assert tokens is not None and confidence is not None
        return Proposal(
            tokens=tokens,
            confidence=confidence,
            entropy=spread(prediction.entropy, 0.0),
            top_ids=spread(prediction.top_ids, canvas.mask_id),
            top_probs=spread(prediction.top_probs, 0.0),
            gram=spread(prediction.gram, 0.0),
        )
