"""Rows of one length through a Transformer's weights, written plainly: every column, every layer, no cache.

With tests/plain/loops.py it is the specification that samplers are compared with, and the loop that they must not be
slower than.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from unveil.models.attention import Bidirectional
from unveil.models.transformer import Layer, Transformer


class Dense:
    """`Dense(model)(ids)`: (L,) -> logits (L, V), position i for the token at i. The weights are the model's own."""

    def __init__(self, model: Transformer) -> None:
        a = model.architecture
        assert isinstance(a.rule, Bidirectional), "only bidirectional attention is written here"
        self.model, self.a = model, a
        dtype = torch.promote_types(model.embed.weight.dtype, torch.float32)
        frequency = 1.0 / a.rope_base ** (torch.arange(0, a.head_width, 2, dtype=dtype) / a.head_width)
        angle = torch.outer(torch.arange(a.max_columns, dtype=dtype), frequency).repeat(1, 2)
        self.cos, self.sin = angle.cos(), angle.sin()

    @torch.no_grad()
    def __call__(self, ids: Tensor) -> Tensor:
        return linear(self.hidden(ids[None])[0], self.model.head)

    def hidden(self, ids: Tensor) -> Tensor:
        """(B, L) -> what the head turns into logits, (B, L, D)."""
        x = F.embedding(ids, self.model.embed.weight)
        for layer in self.model.layers:
            assert isinstance(layer, Layer)
            x = x + self.attention(layer, self.norm(x, layer.attention_norm))
            h = self.norm(x, layer.feed_norm)
            x = x + linear(F.silu(linear(h, layer.gate)) * linear(h, layer.up), layer.down)
        x = self.norm(x, self.model.norm)
        return torch.cat([x[:, :1], x[:, :-1]], 1) if self.a.shift else x  # the column before answers

    def attention(self, layer: Layer, x: Tensor) -> Tensor:
        query, key = self.rotate(self.heads(linear(x, layer.query))), self.rotate(self.heads(linear(x, layer.key)))
        value, groups = self.heads(linear(x, layer.value)), self.a.heads // self.a.kv_heads
        if groups > 1:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        return linear(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2), layer.output)

    def heads(self, x: Tensor) -> Tensor:
        """(B, L, H * d) -> (B, H, L, d)."""
        return x.view(*x.shape[:2], -1, self.a.head_width).transpose(1, 2)

    def rotate(self, x: Tensor) -> Tensor:
        """RoPE on the pairs (i, i + d/2)."""
        left, right = x.chunk(2, -1)
        length = x.shape[2]
        return (x * self.cos[:length] + torch.cat([-right, left], -1) * self.sin[:length]).to(x.dtype)

    def norm(self, x: Tensor, module: torch.nn.RMSNorm) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], module.weight, self.a.norm_eps)


def linear(x: Tensor, module: torch.nn.Linear) -> Tensor:
    return F.linear(x, module.weight, module.bias)
