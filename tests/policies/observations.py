"""What policies are tried on: networks whose output is not zero, made-up observations, decodes of the toy model."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from unveil.policies.confidence import (
    FASTEST,
    ROPE_BASE,
    ConfidencePolicy,
    ConfidenceSettings,
    Observation,
    PolicyBlock,
)  # fmt: skip

SMALL = {"width": 16, "feed_width": 24, "heads": 2}


def awake(
    seed: int = 0, *, dtype: torch.dtype = torch.float64, std: float = 0.3, **settings: object
) -> ConfidencePolicy:
    """A small policy all of whose weights matter, as after some training."""
    net = ConfidencePolicy(ConfidenceSettings(**{**SMALL, **settings}), seed=0)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(std * torch.randn(weight.shape, generator=generator))
    return net.to(dtype)


def made_up(
    lengths: Sequence[int],
    starts: Sequence[int],
    columns: int,
    *,
    features: int = 1,
    share: float = 0.6,
    dtype: torch.dtype = torch.float64,
) -> Observation:
    """Rows that see `lengths` columns from `starts` on, about `share` of them masks.

    Every row's numbers depend on its place in the list alone.
    """
    rows = []
    for row, (length, start) in enumerate(zip(lengths, starts, strict=True)):
        generator = torch.Generator().manual_seed(row)
        values = torch.zeros(columns, features + 1, dtype=dtype)
        values[start : start + length] = torch.rand(length, features + 1, generator=generator, dtype=dtype)
        seen = torch.zeros(columns, dtype=torch.bool)
        seen[start : start + length] = True
        numbers = torch.rand(3, generator=generator, dtype=dtype)
        rows.append((values[:, :features], values[:, features] > 1 - share, seen, *numbers))
    return Observation(*(torch.stack(field) for field in zip(*rows, strict=True)))


def rows_of(observation: Observation, index: Sequence[int]) -> Observation:
    """Some rows of it."""
    return Observation(*(field[list(index)] for field in observation))


def plain(net: ConfidencePolicy, observation: Observation) -> Tensor:
    """The network as the paper has it, row by row: the logits (B, L) of all columns that are seen, masks or not."""
    s, logits = net.settings, torch.zeros_like(observation.features[..., 0])
    waves = FASTEST ** torch.linspace(0, 1, s.width // 4, dtype=logits.dtype)
    for row, (features, masked, seen, time, share, alpha) in enumerate(zip(*observation, strict=True)):
        run = seen.nonzero()[:, 0]
        numbers = [time, share, (1 + alpha).log()][: 3 if s.alpha else 2]
        told = torch.cat([part for number in numbers for part in ((number * waves).cos(), (number * waves).sin())])
        condition = net.masked(masked[run].long()) + net.time(told)
        x = net.inputs(features[run])
        for block in net.blocks:
            x = _plain_block(block, s.heads, x, condition)  # type: ignore[arg-type]
        logits = logits.index_put((torch.tensor(row), run), net.output(net.norm(x))[:, 0])
    return logits


def _plain_block(block: PolicyBlock, heads: int, x: Tensor, condition: Tensor) -> Tensor:
    scale, shift, gate, feed_scale, feed_shift, feed_gate = block.adapt(condition).chunk(6, 1)
    h = block.attention_norm(x) * (1 + scale) + shift
    mixed = []
    for query, key, value in zip(
        *(part(h).chunk(heads, 1) for part in (block.query, block.key, block.value)), strict=True
    ):
        query, key = _turned(query), _turned(key)
        weights = (query @ key.conj().T).real / value.shape[1] ** 0.5
        mixed.append(weights.softmax(1) @ value)
    x = x + block.attended(torch.cat(mixed, 1)) * (1 + gate)
    h = block.feed_norm(x) * (1 + feed_scale) + feed_shift
    return x + block.down(F.gelu(block.up(h))) * (1 + feed_gate)


def _turned(x: Tensor) -> Tensor:
    """RoPE: the pairs (i, i + d/2) as complex numbers, turned by the column."""
    pairs = torch.complex(*x.chunk(2, 1))
    angle = ROPE_BASE ** -torch.linspace(0, 1, pairs.shape[1] + 1, dtype=x.dtype)[:-1]
    return pairs * torch.exp(1j * torch.arange(len(x))[:, None] * angle)
