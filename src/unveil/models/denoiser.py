"""What a sampler, an objective or a diagnostic may ask of a model, and what it gets back."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unveil.canvas import Canvas


@dataclass(frozen=True, kw_only=True, eq=False)
class Want:
    """What to compute from the logits of the columns read. The vocabulary axis ends inside the denoiser's forward."""

    proposals: bool = True  # a token and its probability for every column
    entropy: bool = False
    top: int = 0  # the most probable `top` tokens with their probabilities
    temperature: float = 0.0  # 0: the most probable token
    top_p: float = 1.0  # draw from the smallest set with at least this probability
    top_k: int = 0  # draw from the best k, 0 for all
    tempered: bool = False  # confidence, entropy and top are of the tempered and filtered distribution (Dream's way)
    forbid: tuple[int, ...] = ()  # ids that are no candidates
    targets: Int64[Tensor, "B L"] | None = None  # log-probabilities of these tokens, for objectives and likelihoods
    hidden: bool = False
    logits: bool = False
    gram: bool = False  # dot products of the embeddings of [MASK] and of the `top` tokens
    guidance: float | None = None  # the second half of the rows is the first, blinded: mix their hidden states


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """p(x0 | canvas) at the W columns read, flat over the rows; a field that was not wanted is None."""

    index: Int64[Tensor, " W"]  # row * L + column
    tokens: Int64[Tensor, " W"] | None = None
    confidence: Float[Tensor, " W"] | None = None  # the probability of the token
    entropy: Float[Tensor, " W"] | None = None  # nats
    top_ids: Int64[Tensor, "W K"] | None = None
    top_probs: Float[Tensor, "W K"] | None = None
    log_probs: Float[Tensor, " W"] | None = None  # of the targets, over the whole vocabulary less `forbid`
    gram: Float[Tensor, "W G G"] | None = None  # G: [MASK] and `top` tokens
    hidden: Float[Tensor, "W D"] | None = None
    logits: Float[Tensor, "W V"] | None = None


@runtime_checkable
class Cache(Protocol):
    """Keys and values of earlier forwards; the denoiser writes into it in place."""

    def rows(self, index: Tensor) -> "Cache":
        """The rows at `index`, as in Canvas.rows."""
        ...


@runtime_checkable
class Denoiser(Protocol):
    """p(x0 | canvas)."""

    @property
    def mask_id(self) -> int:
        """The id of [MASK]."""
        ...

    def new_cache(self, canvas: Canvas) -> Cache:
        """An empty cache for the rows and columns of `canvas`."""
        ...

    def __call__(
        self,
        canvas: Canvas,
        fresh: Bool[Tensor, "B L"],
        read: Bool[Tensor, "B L"],
        cache: Any,  # what new_cache gave, or None
        want: Want,
    ) -> Prediction:
        """Recompute the columns in `fresh`, answer for the columns in `read` (a subset of fresh).

        Without a cache nothing but the fresh columns is seen, so `fresh` must be the whole row.
        """
        ...
