"""Log-likelihoods of given tokens: a bound for masked diffusion models, the exact sum for autoregressive ones.

A masked diffusion model has no likelihood that one forward gives. LLaDA (Nie et al. 2025, arXiv 2502.09992, eq. 6 and
its appendix on evaluation) bounds it from below: of the L tokens to score hide l, every number from 1 to L equally
often, and weigh the log-probabilities of those by L / l; their mean over l and over the hidden ones is the bound.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import comb, inf, nan
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unveil import noise
from unveil.canvas import DECODED, Canvas
from unveil.models.attention import Bidirectional, Causal, Rule
from unveil.models.denoiser import Denoiser, Want
from unveil.sampling.picks import Threshold
from unveil.sampling.sampler import Sampler, Select

LEVEL_SALT, ORDER_SALT = 21, 22


class Text(NamedTuple):
    """Tokens to score and what stands before them (possibly nothing). Texts with one seed are hidden alike."""

    context: Sequence[int]
    continuation: Sequence[int]
    seed: int = 0

    @property
    def length(self) -> int:
        """All columns."""
        return len(self.context) + len(self.continuation)


class Likelihood(NamedTuple):
    """Of one text, in nats."""

    log_prob: float
    error: float  # standard error of log_prob: 0 where it is exact, NaN for one sample
    forwards: int  # rows that went through the model for it


class Views(NamedTuple):
    """N ways to show a text of L tokens, drawn S times; the estimate sums weight * log-probabilities over the draws."""

    hidden: Bool[Tensor, "N L"]
    read: Bool[Tensor, "N L"]  # the tokens whose log-probabilities count
    draws: Int64[Tensor, " S"]  # which of the N
    weight: Float64[Tensor, " S"]
    exact: bool = True  # False: draws 2i and 2i + 1 are independent and of one kind


@runtime_checkable
class Estimator(Protocol):
    """How log-likelihoods are computed."""

    def greedy(self, denoiser: Denoiser, canvas: Canvas, wanted: Int64[Tensor, "B L"]) -> Bool[Tensor, " B"]:
        """Whether greedy decoding, one token a forward, writes what is wanted into a row's masks."""
        ...

    def views(self, length: int, seed: int) -> Views:
        """The views of `length` tokens."""
        ...


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The masked diffusion bound from `samples` views, or exactly where there are no more ways to hide than that.

    The shares hidden are stratified: `samples` / 2 strata of (0, 1) with two draws in each, whose differences give the
    standard error. Numbers come from the seed, the draw and the place alone: of texts with one seed and length the same
    tokens are hidden, of a longer one the same share, in the same order of places.
    """

    samples: int = 128

    def __post_init__(self) -> None:
        if self.samples != 1 and (self.samples < 2 or self.samples % 2):
            raise ValueError(
                f"samples={self.samples} is neither 1 nor even: they come in pairs, give 1 or 2, 4, 6, ..."
            )

    def greedy(self, denoiser: Denoiser, canvas: Canvas, wanted: Int64[Tensor, "B L"]) -> Bool[Tensor, " B"]:
        """The most confident token first, as LLaDA's harness checks it. A row leaves with its first wrong token."""
        sampler = Sampler(unmask=Select(pick=Threshold(bar=inf)))
        right, rows = torch.zeros_like(canvas.done), torch.arange(len(canvas.done), device=canvas.done.device)
        canvas = sampler.evolve.ready(canvas)
        while len(rows):
            canvas = sampler.step(denoiser, canvas, None).after
            fine = ((canvas.tokens == wanted) | canvas.undecided | ~canvas.inside).all(1)
            right[rows[fine & canvas.done]] = True
            left = fine & ~canvas.done
            canvas, wanted, rows = canvas.rows(left), wanted[left], rows[left]
        return right

    def views(self, length: int, seed: int) -> Views:
        """Every non-empty set of hidden tokens, or a sample of them."""
        return self._all(length) if (1 << length) - 1 <= self.samples else self._drawn(length, seed)

    def _all(self, length: int) -> Views:
        sets = torch.arange(1, 1 << length)
        hidden = (sets[:, None] >> torch.arange(length)) % 2 == 1
        weight = [1 / (count * comb(length, count)) for count in hidden.sum(1).tolist()]
        return Views(hidden, hidden, sets - 1, torch.tensor(weight, dtype=torch.float64))

    def _drawn(self, length: int, seed: int) -> Views:
        sample = torch.arange(self.samples)[:, None].expand(-1, length)
        place = torch.arange(length).expand_as(sample)
        level = noise.uniform(torch.full_like(sample, seed), sample, LEVEL_SALT, torch.zeros_like(sample))[:, 0]
        share = (sample[:, 0] // 2 + level) / -(-self.samples // 2)
        count = (share * length).long().clamp_max(length - 1) + 1  # the last share may round to 1
        order = noise.uniform(torch.full_like(sample, seed), sample, ORDER_SALT, place)
        hidden, draws = (order.argsort(1).argsort(1) < count[:, None]).unique(dim=0, return_inverse=True)
        return Views(hidden, hidden, draws, length / (count.double() * self.samples), exact=False)


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The exact sum of log p(token | all before it), in one forward of a causal model."""

    def greedy(self, denoiser: Denoiser, canvas: Canvas, wanted: Int64[Tensor, "B L"]) -> Bool[Tensor, " B"]:
        """From left to right: one forward says what follows all that is wanted before."""
        masked = canvas.undecided
        shown = replace(canvas, tokens=wanted, stage=canvas.stage.masked_fill(masked, DECODED))
        best = denoiser(shown, shown.inside, masked, None, Want(forbid=(denoiser.outline.blank_id,)))
        assert best.tokens is not None
        wrong = best.index[best.tokens != wanted.flatten()[best.index]]
        right = torch.ones_like(canvas.done)
        right[wrong // wanted.shape[1]] = False
        return right

    def views(self, length: int, seed: int) -> Views:
        """One, with nothing hidden."""
        read = torch.ones(1, length, dtype=torch.bool)
        return Views(~read, read, torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.float64))


def estimator(rule: Rule, *, shift: int, samples: int) -> Estimator:
    """The sum for a causal model, else the bound. ValueError for block-causal models, and for wrong `samples`."""
    bound = Bound(samples=samples)
    if isinstance(rule, Bidirectional):
        return bound
    if isinstance(rule, Causal) and shift == 1:
        return Chain()
    raise ValueError(
        f"a likelihood under {rule} with shift={shift} is not known: use a bidirectional model, or a causal one that "
        "predicts each token at the column before"
    )


def log_likelihoods(
    denoiser: Denoiser,
    estimate: Estimator,
    texts: Sequence[Text],
    *,
    columns: int,
    device: torch.device | str = "cpu",
    on_text: Callable[[int, Likelihood], object] = lambda number, likelihood: None,
) -> list[Likelihood]:
    """The log-likelihood of every text, in their order; no text depends on the others.

    Views of any texts share a forward of up to `columns` columns (padding counts; one row always goes), the longest
    first. `on_text(number, likelihood)` hears of finished ones. ValueError for [MASK] in a text, or nothing to score.
    """
    check(texts, denoiser.outline.blank_id)
    done = dict[int, Likelihood]()
    for number, likelihood in estimates(denoiser, estimate, texts, columns=columns, device=device):
        done[number] = likelihood
        on_text(number, likelihood)
    return [done[number] for number in range(len(texts))]


@torch.inference_mode()
def estimates(
    denoiser: Denoiser, estimate: Estimator, texts: Sequence[Text], *, columns: int, device: torch.device | str
) -> Iterator[tuple[int, Likelihood]]:
    """Number and likelihood of each text as they finish; `log_likelihoods` of texts that were checked."""
    sums = dict[int, list[Tensor]]()
    for rows in _batches(estimate, texts, columns):
        counts = [len(row.hidden) for row in rows]
        for row, values in zip(rows, _sums(denoiser, texts, rows, counts, device).split(counts), strict=True):
            sums.setdefault(row.number, []).append(values)
            if row.last:
                yield row.number, _likelihood(torch.cat(sums.pop(row.number)), row.views)


class _Rows(NamedTuple):
    """Some ways to show one text."""

    number: int
    hidden: Bool[Tensor, "N L"]
    read: Bool[Tensor, "N L"]
    views: Views  # all of the text's
    last: bool


def _batches(estimate: Estimator, texts: Sequence[Text], columns: int) -> Iterator[list[_Rows]]:
    rows, room = list[_Rows](), 0
    for number in longest_first(texts):
        views, first = estimate.views(len(texts[number].continuation), texts[number].seed), 0
        while first < len(views.hidden):
            if not room:
                room = max(1, columns // texts[number].length)
            some = slice(first, first + room)
            rows.append(_Rows(number, views.hidden[some], views.read[some], views, some.stop >= len(views.hidden)))
            first, room = first + len(rows[-1].hidden), room - len(rows[-1].hidden)
            if not room:
                yield rows
                rows = []
    if rows:
        yield rows


def longest_first(texts: Sequence[Text]) -> list[int]:
    """Their numbers: padding is little, and what does not fit the memory shows at once."""
    return sorted(range(len(texts)), key=lambda number: -texts[number].length)


def padded(rows: Sequence[Sequence[int]]) -> Int64[Tensor, "B L"]:
    """Rows of ids, zeros after them."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def _sums(
    denoiser: Denoiser,
    texts: Sequence[Text],
    rows: Sequence[_Rows],
    counts: Sequence[int],
    device: torch.device | str,
) -> Float64[Tensor, " B"]:
    """The sum of the log-probabilities that each row reads."""
    shown, repeats = [texts[row.number] for row in rows], torch.tensor(counts)
    tokens = padded([[*text.context, *text.continuation] for text in shown]).repeat_interleave(repeats, 0)
    hidden, read = torch.zeros_like(tokens, dtype=torch.bool), torch.zeros_like(tokens, dtype=torch.bool)
    spans = torch.tensor([[len(text.context), text.length] for text in shown]).repeat_interleave(repeats, 0)
    start, end = spans.T
    first = 0
    for row, count in zip(rows, counts, strict=True):
        here = slice(first, first + count), slice(int(start[first]), int(end[first]))
        hidden[here], read[here] = row.hidden, row.read
        first += count
    tokens, read = tokens.to(device), read.to(device)
    canvas = Canvas.corrupt(
        tokens, hidden.to(device), start=start.to(device), end=end.to(device), mask_id=denoiser.outline.blank_id
    )
    prediction = denoiser(canvas, canvas.inside, read, None, Want(proposals=False, targets=tokens))
    assert prediction.log_probs is not None
    sums = torch.zeros(len(tokens), dtype=torch.float64)  # on the host: some devices have no float64
    return sums.index_add_(0, prediction.index.cpu() // tokens.shape[1], prediction.log_probs.cpu().double())


def _likelihood(sums: Float64[Tensor, " N"], views: Views) -> Likelihood:
    """The weighted sum of the draws; the variance of a pair's sum is the mean of its squared difference."""
    terms = sums[views.draws] * views.weight
    error = 0.0
    if not views.exact:
        error = nan if len(terms) == 1 else float((terms[0::2] - terms[1::2]).square().sum().sqrt())
    return Likelihood(float(terms.sum()), error, len(sums))


def check(texts: Sequence[Text], mask_id: int) -> None:
    """ValueError for a text without anything to score, or with [MASK]."""
    for number, text in enumerate(texts):
        if not text.continuation:
            raise ValueError(f"text {number} has nothing to score: its continuation needs at least one token")
        if mask_id in (*text.context, *text.continuation):
            raise ValueError(f"text {number} contains the mask id {mask_id}: remove it, a mask has no likelihood")
