"""Likelihoods: the bound against every way to hide tokens, the sum against the chain rule, and what samples cost."""

from dataclasses import dataclass
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.toy import MASK, logits, toy
from unveil.canvas import Canvas
from unveil.decoding.loading import load
from unveil.evaluation.likelihood.bound import Bound, Chain, Estimator, Likelihood, Text, estimator, log_likelihoods
from unveil.models.attention import BlockCausal, Causal
from unveil.models.denoiser import Cache, Guided, Outline, Prediction, Want
from unveil.models.transformer import Transformer
from unveil.tasks import Sums

DENOISERS = {shift: toy(shift=shift, gain=0.5) for shift in (0, 1)}
CAUSAL = toy(shift=1, gain=0.5, rule=Causal())
TEXTS = [
    Text([1, 2, 3], [4, 5, 6, 7]),
    Text([8], [9]),
    Text([10, 11, 12, 13, 14, 15], [16, 17], seed=3),
    Text([18, 19], list(range(20, 29)), seed=4),
    Text([18, 19], list(range(29, 38)), seed=4),
]
KINDS: dict[str, tuple[Transformer, Estimator]] = {
    "masked": (DENOISERS[0], Bound(samples=6)),
    "shifted": (DENOISERS[1], Bound(samples=6)),
    "causal": (CAUSAL, Chain()),
}


def shown(model: Transformer, text: Text, hidden: tuple[int, ...]) -> float:
    """The sum of log p(token) over the hidden tokens, from a forward of this row alone."""
    ids = torch.tensor([*text.context, *text.continuation])
    places = torch.tensor(hidden) + len(text.context)
    noisy = ids.index_fill(0, places, MASK)
    predicted = logits(model, noisy, start=len(text.context)).log_softmax(-1)
    return float(predicted[places, ids[places]].sum())


