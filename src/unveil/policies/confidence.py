"""The confidence policy: a small diffusion transformer that sees how sure the model is, and where masks are.

Jazbec et al. 2025 (arXiv 2512.09106, section 3 and appendix I), with two changes: real time features, and a zero
output weight, so that a fresh policy opens every mask with exactly the initial rate.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

VIEWS = ("row", "block")
FASTEST = 100.0  # radians per unit of the fastest wave: hundredths of the time can be told apart
ROPE_BASE = 10000.0


@dataclass(frozen=True, kw_only=True)
class ConfidenceSettings:
    """Sizes and inputs of a confidence policy; the defaults are the paper's configuration, 331,265 parameters.

    Raises ValueError for settings that fit no network.
    """

    width: int = 128
    feed_width: int = 512
    heads: int = 2
    layers: int = 1
    top: int = 1  # the largest `top` probabilities are inputs
    entropy: bool = False  # exp(-entropy) is an input
    margin: bool = False  # the distance between the two largest probabilities is an input
    view: str = "row"  # it sees the row's whole answer region, or the block being denoised
    rate: float = 0.12  # a fresh policy opens a mask with this probability (the paper: about sigmoid(-2))
    alpha: bool = False  # it is told the weight of speed, so that one policy serves every weight

    def __post_init__(self) -> None:
        for name in ("width", "feed_width", "heads", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is not positive: give at least 1")
        if self.width % 4 or self.width % (2 * self.heads):
            raise ValueError(
                f"width={self.width} does not fit heads={self.heads}: it must be a multiple of 4 and of twice the heads"
            )
        if not 1 <= self.top <= 64:
            raise ValueError(f"top={self.top} is outside 1..64: 1 is the confidence alone")
        if self.view not in VIEWS:
            raise ValueError(f"view={self.view!r} is unknown: choose one of {', '.join(VIEWS)}")
        if not 0 < self.rate < 1:
            raise ValueError(f"rate={self.rate} is outside (0, 1): it is the probability that a mask opens")

    @property
    def num_features(self) -> int:
        """Numbers that the policy gets for each column."""
        return self.top + self.entropy + self.margin


class Observation(NamedTuple):
    """What a policy sees of a step. Logits follow from it alone, so a stored one is enough to train on.

    `seen` is one run of columns a row; what the other fields say of other columns has no influence.
    """

    features: Float[Tensor, "B L F"]  # probabilities: the largest ones, exp(-entropy), margin, as the settings say
    masked: Bool[Tensor, "B L"]
    seen: Bool[Tensor, "B L"]
    time: Float[Tensor, " B"]  # forwards so far / new tokens
    share: Float[Tensor, " B"]  # masks left / new tokens
    alpha: Float[Tensor, " B"]  # the weight of speed, 0 where the policy is not told


class ConfidencePolicy(nn.Module):
    """Observation -> logits. A row's logits do not depend on the batch, nor on columns it does not see."""

    def __init__(self, settings: ConfidenceSettings, *, seed: int = 0) -> None:
        super().__init__()
        s = settings
        self.settings = s
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.inputs = nn.Linear(s.num_features, s.width)
            self.masked = nn.Embedding(2, s.width)
            self.time = nn.Sequential(
                nn.Linear((3 if s.alpha else 2) * s.width // 2, s.width), nn.SiLU(), nn.Linear(s.width, s.width)
            )
            self.blocks = nn.ModuleList(PolicyBlock(s) for _ in range(s.layers))
            self.norm = nn.LayerNorm(s.width)
            self.output = nn.Linear(s.width, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.constant_(self.output.bias, math.log(s.rate) - math.log1p(-s.rate))

    def __repr__(self) -> str:
        return f"ConfidencePolicy({self.settings!r})"

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and of observations."""
        return self.output.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.output.weight.device

    def forward(self, seen: Observation) -> Float[Tensor, "B L"]:
        """One logit for every column, 0 where the row sees nothing."""
        B, L = seen.seen.shape
        count = seen.seen.sum(1, keepdim=True)
        rank = torch.arange(max(1, int(count.max())), device=seen.seen.device)
        inside = rank < count
        place = (seen.seen.int().argmax(1, keepdim=True) + rank) % L  # the run first, then columns that do not count
        features = seen.features.gather(1, place[..., None].expand(-1, -1, seen.features.shape[2]))
        x = self.inputs(features)
        waves = [seen.time, seen.share, seen.alpha.log1p()][: 3 if self.settings.alpha else 2]
        time = self.time(torch.cat([_waves(number, self.settings.width // 4) for number in waves], 1))
        condition = self.masked.weight + time[:, None]  # one for columns without a mask, one for masks
        masked = seen.masked.gather(1, place)[..., None]
        turn = _rotation(rank, self.settings.width // self.settings.heads, x.dtype)
        visible = (inside | ~inside.any(1, keepdim=True))[:, None, None]  # not every kernel takes a row without keys
        for block in self.blocks:
            x = block(x, condition, masked, turn, visible)
        logits = self.output(self.norm(x))[..., 0].masked_fill(~inside, 0.0)
        return logits.new_zeros(B, L).scatter(1, place, logits)


class PolicyBlock(nn.Module):
    """Attention and feed-forward; the time and the mask scale, shift and gate both (adaLN, gates of 1 + g)."""

    def __init__(self, settings: ConfidenceSettings) -> None:
        super().__init__()
        width, feed_width = settings.width, settings.feed_width
        self.heads = settings.heads
        self.adapt = nn.Linear(width, 6 * width)
        self.attention_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.attended = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, feed_width)
        self.down = nn.Linear(feed_width, width)
        nn.init.zeros_(self.adapt.weight)
        nn.init.zeros_(self.adapt.bias)

    def forward(
        self,
        x: Float[Tensor, "B W D"],
        condition: Float[Tensor, "B 2 D"],
        masked: Bool[Tensor, "B W 1"],
        turn: tuple[Tensor, Tensor],
        visible: Bool[Tensor, "B 1 1 W"],
    ) -> Float[Tensor, "B W D"]:
        """The residual stream after this block."""
        shown, hidden = self.adapt(condition)[:, :, None].unbind(1)
        scale, shift, gate, feed_scale, feed_shift, feed_gate = torch.where(masked, hidden, shown).chunk(6, -1)
        h = self.attention_norm(x) * (1 + scale) + shift
        queries, keys = (_rotate(self._split(project(h)), turn) for project in (self.query, self.key))
        h = F.scaled_dot_product_attention(queries, keys, self._split(self.value(h)), attn_mask=visible)
        x = x + self.attended(h.transpose(1, 2).flatten(2)) * (1 + gate)
        h = self.feed_norm(x) * (1 + feed_scale) + feed_shift
        return x + self.down(F.gelu(self.up(h))) * (1 + feed_gate)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


def _waves(x: Float[Tensor, " B"], num: int) -> Float[Tensor, "B N"]:
    """Cosines and sines of x at `num` frequencies, from one radian to FASTEST per unit."""
    angle = x[:, None] * torch.logspace(0, math.log10(FASTEST), num, device=x.device, dtype=x.dtype)
    return torch.cat([angle.cos(), angle.sin()], 1)


def _rotation(rank: Tensor, head_width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines (W, head width) of RoPE (Su et al. 2021)."""
    half = torch.arange(0, head_width, 2, device=rank.device, dtype=dtype) / head_width
    angle = rank.to(dtype)[:, None] * (ROPE_BASE**half).reciprocal()
    both = torch.cat([-angle, angle], 1)
    return both.cos(), both.sin()


def _rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = turn
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin
