"""Of logits over a vocabulary: the best token, the best few, entropy, truncation, a draw. All in float32 or more.

`by_ids` finds what is a sum over the vocabulary some ids at a time: the logits never stand in memory at once.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from unveil.models.denoiser import Want

BLOCK = 128  # ids; published vocabularies are multiples of it


def best(logits: Float[Tensor, "W V"]) -> Int64[Tensor, " W"]:
    """The most probable token, the lowest id of several: argmax, first over blocks of ids, then in the best block.

    On a CPU argmax takes ten times as long as amax, and so it sees only the blocks' maxima.
    """
    if logits.shape[-1] % BLOCK:
        return logits.argmax(-1)
    blocks = logits.unflatten(-1, (-1, BLOCK))
    block = blocks.amax(-1).argmax(-1)
    inside = blocks.gather(1, block[:, None, None].expand(-1, 1, BLOCK))[:, 0]
    return block * BLOCK + inside.argmax(-1)


def top(values: Float[Tensor, "W V"], k: int) -> tuple[Float[Tensor, "W k"], Int64[Tensor, "W k"]]:
    """The largest `k` and their ids: topk, looking only into the `k` best blocks."""
    if values.shape[-1] % BLOCK or values.shape[-1] <= k * BLOCK:
        return values.topk(k, -1)
    blocks = values.unflatten(-1, (-1, BLOCK))
    best_blocks = blocks.amax(-1).topk(k, -1).indices
    found, place = blocks.gather(1, best_blocks[..., None].expand(-1, -1, BLOCK)).flatten(1).topk(k, -1)
    return found, best_blocks.gather(1, place // BLOCK) * BLOCK + place % BLOCK


def entropy(logits: Float[Tensor, "W V"], probs: Float[Tensor, "W V"]) -> Float[Tensor, " W"]:
    """Nats: sum of p (max - logit), less the logarithm of the largest p. All terms are positive, nothing cancels.

    No logarithm for every token: six times as fast on a CPU.
    """
    below = (logits.amax(-1, keepdim=True) - logits).clamp_max_(torch.finfo(logits.dtype).max)  # 0 * inf is NaN
    return below.mul_(probs).sum(-1) - probs.amax(-1).log()


def truncate(logits: Float[Tensor, "W V"], *, top_p: float, top_k: int) -> Float[Tensor, "W V"]:
    """-inf outside the best `top_k` (0: all) and outside the smallest set with probability at least `top_p`.

    The best token always stays. Holtzman et al. 2020 (top-p), Fan et al. 2018 (top-k).
    """
    if top_p < 1:  # before top_k, as in Dream's published code: both sets are of the whole distribution
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        probs = ordered.softmax(-1)
        cut = probs.cumsum(-1) - probs >= top_p  # what stands before already has enough
        cut[..., 0] = False
        logits = logits.masked_fill(torch.zeros_like(cut).scatter(-1, order, cut), float("-inf"))
    if 0 < top_k < logits.shape[-1]:
        bar = top(logits, top_k)[0][:, -1:]
        logits = logits.masked_fill(logits < bar, float("-inf"))
    return logits


def draw(logits: Float[Tensor, "W V"], uniforms: Float64[Tensor, " W"]) -> Int64[Tensor, " W"]:
    """A token from softmax(logits) for each column, by inverting the distribution at one uniform number.

    In float64: 126k terms summed in float32 would lose the tail.
    """
    cumulated = logits.double().softmax(-1).cumsum(-1)
    drawn = torch.searchsorted(cumulated, uniforms[:, None] * cumulated[:, -1:], right=True)[:, 0]
    return drawn.clamp_max(logits.shape[-1] - 1)


IDS = 1 << 13  # at a time, however many columns: a row's sums do not depend on its batch
COLUMNS = 256  # at a time: 8 MiB of logits in float32


def sums_suffice(want: Want) -> bool:
    """Whether nothing is drawn, truncated or given whole."""
    truncated = want.tempered and (want.top_p < 1 or want.top_k > 0)
    return want.temperature == 0 and not truncated and not want.logits


@torch.no_grad()
def by_ids(
    hidden: Float[Tensor, "W D"], head: nn.Linear, want: Want, targets: Int64[Tensor, " W"] | None
) -> dict[str, Tensor]:
    """The fields of Prediction for a `want` of which sums suffice."""
    parts = []
    for begin in range(0, max(len(hidden), 1), COLUMNS):
        columns = slice(begin, begin + COLUMNS)
        told = None if targets is None else targets[columns]
        parts.append(_columns(hidden[columns], head, want, told))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _columns(hidden: Tensor, head: nn.Linear, want: Want, targets: Tensor | None) -> dict[str, Tensor]:
    sums, few = _Sums.none(hidden), _Few.none(hidden)
    told = torch.full_like(sums.largest, float("-inf"))
    for begin in range(0, len(head.weight), IDS):
        logits = _logits(hidden, head, begin, want.forbid)
        if targets is not None:
            told = _target(logits, begin, targets, told)
        if want.top:
            few = few.with_those_of(logits, begin, want.top)
        sums = sums.with_those_of(logits, begin, want.entropy)
    out = {}
    if targets is not None:
        out["log_probs"] = told - sums.largest - sums.total.log()
    if want.proposals:
        out |= {"tokens": sums.tokens, "confidence": sums.total.reciprocal()}
    if want.proposals and want.entropy:
        out["entropy"] = sums.below / sums.total + sums.total.log()
    if want.proposals and want.top:
        out["top_probs"] = (few.logits - sums.largest[:, None]).exp() / sums.total[:, None]
        out["top_ids"] = few.ids
    return out


def _logits(hidden: Tensor, head: nn.Linear, begin: int, forbid: tuple[int, ...]) -> Tensor:
    """Of the ids from `begin` on, at least in float32; nobody else holds them."""
    ids = slice(begin, begin + IDS)
    logits = F.linear(hidden, head.weight[ids], None if head.bias is None else head.bias[ids])
    logits = logits.to(torch.promote_types(hidden.dtype, torch.float32))
    for token in forbid:
        if 0 <= token - begin < logits.shape[1]:
            logits[:, token - begin] = float("-inf")
    return logits


def _target(logits: Tensor, begin: int, targets: Tensor, told: Tensor) -> Tensor:
    """The logits of the targets, where they are among these ids."""
    place = (targets - begin).clamp(0, logits.shape[1] - 1)
    return torch.where(place == targets - begin, logits.gather(1, place[:, None])[:, 0], told)


@dataclass(frozen=True, kw_only=True)
class _Few:
    """The largest logits so far."""

    logits: Float[Tensor, "W k"]
    ids: Int64[Tensor, "W k"]

    @classmethod
    def none(cls, hidden: Tensor) -> "_Few":
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        empty = hidden.new_empty(len(hidden), 0)
        return cls(logits=empty.to(dtype), ids=empty.long())

    def with_those_of(self, logits: Tensor, begin: int, k: int) -> "_Few":
        new, places = top(logits, min(k, logits.shape[1]))
        both, ids = torch.cat([self.logits, new], 1), torch.cat([self.ids, begin + places], 1)
        kept, places = both.topk(min(k, both.shape[1]), -1)
        return _Few(logits=kept, ids=ids.gather(1, places))


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """Sums over the ids so far, relative to the largest logit among them."""

    tokens: Int64[Tensor, " W"]  # whose logit is the largest, the lowest id of several
    largest: Float[Tensor, " W"]
    total: Float[Tensor, " W"]  # of exp(logit - largest)
    below: Float[Tensor, " W"]  # of (largest - logit) exp(logit - largest)

    @classmethod
    def none(cls, hidden: Tensor) -> "_Sums":
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        zero = hidden.new_zeros(len(hidden), dtype=dtype)
        least = torch.full_like(zero, torch.finfo(dtype).min)  # not -inf: nothing minus itself is to be 0
        return cls(tokens=zero.long(), largest=least, total=zero, below=zero)

    def with_those_of(self, logits: Tensor, begin: int, entropy: bool) -> "_Sums":
        """Writes into `logits`."""
        place = best(logits)
        value = logits.gather(1, place[:, None])[:, 0]
        largest = torch.maximum(self.largest, value)
        rise = largest - self.largest
        scale = (-rise).exp()
        logits.sub_(largest[:, None])
        below = self.below
        if entropy:
            risen = logits.exp()
            terms = logits.neg_().clamp_max_(torch.finfo(logits.dtype).max).mul_(risen)  # 0 * inf is NaN
            below = scale * (self.below + rise * self.total) + terms.sum(-1)
        else:
            risen = logits.exp_()
        return _Sums(
            tokens=torch.where(value > self.largest, begin + place, self.tokens),
            largest=largest,
            total=scale * self.total + risen.sum(-1),
            below=below,
        )