def bound(model: Transformer, text: Text) -> float:
    """LLaDA's eq. 6 term by term."""
    length = len(text.continuation)
    total = 0.0
    for count in range(1, length + 1):
        sets = list(combinations(range(length), count))
        total += sum(length / count * shown(model, text, hidden) for hidden in sets) / len(sets) / length
    return total


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A denoiser that knows the sum of the log-probabilities of each set of hidden tokens."""

    value: Tensor  # for the set with the bits n, the value n
    outline: Outline = DENOISERS[0].outline

    def new_cache(self, canvas: Canvas) -> Cache:
        raise NotImplementedError

    def __call__(self, canvas: Canvas, fresh: Tensor, read: Tensor, cache: object, want: Want) -> Prediction:
        bits = (read.long() << canvas.column).sum(1)
        shares = (self.value[bits] / read.sum(1))[:, None].expand(read.shape)[read]
        return Prediction(index=read.flatten().nonzero()[:, 0], log_probs=shares)


def estimates(value: Tensor, length: int, samples: int, seeds: int) -> list[Likelihood]:
    """The likelihood of one text under each of so many seeds."""
    texts = [Text([], range(length), seed) for seed in range(seeds)]
    return log_likelihoods(Table(value=value), Bound(samples=samples), texts, columns=10000)


@pytest.mark.parametrize("shift", DENOISERS)
def test_with_enough_samples_the_bound_is_exact(shift: int) -> None:
    model, texts = DENOISERS[shift], TEXTS[:3]
    found = log_likelihoods(model, Bound(samples=16), texts, columns=40)
    for text, likelihood in zip(texts, found, strict=True):
        assert likelihood.log_prob == pytest.approx(bound(model, text), rel=1e-12)
        assert likelihood.error == 0 and likelihood.forwards == 2 ** len(text.continuation) - 1


def test_one_token_is_exact_with_any_number_of_samples() -> None:
    for samples in (1, 2, 128):
        (found,) = log_likelihoods(DENOISERS[0], Bound(samples=samples), [TEXTS[1]], columns=1)
        assert found.log_prob == pytest.approx(shown(DENOISERS[0], TEXTS[1], (0,)), rel=1e-12)
        assert (found.error, found.forwards) == (0, 1)


def test_a_context_may_be_empty() -> None:
    text = Text([], [1, 2, 3])
    (found,) = log_likelihoods(DENOISERS[0], Bound(samples=8), [text], columns=8)
    assert found.log_prob == pytest.approx(bound(DENOISERS[0], text), rel=1e-12)


@pytest.mark.parametrize("samples", [1, 2, 6, 30])
def test_samples_are_unbiased_and_so_is_their_error(samples: int) -> None:
    """Five tokens, 31 ways to hide them."""
    value = torch.rand(32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * -9
    exact = estimates(value, 5, 32, 1)[0].log_prob
    found = estimates(value, 5, samples, 1500)
    means, errors = (torch.tensor([one[field] for one in found]) for field in (0, 1))
    assert abs(means.mean() - exact) < 4 * means.std() / len(found) ** 0.5
    if samples == 1:
        assert errors.isnan().all()
    else:
        assert float(errors.square().mean().sqrt()) == pytest.approx(float(means.std()), rel=0.1)
    assert all(one.forwards <= samples for one in found)


def test_strata_are_better_than_chance() -> None:
    """Where only the number hidden matters, the noise falls faster than with the root of the samples."""
    value = torch.tensor([-(float(bin(n).count("1")) ** 1.5) for n in range(64)], dtype=torch.float64)
    spreads = {
        samples: torch.tensor([one.log_prob for one in estimates(value, 6, samples, 300)]).std()
        for samples in (1, 4, 16, 62)
    }
    for samples, part in ((4, 0.8), (16, 0.6), (62, 0.4)):
        assert spreads[samples] < part * spreads[1] / samples**0.5


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1 << 40), st.sampled_from([1, 2, 8, 64]))
def test_texts_of_one_seed_are_hidden_alike(short: int, long: int, seed: int, samples: int) -> None:
    short, long = sorted((short, long))
    some, more = (Bound(samples=samples)._drawn(length, seed) for length in (short, long))  # short ones too
    hidden, wider = some.hidden[some.draws], more.hidden[more.draws]
    assert (hidden.sum(1) >= 1).all()
    share = (hidden.sum(1) / short - wider.sum(1) / long).abs()
    assert (share <= 1 / short + 1e-9).all()
    inside, other = hidden, wider[:, :short]
    assert ((inside <= other).all(1) | (inside >= other).all(1)).all()  # the same order of places: one set in the other
    if short == long:
        assert torch.equal(hidden, wider)


def test_common_numbers_make_differences_less_noisy() -> None:
    """Two solutions of other problems: the noise of their difference with one seed for both, and with two."""
    model = load("lab-puzzles", device="cpu")
    encode = model.tokenizer.encode
    problem, *others = (p for p in Sums().generate(60, 5) if len(encode(p.answer)) == 23)
    spreads = []
    for apart in (0, 1000):
        texts = [
            Text(encode(problem.prompt), encode(other.answer), seed + apart * number)
            for seed in range(16)
            for number, other in enumerate(others[:2])
        ]
        found = [one.log_prob for one in log_likelihoods(model.denoiser, Bound(samples=4), texts, columns=4096)]
        spreads.append((torch.tensor(found[0::2]) - torch.tensor(found[1::2])).std())
    assert spreads[0] < 0.7 * spreads[1]


ALONE = {
    name: [log_likelihoods(model, estimate, [text], columns=1)[0] for text in TEXTS]
    for name, (model, estimate) in KINDS.items()
}


@settings(max_examples=15)
@given(
    st.integers(1, 300),
    st.permutations(range(len(TEXTS))),
    st.sampled_from([(DENOISERS[0], Bound(samples=6)), (DENOISERS[1], Bound(samples=6)), (CAUSAL, Chain())]),
)
def test_a_text_never_depends_on_its_batch(columns: int, order: list[int], kind: tuple[Transformer, Estimator]) -> None:
    model, estimate = kind
    alone = [log_likelihoods(model, estimate, [text], columns=1)[0] for text in TEXTS]
    finished: dict[int, Likelihood] = {}
    shuffled = [TEXTS[n] for n in order]
    together = log_likelihoods(model, estimate, shuffled, columns=columns, on_text=finished.__setitem__)
    assert [finished[number] for number in range(len(TEXTS))] == together
    for number, found in zip(order, together, strict=True):
        assert found.log_prob == pytest.approx(alone[number].log_prob, rel=1e-9)
        assert found.error == pytest.approx(alone[number].error, rel=1e-6)
        assert found.forwards == alone[number].forwards <= 6


def test_no_forward_is_wider_than_asked() -> None:
    sizes = []

    class Measured(Guided):
        def __call__(self, canvas, *rest):  # type: ignore[no-untyped-def]
            sizes.append(canvas.tokens.numel())
            return self.inner(canvas, *rest)

    log_likelihoods(Measured(inner=DENOISERS[0], scale=0.0), Bound(samples=16), TEXTS, columns=60)
    assert max(sizes) <= 60 and sum(size > 40 for size in sizes) >= len(sizes) - 2


def test_a_causal_model_has_an_exact_likelihood() -> None:
    found = log_likelihoods(CAUSAL, estimator(Causal(), shift=1, samples=128), TEXTS, columns=30)
    for text, likelihood in zip(TEXTS, found, strict=True):
        total = 0.0
        for place, token in enumerate(text.continuation):
            seen = torch.tensor([*text.context, *text.continuation[:place], 0])
            total += float(logits(CAUSAL, seen)[-1].log_softmax(-1)[token])
        assert likelihood.log_prob == pytest.approx(total, rel=1e-12)
        assert (likelihood.error, likelihood.forwards) == (0, 1)


def test_guidance_reaches_likelihoods() -> None:
    guided = Guided(inner=DENOISERS[0], scale=1.5)
    (found,) = log_likelihoods(guided, Bound(samples=2), [TEXTS[1]], columns=9)
    told, blind = (logits(DENOISERS[0], torch.tensor([given, MASK]))[1] for given in (8, MASK))
    assert found.log_prob == pytest.approx(float((blind + 2.5 * (told - blind)).log_softmax(-1)[9]), rel=1e-9)


def test_wrong_input_is_explained() -> None:
    for samples in (0, 3, -2):
        with pytest.raises(ValueError, match=rf"samples={samples} is neither 1 nor even: .* give 1 or 2, 4, 6"):
            Bound(samples=samples)
    with pytest.raises(ValueError, match="BlockCausal.* use a bidirectional model, or a causal one"):
        estimator(BlockCausal(size=4), shift=0, samples=2)
    for text, words in ((Text([1], []), "text 1 has nothing to score"), (Text([MASK], [1]), "text 1 .* mask id 49")):
        with pytest.raises(ValueError, match=words):
            log_likelihoods(DENOISERS[0], Bound(), [TEXTS[0], text], columns=9)
