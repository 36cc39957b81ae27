"""The confidence policy: a small diffusion transformer that sees how sure the model is, and where masks are.

Jazbec et al. 2025 (arXiv 2512.09106, section 3 and appendix I), with two changes: real time features, and a zero
output weight, so that a fresh policy opens every mask with exactly the initial rate.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unveil.models.attention import Grid, attend
from unveil.models.denoiser import Want
from unveil.models.transformer import rotate
from unveil.policies.learned import Observation, Policy
from unveil.sampling.propose import Proposal

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


class ConfidencePolicy(Policy):
    """Observation -> logits of masks. A row's do not depend on the batch, nor on columns it does not see.

    Nobody asks for the logits of columns without a mask, so the last block computes but their keys and values.
    """

    name: ClassVar[str] = "confidence"
    Settings: ClassVar[type[ConfidenceSettings]] = ConfidenceSettings

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

    def require(self, want: Want) -> Want:
        """The largest probabilities and, as the settings say, the entropy."""
        s = self.settings
        top = max(s.top, 1 + s.margin)
        alone = top == 1 and want.temperature == 0  # then the proposal is the most probable token
        return replace(want, top=max(want.top, 0 if alone else top), entropy=want.entropy or s.entropy)

    def features(self, proposal: Proposal) -> Float[Tensor, "B L F"]:
        """Probabilities: the largest ones, exp(-entropy), margin, as the settings say."""
        s = self.settings
        probs = proposal.confidence[..., None] if proposal.top_probs is None else proposal.top_probs
        features = [probs[..., : s.top]]
        if s.entropy:
            assert proposal.entropy is not None
            features.append((-proposal.entropy).exp()[..., None])
        if s.margin:
            features.append(probs[..., :1] - probs[..., 1:2])
        return torch.cat(features, -1)

    def forward(self, seen: Observation) -> Float[Tensor, "B L"]:
        """One logit for every mask that is seen, 0 in other columns."""
        s, columns = self.settings, Columns.of(seen)
        numbers = torch.stack([seen.time, seen.share, seen.alpha.log1p()][: 3 if s.alpha else 2], 1)
        time = self.time(_waves(numbers, s.width // 4).flatten(1))
        condition = (self.masked.weight + time[:, None]).flatten(0, 1)  # a row's columns without a mask, and its masks
        x = self.inputs(seen.features.flatten(0, 1).index_select(0, columns.index))
        turn = _rotation(columns.rank, columns.seen.width, s.width // s.heads, x)
        for number, block in enumerate(self.blocks, 1):
            x = block(x, condition, turn, columns, last=number == s.layers)
        logits = self.output(self.norm(x))[:, 0]
        return logits.new_zeros(seen.seen.numel()).index_copy(0, columns.target, logits).view(seen.seen.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """Where the Q columns that are seen are, and the W masks among them: linear layers run on exactly those.

    One transfer to the host a forward, of the sizes. Rows that see nothing are left out of the A rows of the grids.
    """

    rank: Int64[Tensor, " Q"]  # within the row's run
    index: Int64[Tensor, " Q"]  # row * L + column
    kind: Int64[Tensor, " Q"]  # 2 * row, and 1 more for a mask
    answer: Int64[Tensor, " W"]  # places in 0..Q-1 of the masks
    target: Int64[Tensor, " W"]  # row * L + column of the masks
    seen: Grid
    asked: Grid
    visible: Bool[Tensor, "A 1 1 C"] | None  # the keys of each row, None where no row is padded

    @classmethod
    def of(cls, seen: Observation) -> "Columns":
        """The columns that an observation sees."""
        device, asked = seen.seen.device, seen.seen & seen.masked
        counts = torch.stack([seen.seen.sum(1), asked.sum(1)], 1).tolist()
        lengths, asks = [many for many, _ in counts if many], [few for many, few in counts if many]
        index = torch.nonzero_static(seen.seen.flatten(), size=sum(lengths))[:, 0]
        masked = seen.masked.flatten().index_select(0, index)
        answer = torch.nonzero_static(masked, size=sum(asks))[:, 0]
        widest, visible = max(lengths, default=0), None
        if min(lengths, default=0) < widest:
            visible = torch.arange(widest, device=device) < torch.tensor(lengths, device=device)[:, None, None, None]
        return cls(
            rank=(seen.seen.cumsum(1) - 1).flatten().index_select(0, index),
            index=index,
            kind=2 * (index // seen.seen.shape[1]) + masked,
            answer=answer,
            target=index.index_select(0, answer),
            seen=Grid.of(lengths, device),
            asked=Grid.of(asks, device),
            visible=visible,
        )


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
        x: Float[Tensor, "Q D"],
        condition: Float[Tensor, "R D"],
        turn: tuple[Tensor, Tensor],
        columns: Columns,
        last: bool,
    ) -> Float[Tensor, "W D"]:
        """The residual stream after this block, in the last one only at the masks."""
        scale, shift, gate, feed_scale, feed_shift, feed_gate = self.adapt(condition).chunk(6, 1)
        kind, grid = columns.kind, columns.seen
        h = torch.addcmul(F.embedding(kind, shift), self.attention_norm(x), F.embedding(kind, 1 + scale))
        keys, values = rotate(self._heads(self.key(h)), turn), self._heads(self.value(h))
        keys, values = (grid.pad(part).transpose(1, 2) for part in (keys, values))
        if last:
            grid = columns.asked
            x, h, kind, *turned = (t.index_select(0, columns.answer) for t in (x, h, kind, *turn))
            turn = turned[0], turned[1]
        h = attend(grid, rotate(self._heads(self.query(h)), turn), keys, values, columns.visible)
        x = torch.addcmul(x, self.attended(h), F.embedding(kind, 1 + gate))
        h = torch.addcmul(F.embedding(kind, feed_shift), self.feed_norm(x), F.embedding(kind, 1 + feed_scale))
        return torch.addcmul(x, self.down(F.gelu(self.up(h))), F.embedding(kind, 1 + feed_gate))

    def _heads(self, x: Float[Tensor, "Q D"]) -> Float[Tensor, "Q H d"]:
        return x.view(x.shape[0], self.heads, x.shape[1] // self.heads)


def _waves(x: Float[Tensor, "B N"], num: int) -> Float[Tensor, "B N W"]:
    """Cosines and sines of x at `num` frequencies, from one radian to FASTEST per unit."""
    angle = x[..., None] * torch.logspace(0, math.log10(FASTEST), num, device=x.device, dtype=x.dtype)
    return torch.cat([angle.cos(), angle.sin()], -1)


def _rotation(rank: Int64[Tensor, " Q"], width: int, head_width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines (Q, 1, head width) of RoPE (Su et al. 2021), ranks below `width`; at least float32."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    half = torch.arange(0, head_width, 2, device=rank.device, dtype=dtype) / head_width
    angle = torch.arange(width, device=rank.device).to(dtype)[:, None, None] * (ROPE_BASE**half).reciprocal()
    both = torch.cat([-angle, angle], -1)
    return both.cos().index_select(0, rank), both.sin().index_select(0, rank)
