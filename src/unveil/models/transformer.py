"""The one transformer: RMSNorm, RoPE, SwiGLU, grouped heads; LLaDA, Dream and Llama-like models are sizes of it.

It embeds tokens or soft tokens, recomputes the columns in `fresh` and answers for the columns in `read`. Linear layers
run on exactly those columns, and the last layer's queries are only the columns that answer.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unveil.canvas import SOFT, SOFT_MASK, Canvas
from unveil.models.attention import Bidirectional, Causal, Layout, Rule, Scaling, Unscaled, attend
from unveil.models.denoiser import Outline, Prediction, Want
from unveil.models.kv import KVBuffer
from unveil.models.reduce import answer, shown_ids

Store = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Sizes and switches of a transformer; the same for every published layout."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    feed_width: int
    mask_id: int | None  # of [MASK]; only a causal model may have none
    end_ids: tuple[int, ...] = ()
    max_columns: int = 4096
    norm_eps: float = 1e-5
    rope_base: float = 500000.0
    rope_scaling: Scaling = field(default_factory=Unscaled)
    qkv_bias: bool = False
    output_bias: bool = False
    feed_bias: bool = False
    head_bias: bool = False
    qk_norm: bool = False  # RMSNorm of every head's query and key (Qwen3)
    tied: bool = False
    shift: int = 0  # 1: column i is predicted at column i - 1 (Dream, causal models)
    rule: Rule = field(default_factory=Bidirectional)

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads={self.kv_heads} does not divide heads={self.heads}: choose a divisor")
        if self.head_width % 2:
            raise ValueError(f"head_width={self.head_width} is odd: RoPE rotates pairs, choose an even width")
        if self.mask_id is None and not isinstance(self.rule, Causal):
            raise ValueError(f"mask_id is missing, which a model under {self.rule} needs: name the id of [MASK]")
        if self.mask_id is not None and not 0 <= self.mask_id < self.vocabulary:
            raise ValueError(f"mask_id={self.mask_id} is outside the vocabulary 0..{self.vocabulary - 1}")

    @property
    def outline(self) -> Outline:
        """What callers must know of such a transformer."""
        return Outline(
            vocabulary=self.vocabulary, mask_id=self.mask_id, end_ids=self.end_ids, context=self.max_columns,
            width=self.width, rule=self.rule, shift=self.shift,
        )  # fmt: skip


class Layer(nn.Module):
    """Attention and feed-forward, both with a norm before and a residual around."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.head_width = a.head_width
        self.attention_norm = nn.RMSNorm(a.width, eps=a.norm_eps)
        self.query = nn.Linear(a.width, a.heads * a.head_width, bias=a.qkv_bias)
        self.key = nn.Linear(a.width, a.kv_heads * a.head_width, bias=a.qkv_bias)
        self.value = nn.Linear(a.width, a.kv_heads * a.head_width, bias=a.qkv_bias)
        self.query_norm, self.key_norm = (
            nn.RMSNorm(a.head_width, eps=a.norm_eps) if a.qk_norm else nn.Identity() for _ in range(2)
        )
        self.output = nn.Linear(a.heads * a.head_width, a.width, bias=a.output_bias)
        self.feed_norm = nn.RMSNorm(a.width, eps=a.norm_eps)
        self.gate = nn.Linear(a.width, a.feed_width, bias=a.feed_bias)
        self.up = nn.Linear(a.width, a.feed_width, bias=a.feed_bias)
        self.down = nn.Linear(a.feed_width, a.width, bias=a.feed_bias)

    def forward(
        self, x: Float[Tensor, "Q D"], turn: tuple[Tensor, Tensor], layout: Layout, store: Store, last: bool
    ) -> Float[Tensor, "W D"]:
        """The residual stream after this layer, in the last layer only at the columns that answer.

        `store` takes this layer's keys and values and gives those to be seen.
        """
        normed = self.attention_norm(x)
        keys = rotate(self.key_norm(self.heads(self.key(normed))), turn)
        keys, values = store(keys, self.heads(self.value(normed)))
        grid, visible = layout.fresh, layout.visible
        if last:
            grid, visible = layout.read, layout.visible_last
            x, normed, *turned = (t.index_select(0, layout.answer) for t in (x, normed, *turn))
            turn = turned[0], turned[1]
        queries = rotate(self.query_norm(self.heads(self.query(normed))), turn)
        x = x + self.output(attend(grid, queries, keys, values, visible))
        h = self.feed_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))

    def heads(self, x: Float[Tensor, "Q D"]) -> Float[Tensor, "Q H d"]:
        """The same numbers, head by head."""
        return x.view(x.shape[0], x.shape[1] // self.head_width, self.head_width)  # -1 fails where no column is read


class Transformer(nn.Module):
    """A denoiser over the canvas."""

    _no_split_modules = ("Layer",)  # what Accelerate wraps for FSDP, unless its configuration names a class

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = architecture
        self.architecture = a
        self.embed = nn.Embedding(a.vocabulary, a.width)
        self.layers = nn.ModuleList(Layer(a) for _ in range(a.layers))
        self.norm = nn.RMSNorm(a.width, eps=a.norm_eps)
        self.head = nn.Linear(a.width, a.vocabulary, bias=a.head_bias)
        if a.tied:
            self.head.weight = self.embed.weight
        self.recompute = False

    def gradient_checkpointing_enable(self) -> None:
        """Keep no activations inside the layers; the backward pass computes them again. Not where a cache is used."""
        self.recompute = True

    def gradient_checkpointing_disable(self) -> None:
        """Keep the activations again."""
        self.recompute = False

    @contextmanager
    def recomputing(self) -> Iterator[None]:
        """Inside, layers keep no activations: a prompt that can be answered is not too long for its gradients."""
        before, self.recompute = self.recompute, True
        try:
            yield
        finally:
            self.recompute = before

    @property
    def outline(self) -> Outline:
        """What callers must know of the model."""
        return self.architecture.outline

    def new_cache(self, canvas: Canvas) -> KVBuffer:
        """An empty KV buffer for the rows and columns of `canvas`; under guidance give it the doubled canvas."""
        a = self.architecture
        B, L = canvas.tokens.shape
        return KVBuffer.empty(
            self.embed.weight, layers=a.layers, rows=B, columns=L, heads=a.kv_heads, head_width=a.head_width
        )

    def forward(
        self,
        canvas: Canvas,
        fresh: Bool[Tensor, "B L"],
        read: Bool[Tensor, "B L"],
        cache: KVBuffer | None,
        want: Want,
    ) -> Prediction:
        """See Denoiser. Raises ValueError for a canvas beyond the context or a partial row without a cache."""
        a = self.architecture
        if canvas.tokens.shape[1] > a.max_columns:
            raise ValueError(
                f"the canvas has {canvas.tokens.shape[1]} columns and the model's context is {a.max_columns}: "
                "shorten the prompt or ask for fewer new tokens"
            )
        layout = Layout.of(canvas, fresh, read, shift=a.shift, rule=a.rule)
        if cache is None and not layout.whole:
            raise ValueError("without a cache every column of a row must be recomputed: pass fresh=canvas.inside")
        hidden = self.body(canvas, layout, cache)
        return answer(hidden, self.head, self.embed, canvas, want, index=layout.target, vocabulary=a.vocabulary)

    def body(self, canvas: Canvas, layout: Layout, cache: KVBuffer | None) -> Float[Tensor, "W D"]:
        """Normed hidden states that answer; the head is linear in them."""
        x = self.embedded(canvas, layout.index)
        turn = rotation(layout.column, self.architecture, x)
        stores: list[Store] = [layout.padded] * len(self.layers)
        if cache is not None:
            slots = cache.slots(layout.index)
            stores = [partial(cache.exchange, n, slots, layout.rows, layout.length) for n in range(len(self.layers))]
        again = self.recompute and cache is None and torch.is_grad_enabled()
        for number, (layer, store) in enumerate(zip(self.layers, stores, strict=True), 1):
            given = (x, turn, layout, store, number == len(self.layers))
            x = checkpoint(layer, *given, use_reentrant=False) if again else layer(*given)
        return self.norm(x)

    def embedded(self, canvas: Canvas, index: Int64[Tensor, " Q"]) -> Float[Tensor, "Q D"]:
        """What the flat columns at `index` show the model: their token, or their mixture in a soft stage."""
        most = self.architecture.vocabulary
        tokens = shown_ids(canvas.tokens.flatten().index_select(0, index), most)
        if canvas.soft_ids.shape[2] == 0:
            return self.embed(tokens)
        stage = canvas.stage.flatten()[index]
        soft = ((stage == SOFT_MASK) | (stage == SOFT))[:, None]
        ids = torch.where(soft, shown_ids(canvas.soft_ids.flatten(0, 1)[index], most), tokens[:, None])
        weights = canvas.soft_weights.flatten(0, 1)[index].to(self.embed.weight.dtype)
        alone = torch.arange(weights.shape[1], device=weights.device) == 0
        weights = torch.where(soft, weights, alone.to(weights))
        return F.embedding_bag(ids, self.embed.weight, mode="sum", per_sample_weights=weights)  # no (Q, K, D)


def rotation(column: Int64[Tensor, " Q"], a: Architecture, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines (Q, 1, head width) of RoPE (Su et al. 2021), at least in float32."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    half = torch.arange(0, a.head_width, 2, device=column.device, dtype=dtype) / a.head_width
    angle = column.to(dtype)[:, None, None] * a.rope_scaling((a.rope_base**half).reciprocal())
    both = torch.cat([-angle, angle], -1)
    return both.cos(), both.sin()


def rotate(x: Float[Tensor, "Q H d"], turn: tuple[Tensor, Tensor]) -> Float[Tensor, "Q H d"]:
    """Rotate the pairs (i, i + d/2) of each head, in at least float32 as the published codes do."""
    cos, sin = turn
    wide = x.to(cos.dtype)
    return (wide * cos).add_(wide.roll(x.shape[-1] // 2, -1).mul_(sin)).to(x.dtype)  # in place: twice as fast on a CPU


def initialise(model: Transformer, seed: int, std: float = 0.02) -> Transformer:
    """Normal weights of `std`; projections back into the residual stream divided by sqrt(2 * layers) (GPT-2)."""
    generator = torch.Generator().manual_seed(seed)
    scale = (2 * model.architecture.layers) ** -0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                narrow = scale if name.endswith(("output.weight", "down.weight")) else 1.0
                parameter.normal_(0.0, std * narrow, generator=generator)
            elif name.endswith("bias"):
                parameter.zero_()
    return model
