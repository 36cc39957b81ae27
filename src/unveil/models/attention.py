"""Which columns see which: the mask rules, one forward's flat layout, RoPE's scaling, and the one call of attention."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unveil.canvas import Canvas

HALF = (torch.bfloat16, torch.float16)
CALL = 150_000  # multiplications of padding that a call of attention is worth on a CPU: some twenty microseconds


@runtime_checkable
class Rule(Protocol):
    """Who may see whom, besides padding."""

    def __call__(self, query: Tensor, key: Tensor, start: Tensor) -> Tensor | None:
        """(A, Q, 1) query columns, (1, 1, C) key columns, (A, 1, 1) starts -> (A, Q, C), or None for everyone."""
        ...

    def settles(self, size: int | None) -> bool:
        """Whether columns never see those of a later block, where blocks of `size` follow the prompt (None: one).

        Then keys and values of a finished block stay as they are whatever comes after it.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Bidirectional:
    """Every column sees the whole row (LLaDA, Dream)."""

    def __call__(self, query: Tensor, key: Tensor, start: Tensor) -> Tensor | None:
        """None: no restriction."""
        return None

    def settles(self, size: int | None) -> bool:
        """Never: what is written later is seen everywhere."""
        return False


@dataclass(frozen=True, kw_only=True)
class Causal:
    """A column sees itself and what is left of it (autoregressive baselines)."""

    def __call__(self, query: Tensor, key: Tensor, start: Tensor) -> Tensor | None:
        """key <= query."""
        return key <= query

    def settles(self, size: int | None) -> bool:
        """Whether a column never sees a later block: a causal one sees nothing later at all."""
        return True


