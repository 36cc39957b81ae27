"""Scores of continuations: likelihoods, what greedy decoding writes, and one forward for the letters of a question."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toy import MASK, columns_computed, logits, toy
from unveil.canvas import Canvas
from unveil.evaluation.likelihood.bound import Bound, Chain, Estimator, Text, estimator, log_likelihoods
from unveil.evaluation.likelihood.continuations import Score, greedy, scores
from unveil.models.attention import Causal
from unveil.models.denoiser import Guided
from unveil.models.transformer import Transformer
from unveil.sampling.blocks import Blocks
from unveil.sampling.sampler import Sampler

MODELS = {
    "masked": toy(gain=0.5),
    "shifted": toy(shift=1, gain=0.5),
    "causal": toy(shift=1, gain=0.5, rule=Causal()),
}
CONTEXTS = [[1, 2, 3], [8], [10, 11, 12, 13, 14, 15], [18, 19]]


def estimator_of(model: Transformer, samples: int) -> Estimator:
    return estimator(model.architecture.rule, shift=model.architecture.shift, samples=samples)


def written(model: Transformer, context: list[int], length: int, *, causal: bool) -> list[int]:
    """Greedy decoding, one token a forward, of one row."""
    ids = torch.tensor([*context, *[MASK] * length])
    while (ids == MASK).any():
        places = (ids == MASK).nonzero()[:, 0]
        probs = logits(model, ids, start=len(context))
        probs[:, MASK] = -math.inf
        best = probs.softmax(-1).max(-1)
        place = places[0] if causal else places[best.values[places].argmax()]
        ids[place] = best.indices[place]
    return ids[len(context) :].tolist()


@pytest.mark.parametrize("kind", MODELS)
def test_greedy_is_what_decoding_writes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unveil.evaluation.likelihood.continuations.GROUP", 5)
    model, texts, expected = MODELS[kind], [], []
    for context, length in zip(CONTEXTS, (4, 1, 2, 7), strict=True):
        right = written(model, context, length, causal=kind == "causal")
        for place in (None, 0, length - 1):
            wrong = [(token + 1) % MASK if i == place else token for i, token in enumerate(right)]
            texts.append(Text(context, wrong))
            expected.append(place is None)
    estimate = estimator_of(model, 2)
    for columns in (1, 25, 500):
        assert greedy(model, estimate, texts, columns=columns) == expected
    assert [score.greedy for score in scores(model, estimate, texts, columns=99)] == expected
    computed = columns_computed(model)
    assert greedy(model, estimate, [Text([1], [5, 5, 5, 5, 5, 5])], columns=9) == [False]
    assert sum(computed) < 6 * 7  # it left with its first wrong token
    assert kind != "causal" or computed == [7]


@given(st.lists(st.sampled_from(CONTEXTS), min_size=1, max_size=4), st.integers(1, 6), st.data())
@settings(max_examples=20)
def test_one_forward_of_a_causal_model_says_what_one_a_token_would(
    contexts: list[list[int]], length: int, data: st.DataObject
) -> None:
    """Also under guidance."""
    model = Guided(inner=MODELS["causal"], scale=data.draw(st.sampled_from([0.0, 0.7])))
    canvas = Canvas.blank(contexts, length, mask_id=MASK)
    done = Sampler(blocks=Blocks(size=1)).decode(model, canvas)
    wrong = data.draw(st.lists(st.integers(0, length - 1) | st.none(), min_size=len(contexts), max_size=len(contexts)))
    wanted = done.tokens.clone()
    for row, place in enumerate(wrong):
        if place is not None:
            column = len(contexts[row]) + place
            wanted[row, column] = (wanted[row, column] + 1) % MASK
    assert Chain().greedy(model, canvas, wanted).tolist() == [place is None for place in wrong]


TEXTS = st.builds(
    Text, st.sampled_from(CONTEXTS), st.lists(st.integers(0, MASK - 1), min_size=1, max_size=3), st.integers(0, 9)
)


@settings(max_examples=20)
@given(st.lists(TEXTS, max_size=8), st.integers(1, 200), st.sampled_from(list(MODELS)))
def test_scores_are_likelihoods_and_greedy(texts: list[Text], columns: int, kind: str) -> None:
    model = MODELS[kind]
    estimate, heard = estimator_of(model, 4), dict[int, Score]()
    found = scores(model, estimate, texts, columns=columns, on_score=heard.__setitem__)
    assert [heard[number] for number in range(len(texts))] == found and len(heard) == len(texts)
    expected = log_likelihoods(model, estimate, texts, columns=1)
    for score, likelihood in zip(found, expected, strict=True):
        assert score.likelihood.log_prob == pytest.approx(likelihood.log_prob, rel=1e-9)
        assert score.likelihood.error == pytest.approx(likelihood.error, rel=1e-6)
    assert [score.greedy for score in found] == greedy(model, estimate, texts, columns=1)


@pytest.mark.parametrize("kind", MODELS)
def test_the_letters_of_a_question_share_a_forward(kind: str) -> None:
    model = toy(**{"masked": {}, "shifted": {"shift": 1}, "causal": {"shift": 1, "rule": Causal()}}[kind])
    computed = columns_computed(model)
    texts = [Text(context, [letter]) for letter in range(4) for context in CONTEXTS]
    found = scores(model, estimator_of(model, 128), texts, columns=1000)
    assert computed == [sum(len(context) + 1 for context in CONTEXTS)]
    assert [score.likelihood.forwards for score in found] == [1] * 4 + [0] * 12
    assert all(score.likelihood.error == 0 for score in found)


def test_the_mask_is_no_answer() -> None:
    """Where [MASK] itself is the most probable, the best of the others is what decoding writes."""
    model = toy()
    model.head.weight[MASK] = 100 * model.norm.weight  # whatever comes before
    context = next([n] for n in range(MASK) if logits(model, torch.tensor([n, MASK]))[1].argmax() == MASK)
    best = logits(model, torch.tensor([*context, MASK]))[1, :MASK].argmax()
    texts = [Text(context, [int(best)]), Text(context, [(int(best) + 1) % MASK])]
    assert [score.greedy for score in scores(model, Bound(), texts, columns=9)] == [True, False]


def test_wrong_texts_are_refused() -> None:
    for text, words in ((Text([1], []), "text 1 has nothing to score"), (Text([1], [MASK]), "text 1 .* mask id 49")):
        with pytest.raises(ValueError, match=words):
            scores(MODELS["masked"], Bound(), [Text([1], [2]), text], columns=9)
