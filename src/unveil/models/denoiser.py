"""What a sampler, an objective or a diagnostic may ask of a model and what it gets back; guidance by two of them."""

from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unveil.canvas import GIVEN, Canvas
from unveil.models.attention import Causal, Rule


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


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What whoever decodes, trains or measures with a denoiser must know of it; the same for every kind of model."""

    vocabulary: int  # V: ids are below it
    mask_id: int | None  # of [MASK]; None: a causal model that has none
    end_ids: tuple[int, ...]  # of the ends that the model's configuration names
    context: int  # the most columns of a canvas
    width: int  # D, of the hidden states
    rule: Rule  # which columns see which
    shift: int = 0  # 1: column i is predicted at column i - 1
    caches: bool = True  # whether `new_cache` gives one

    @property
    def causal(self) -> bool:
        """Whether a column sees only itself and what is left of it."""
        return isinstance(self.rule, Causal)

    @property
    def blank_id(self) -> int:
        """What stands for [MASK] on a canvas: its id, or one past the vocabulary for a model that has none."""
        return self.vocabulary if self.mask_id is None else self.mask_id


@runtime_checkable
class Denoiser(Protocol):
    """p(x0 | canvas)."""

    @property
    def outline(self) -> Outline:
        """What callers must know of the model."""
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Wrapped:
    """A denoiser made of a denoiser: subclasses change what is asked of the inner one, or what it answers."""

    inner: Denoiser

    @property
    def outline(self) -> Outline:
        """That of the inner one."""
        return self.inner.outline

    def new_cache(self, canvas: Canvas) -> Cache:
        """That of the inner one."""
        return self.inner.new_cache(canvas)

    def __call__(
        self, canvas: Canvas, fresh: Bool[Tensor, "B L"], read: Bool[Tensor, "B L"], cache: Any, want: Want
    ) -> Prediction:
        """See Denoiser."""
        return self.inner(canvas, fresh, read, cache, want)


@dataclass(frozen=True, kw_only=True)
class GuidedCache:
    """The caches of both branches; row i of the canvas is rows i and i + B of the buffer."""

    both: Cache
    num_rows: int

    def rows(self, index: Tensor) -> "GuidedCache":
        """The rows at `index` in both branches."""
        chosen = torch.arange(self.num_rows, device=index.device)[index]
        return GuidedCache(both=self.both.rows(torch.cat([chosen, chosen + self.num_rows])), num_rows=len(chosen))


@dataclass(frozen=True, kw_only=True, eq=False)
class Guided(Wrapped):
    """logits + scale * (logits - blind logits), where the blind rows see [MASK] for all that is given.

    LLaDA's unsupervised guidance (Nie et al. 2025, after Ho and Salimans 2022). Both branches go through one forward,
    which mixes their hidden states: the head is linear. A forward of both counts once.
    """

    scale: float

    def new_cache(self, canvas: Canvas) -> GuidedCache:
        """An empty cache for both branches."""
        return GuidedCache(both=self.inner.new_cache(canvas.join(canvas)), num_rows=len(canvas.done))

    def __call__(
        self,
        canvas: Canvas,
        fresh: Bool[Tensor, "B L"],
        read: Bool[Tensor, "B L"],
        cache: GuidedCache | None,
        want: Want,
    ) -> Prediction:
        """See Denoiser."""
        blind = replace(canvas, tokens=canvas.tokens.masked_fill(canvas.stage == GIVEN, canvas.mask_id))
        both = canvas.join(blind)
        doubled = replace(want, guidance=self.scale)
        return self.inner(both, fresh.repeat(2, 1), read.repeat(2, 1), None if cache is None else cache.both, doubled)