@dataclass(frozen=True, kw_only=True)
class BlockCausal:
    """A column sees its block and all before it; blocks of `size` count from the row's start, the prompt is one block.

    Block diffusion (Arriola et al. 2025, arXiv 2503.09573).
    """

    size: int

    def __call__(self, query: Tensor, key: Tensor, start: Tensor) -> Tensor | None:
        """block(key) <= block(query)."""
        return self._block(key, start) <= self._block(query, start)

    def settles(self, size: int | None) -> bool:
        """Where a block of the sampler is one or several of the model's."""
        return size is None or size % self.size == 0

    def _block(self, column: Tensor, start: Tensor) -> Tensor:
        return torch.div(column - start, self.size, rounding_mode="floor").clamp_min(-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """How flat columns sit in padded rows: attention runs on (A, width), everything else on the flat columns."""

    places: Int64[Tensor, " Q"] | None  # row * width + rank, None where nothing is padded
    counts: list[int]  # columns of each row
    width: int

    @classmethod
    def of(cls, counts: list[int], device: torch.device) -> "Grid":
        """Rows of `counts` columns, side by side in the flat order."""
        width = max(counts, default=0)
        if min(counts, default=0) == width:
            return cls(places=None, counts=counts, width=width)
        places = [row * width + rank for row, count in enumerate(counts) for rank in range(count)]
        return cls(places=torch.tensor(places, device=device), counts=counts, width=width)

    @property
    def padding(self) -> int:
        """Places where there is no column."""
        return len(self.counts) * self.width - sum(self.counts)

    def pad(self, flat: Tensor) -> Tensor:
        """(Q, ...) -> (A, width, ...), zeros where there is no column."""
        shape = (len(self.counts), self.width, *flat.shape[1:])
        if self.places is None:
            return flat.view(shape)
        grid = flat.new_zeros(shape[0] * shape[1], *flat.shape[1:])
        return grid.index_copy(0, self.places, flat).view(shape)

    def flat(self, grid: Tensor) -> Tensor:
        """(A, width, ...) -> (Q, ...)."""
        flat = grid.flatten(0, 1)
        return flat if self.places is None else flat.index_select(0, self.places)


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Where the columns of one forward are. Sizes are ints on the host, from one transfer a forward."""

    index: Int64[Tensor, " Q"]  # row * L + column of what is recomputed
    column: Int64[Tensor, " Q"]
    answer: Int64[Tensor, " W"]  # places in 0..Q-1 whose hidden state answers
    target: Int64[Tensor, " W"]  # row * L + column that it answers for
    rows: Int64[Tensor, " A"] | None  # rows that compute anything, None for all
    length: int  # columns of keys
    whole: bool  # every column of every active row is recomputed
    fresh: Grid
    read: Grid
    visible: Bool[Tensor, "A 1 #fresh C"] | None  # to the recomputed columns, None for everything
    visible_last: Bool[Tensor, "A 1 #read C"] | None  # to the columns that answer

    @classmethod
    def of(cls, canvas: Canvas, fresh: Tensor, read: Tensor, *, shift: int, rule: Rule) -> "Layout":
        """The layout for recomputing `fresh` and answering for `read`; with `shift` 1 the column before answers."""
        L, device = canvas.tokens.shape[1], fresh.device
        if shift:  # the first column of a row has none before it and answers for itself
            before = torch.cat([read[:, :1] | read[:, 1:2], read[:, 2:], torch.zeros_like(read[:, :1])], 1)
            fresh = fresh | before[:, :L]
        num_fresh, num_read, ends = torch.stack([fresh.sum(1), read.sum(1), canvas.end]).tolist()
        active = [row for row, count in enumerate(num_fresh) if count]
        lengths = [ends[row] for row in active]
        index = torch.nonzero_static(fresh.flatten(), size=sum(num_fresh))[:, 0]
        target = torch.nonzero_static(read.flatten(), size=sum(num_read))[:, 0]
        asked = torch.where(target % L > 0, target - shift, target) if shift else target
        column, answer = index % L, fresh.flatten().cumsum(0).index_select(0, asked) - 1
        rows = None if len(active) == len(fresh) else torch.tensor(active, dtype=torch.int64, device=device)
        grids = [Grid.of([counts[row] for row in active], device) for counts in (num_fresh, num_read)]
        masks: list[Tensor | None] = [None, None]
        if min(lengths, default=0) < max(lengths, default=0) or not isinstance(rule, Bidirectional):
            columns = zip(grids, (column, column[answer]), strict=True)
            masks = [_visible(canvas, rule, rows, lengths, grid.pad(flat)) for grid, flat in columns]
        return cls(
            index=index,
            column=column,
            answer=answer,
            target=target,
            rows=rows,
            length=max(lengths, default=0),
            whole=sum(num_fresh) == sum(lengths),
            fresh=grids[0],
            read=grids[1],
            visible=masks[0],
            visible_last=masks[1],
        )

    def padded(self, keys: Float[Tensor, "Q G d"], values: Float[Tensor, "Q G d"]) -> tuple[Tensor, Tensor]:
        """Keys and values (A, G, C, d) where every column is recomputed, without a cache."""
        return self.fresh.pad(keys).transpose(1, 2), self.fresh.pad(values).transpose(1, 2)


def _visible(canvas: Canvas, rule: Rule, rows: Tensor | None, lengths: list[int], query: Tensor) -> Tensor | None:
    """(A, 1, width or 1, C): what each query may see, None where all see all."""
    length = max(lengths, default=0)
    start, end = (canvas.start, canvas.end) if rows is None else (canvas.start[rows], canvas.end[rows])
    key = canvas.column[:length][None, None]
    seen = rule(query[..., None], key, start[:, None, None])
    if min(lengths, default=0) < length:
        inside = key < end[:, None, None]
        seen = inside if seen is None else seen & inside
    return None if seen is None else seen[:, None]


def attend(
    grid: Grid,
    query: Float[Tensor, "Q H d"],
    keys: Float[Tensor, "A G C d"],
    values: Float[Tensor, "A G C d"],
    visible: Bool[Tensor, "A 1 #width C"] | None,
) -> Float[Tensor, "Q D"]:
    """Softmax attention of flat queries on the keys of their rows; G key heads serve H query heads."""
    wasted = grid.padding * keys.shape[2] * query.shape[1] * query.shape[2]
    if query.device.type == "cpu" and wasted > CALL * len(grid.counts):
        return _row_by_row(grid, query, keys, values, visible)
    out = _attention(grid.pad(query).transpose(1, 2), keys, values, visible)
    return grid.flat(out.transpose(1, 2).flatten(2))


def _row_by_row(grid: Grid, query: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """The same without padded queries."""
    rows = []
    for row, part in enumerate(query.split(grid.counts)):
        seen = None if visible is None else visible[row : row + 1, :, : len(part)]
        one = part.transpose(0, 1)[None]
        rows.append(_attention(one, keys[row : row + 1], values[row : row + 1], seen)[0].transpose(0, 1).flatten(1))
    return torch.cat(rows)


def _attention(query: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """(A, H, W, d) on keys and values (A, G, C, d)."""
    if query.device.type == "cpu" and query.dtype in HALF and any(x.requires_grad for x in (query, keys, values)):
        return products(query, keys, values, visible)  # the fused kernel's backward takes two to six times as long
    grouped = keys.shape[1] != query.shape[1]
    return F.scaled_dot_product_attention(query, keys, values, visible, enable_gqa=grouped)


def products(
    query: Float[Tensor, "A H W d"],
    keys: Float[Tensor, "A G C d"],
    values: Float[Tensor, "A G C d"],
    visible: Bool[Tensor, "A 1 #W C"] | None,
) -> Float[Tensor, "A H W d"]:
    """The same attention by two matrix products."""
    (A, H, W, d), (_, G, C, _) = query.shape, keys.shape
    bias = query.new_zeros(1)
    if visible is not None:
        bias = query.new_zeros(visible.shape).masked_fill(~visible, torch.finfo(query.dtype).min)
        bias = bias.expand(A, H, W, C).reshape(A * G, H // G * W, C)
    stacked = query.reshape(A * G, H // G * W, d)  # heads of a group on top of each other
    scores = torch.baddbmm(bias, stacked, keys.reshape(A * G, C, d).mT, alpha=d**-0.5)
    return torch.bmm(scores.softmax(-1).to(values.dtype), values.reshape(A * G, C, d)).view(A, H, W, d)


@runtime_checkable
class Scaling(Protocol):
    """(h,) frequencies in radians a column -> (h,) frequencies."""

    def __call__(self, frequency: Float[Tensor, " h"]) -> Float[Tensor, " h"]:
        """(h,) frequencies -> (h,) scaled frequencies."""
        ...


@dataclass(frozen=True, kw_only=True)
class Unscaled:
    """As they are."""

    def __call__(self, frequency: Float[Tensor, " h"]) -> Float[Tensor, " h"]:
        """(h,) frequencies -> the same."""
        return frequency


@dataclass(frozen=True, kw_only=True)
class Llama3:
    """Llama 3.1's (rope_type llama3): what turns slowly is slowed down by `factor`, what turns fast is left alone.

    Between `low` and `high` full turns over the `original` context the two are mixed linearly.
    """

    factor: float
    low: float
    high: float
    original: int  # columns

    def __call__(self, frequency: Float[Tensor, " h"]) -> Float[Tensor, " h"]:
        """(h,) frequencies -> (h,) scaled frequencies."""
        turns = frequency * (self.original / (2 * math.pi))
        kept = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return frequency * (kept + (1 - kept) / self.factor)
