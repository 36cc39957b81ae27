"""How many, by chance: the scores are logits, and every choice has an exact log-probability with gradients."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from unveil import noise
from unveil.canvas import Canvas
from unveil.sampling.picks import NEVER, Choice, Pick


@dataclass(frozen=True, kw_only=True)
class Coin(Pick):
    """Independent coins; the scores are their logits (the Bernoulli policy of Jazbec et al. 2025)."""

    salt: int = 3

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """Possibly none."""
        return Choice(eligible & (canvas.uniform(self.salt) < scores.sigmoid()))

    def log_prob(
        self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], choice: Choice
    ) -> Float[Tensor, " B"]:
        """Sum of log-sigmoids over the eligible columns."""
        loss = F.binary_cross_entropy_with_logits(scores, choice.chosen.to(scores), reduction="none")
        return -loss.masked_fill(~eligible, 0.0).sum(1)


@dataclass(frozen=True, kw_only=True)
class SomeCoins(Pick):
    """Independent coins, given that at least one shows heads; the scores are their logits.

    The first column is drawn with its exact probability, the coins after it fall freely: nothing is drawn again.
    """

    salt: int = 7

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """At least one."""
        first = (_first(scores, eligible) + noise.gumbel(canvas.uniform(self.salt))).argmax(1, keepdim=True)
        heads = canvas.uniform(self.salt + 1) < scores.sigmoid()  # new noise: the old numbers are no longer free
        return Choice(eligible & ((canvas.column == first) | (heads & (canvas.column > first))))

    def log_prob(
        self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], choice: Choice
    ) -> Float[Tensor, " B"]:
        """That of the coins, less log(1 - the product of all (1 - s)); 0 for rows without eligible columns."""
        some = _first(scores, eligible).logsumexp(1)  # the first is some column: safe where all s are tiny
        heads = Coin().log_prob(scores, eligible, choice) - some.masked_fill(~eligible.any(1), 0.0)
        return heads.masked_fill(_empty(eligible, choice), NEVER)


@dataclass(frozen=True, kw_only=True)
class CoinsOrBest(Coin):
    """Independent coins; where none shows heads, the best column (Jazbec et al. 2025, Algorithm 1, at evaluation)."""

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """At least one."""
        heads = super().__call__(scores, eligible, canvas).chosen
        return Choice(heads | (_highest(scores, eligible) & ~heads.any(1, keepdim=True)))

    def log_prob(
        self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], choice: Choice
    ) -> Float[Tensor, " B"]:
        """That of the coins; the best column alone stands for no heads, too."""
        heads = super().log_prob(scores, eligible, choice)
        none = super().log_prob(scores, eligible, Choice(torch.zeros_like(eligible)))
        alone = (choice.chosen == _highest(scores, eligible)).all(1) & eligible.any(1)
        return torch.where(alone, torch.logaddexp(heads, none), heads).masked_fill(_empty(eligible, choice), NEVER)


def _empty(eligible: Tensor, choice: Choice) -> Tensor:
    """Rows where nothing was chosen and something could have been: impossible for picks that open at least one."""
    return eligible.any(1) & ~choice.chosen.any(1)


def _highest(scores: Tensor, eligible: Tensor) -> Tensor:
    """The best eligible column of each row, the lowest of equals; none in a row without one."""
    column = torch.arange(scores.shape[1], device=scores.device)
    return eligible & (column == scores.masked_fill(~eligible, NEVER).argmax(1, keepdim=True))


def _first(scores: Tensor, eligible: Tensor) -> Tensor:
    """The log-probability that a column is the first to show heads; very low, but finite, where not eligible."""
    tails = F.logsigmoid(-scores).masked_fill(~eligible, 0.0).cumsum(1)
    before = torch.cat([torch.zeros_like(tails[:, :1]), tails[:, :-1]], 1)
    return (F.logsigmoid(scores) + before).masked_fill(~eligible, torch.finfo(scores.dtype).min / 4)


@dataclass(frozen=True, kw_only=True)
class PlackettLuce(Pick):
    """A first column from softmax(scores), then more without replacement until STOP, whose score is `stop`.

    Dynamic Plackett-Luce sampling of Jazbec et al. 2025 (arXiv 2512.09106, appendix E): never an empty step.
    """

    stop: float = 0.0
    salt: int = 5

    def __call__(self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], canvas: Canvas) -> Choice:
        """At least one, in the order drawn."""
        scores = scores.masked_fill(~eligible, NEVER)
        first = canvas.column == (scores + noise.gumbel(canvas.uniform(self.salt))).argmax(1, keepdim=True)
        # New noise for the rest: given the first, the old numbers are no longer free.
        keys = scores + noise.gumbel(canvas.uniform(self.salt + 1))
        ends = torch.full_like(canvas.seed, -1)
        end = self.stop + noise.gumbel(noise.uniform(canvas.seed, canvas.nfe, self.salt + 1, ends))
        chosen = eligible & (first | (keys > end[:, None]))
        rank = keys.masked_fill(first, float("inf")).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return Choice(chosen, rank.masked_fill(~chosen, -1))

    def log_prob(
        self, scores: Float[Tensor, "B L"], eligible: Bool[Tensor, "B L"], choice: Choice
    ) -> Float[Tensor, " B"]:
        """The log-probability of the ordered sequence, STOP included; 0 for rows without eligible columns."""
        assert choice.order is not None
        chosen, low = choice.chosen, torch.finfo(scores.dtype).min / 4  # finite: -inf would make gradients NaN
        rest = scores.masked_fill(~eligible | chosen, low).logsumexp(1, keepdim=True)
        places = choice.order.masked_fill(~chosen, scores.shape[1]).argsort(dim=1, stable=True)
        drawn = scores.masked_fill(~chosen, low).gather(1, places)
        left = torch.logaddexp(drawn.flip(1).logcumsumexp(1).flip(1), rest)
        stop = torch.full_like(rest, self.stop)
        left = torch.cat([left[:, :1], torch.logaddexp(left[:, 1:], stop)], 1)
        terms = (drawn - left).masked_fill(~chosen.gather(1, places), 0.0).sum(1)
        return (terms + (stop - torch.logaddexp(stop, rest))[:, 0]) * eligible.any(1)
