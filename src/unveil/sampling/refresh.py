"""What to recompute: with a KV buffer written by scatter, every published cache is one boolean mask per step."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from unveil.canvas import Canvas
from unveil.models.denoiser import Cache, Denoiser
from unveil.settings import one_of


@runtime_checkable
class Refresh(Protocol):
    """A cache plan."""

    def cache(self, denoiser: Denoiser, canvas: Canvas) -> Cache | None:
        """What the plan keeps between forwards."""
        ...

    def __call__(self, canvas: Canvas, here: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """The columns to recompute, given where each row works."""
        ...


def _live(canvas: Canvas) -> Tensor:
    return canvas.inside & ~canvas.done[:, None]


@dataclass(frozen=True, kw_only=True)
class NoCache:
    """Everything, every forward."""

    def cache(self, denoiser: Denoiser, canvas: Canvas) -> None:
        """Nothing is kept."""
        return None

    def __call__(self, canvas: Canvas, here: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """The row."""
        return _live(canvas)


@dataclass(frozen=True, kw_only=True)
class DualCache:
    """The block; the whole row when the block begins and then every `every` forwards (Fast-dLLM, Wu et al. 2025)."""

    every: int | None = None

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise ValueError(f"every={self.every} is not positive: give at least 1, or None for once a block")

    def cache(self, denoiser: Denoiser, canvas: Canvas) -> Cache:
        """A KV buffer."""
        return denoiser.new_cache(canvas)

    def __call__(self, canvas: Canvas, here: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """The row where it is stale, else `narrow`."""
        stale = canvas.step == 0 if self.every is None else canvas.step % self.every == 0
        return (self.narrow(canvas, here) | stale[:, None]) & _live(canvas)

    def narrow(self, canvas: Canvas, here: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """The block."""
        return here


@dataclass(frozen=True, kw_only=True)
class PrefixCache(DualCache):
    """The block and all after it (Fast-dLLM)."""

    def narrow(self, canvas: Canvas, here: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """From the block's first column on."""
        return here.cumsum(1) > 0


@dataclass(frozen=True, kw_only=True)
class NearCache(DualCache):
    """The block and `radius` columns on both sides (dInfer's vicinity refresh)."""

    radius: int = 8

    def narrow(self, canvas: Canvas, here: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """The block, widened."""
        return F.max_pool1d(here.float()[:, None], 2 * self.radius + 1, 1, self.radius)[:, 0] > 0


@dataclass(frozen=True, kw_only=True)
class DelayedCache(DualCache):
    """All that is undecided or was written by the last forward (dKV-Cache, Ma et al. 2025)."""

    def narrow(self, canvas: Canvas, here: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """Undecided columns, and each token once more after it was written."""
        return canvas.undecided | (canvas.written == canvas.nfe[:, None] - 1)


@dataclass(frozen=True, kw_only=True)
class BlockCache:
    """The block; when it begins also the block before, now final; the prompt once. Without `size` all is one block.

    Nothing is ever computed again, so it is for models whose columns never see a later block: for them it is exact.
    """

    size: int | None = None

    def cache(self, denoiser: Denoiser, canvas: Canvas) -> Cache:
        """A KV buffer. ValueError for a model in which finished columns see what is written after them."""
        rule = denoiser.outline.rule
        if not rule.settles(self.size):
            blocks = "the answer as one block" if self.size is None else f"blocks of {self.size}"
            raise ValueError(
                f"cache=block with {blocks} is not exact under {rule}, whose columns see later ones: take "
                "cache=none, prefix, dual, near or delayed, or blocks that the model's attention has"
            )
        return denoiser.new_cache(canvas)

    def __call__(self, canvas: Canvas, here: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """The block, and at its begin what became final since the last one."""
        begins = (canvas.step == 0)[:, None] & here.any(1, keepdim=True)
        size = canvas.tokens.shape[1] if self.size is None else self.size
        first = (canvas.start + (canvas.block - 1) * size)[:, None]
        before = (canvas.column >= first) & (canvas.column < first + size) & (canvas.column >= canvas.start[:, None])
        prompt = (canvas.column < canvas.start[:, None]) & (canvas.nfe == 0)[:, None]
        return (here | (begins & (before | prompt))) & canvas.inside


CACHES = ("none", "prefix", "dual", "near", "delayed", "block")


def cache_plan(name: str, block: int | None) -> Refresh:
    """The cache plan of that name, for blocks of `block` columns (None: one). ValueError for another name."""
    one_of("cache", name, CACHES)
    block_cache = BlockCache(size=block)
    plans: list[Refresh] = [NoCache(), PrefixCache(), DualCache(), NearCache(), DelayedCache(), block_cache]
    return dict(zip(CACHES, plans, strict=True))[name]
