"""The reduction of the vocabulary: against plain formulas, chunk by chunk, and its draws."""

from dataclasses import fields

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unveil.models import reduce as reducing
from unveil.models.denoiser import Prediction, Want
from unveil.models.probabilities import best, draw, entropy, top, truncate
from unveil.models.reduce import reduce

NEVER = float("-inf")


def random_logits(rows: int, vocabulary: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, vocabulary, generator=generator, dtype=torch.float64)


def run(logits: Tensor, want: Want, uniforms: Tensor | None = None) -> Prediction:
    """Hidden states that are their own logits; the head copies, for the reduction may write into what it returns."""
    index = torch.arange(len(logits))
    return reduce(logits, torch.clone, want, index=index, vocabulary=logits.shape[1], uniforms=uniforms)


def kept(logits: list[float], top_p: float, top_k: int) -> set[int]:
    """What a draw may give, in plain words: the smallest likely set, cut to the best k and their equals."""
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    probs = torch.tensor(logits, dtype=torch.float64).softmax(0).tolist()
    chosen, total = [], 0.0
    for token in order:
        if chosen and total >= top_p:
            break
        chosen.append(token)
        total += probs[token]
    inside = [logits[token] for token in chosen]
    bar = sorted(inside, reverse=True)[top_k - 1] if 0 < top_k < len(inside) else NEVER
    return {token for token in chosen if logits[token] >= bar}


@pytest.mark.parametrize("vocabulary", [37, 256])
def test_every_field_is_its_formula(vocabulary: int) -> None:
    logits = random_logits(9, vocabulary)
    targets = torch.randint(0, vocabulary - 2, (1, 9), generator=torch.Generator().manual_seed(1))
    forbid = (vocabulary - 1, 3)
    want = Want(
        entropy=True, top=4, forbid=forbid, targets=targets.masked_fill(targets == 3, 4), hidden=True, logits=True
    )
    out = run(logits, want)
    cut = logits.clone()
    cut[:, list(forbid)] = NEVER
    p = cut.softmax(-1)
    assert torch.equal(out.tokens, cut.argmax(-1)) and torch.equal(out.index, torch.arange(9))
    assert torch.allclose(out.confidence, p.amax(-1), rtol=1e-14)
    assert torch.allclose(out.entropy, torch.special.entr(p).sum(-1), rtol=0, atol=1e-13)
    assert torch.allclose(out.top_probs, p.sort(-1, descending=True).values[:, :4])
    assert torch.allclose(p.gather(1, out.top_ids), out.top_probs)
    assert torch.allclose(out.log_probs, p.log().gather(1, want.targets.T)[:, 0])
    assert torch.equal(out.logits, logits) and torch.equal(out.hidden, logits)


def test_what_is_not_wanted_is_none() -> None:
    out = run(random_logits(3, 20), Want(proposals=False))
    assert all(getattr(out, f.name) is None for f in fields(out) if f.name != "index")


@pytest.mark.parametrize("temperature, tempered", [(0.0, False), (1.3, False), (1.3, True), (0.0, True)])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, temperature: float, tempered: bool) -> None:
    logits, uniforms = (
        random_logits(11, 40),
        torch.rand(11, dtype=torch.float64, generator=torch.Generator().manual_seed(3)),
    )
    targets = torch.arange(11)[None]
    want = Want(
        entropy=True, top=3, temperature=temperature, tempered=tempered, top_k=9, top_p=0.9, forbid=(39,),
        targets=targets, logits=True,
    )  # fmt: skip
    whole = run(logits, want, uniforms)
    for columns in (1, 4, 10):
        monkeypatch.setattr(reducing, "CHUNK", 40 * columns)
        monkeypatch.setattr(reducing, "PART", 40 * (1 + columns // 2))
        parts = run(logits, want, uniforms)
        for field in fields(whole):
            a, b = getattr(whole, field.name), getattr(parts, field.name)
            assert (a is None and b is None) or torch.equal(a, b), field.name


def test_no_columns_give_empty_fields() -> None:
    want = Want(entropy=True, top=2, temperature=1.0)
    out = run(torch.zeros(0, 20), want, torch.zeros(0, dtype=torch.float64))
    assert out.tokens.shape == out.confidence.shape == out.entropy.shape == (0,) and out.top_ids.shape == (0, 2)


def test_half_precision_is_reduced_in_float32() -> None:
    logits = random_logits(5, 64).to(torch.bfloat16)
    out = run(logits, Want(entropy=True))
    p = logits.float().softmax(-1)
    assert out.confidence.dtype == torch.float32 and torch.equal(out.confidence, p.amax(-1))


@given(seed=st.integers(0, 2**32), values=st.integers(1, 9), width=st.sampled_from([1, 128, 200, 384]))
def test_best_is_the_lowest_of_the_largest(seed: int, values: int, width: int) -> None:
    """Few different values: many ties."""
    logits = torch.randint(0, values, (3, width), generator=torch.Generator().manual_seed(seed)).float()
    assert best(logits).tolist() == [row.index(max(row)) for row in logits.tolist()]


@given(
    seed=st.integers(0, 2**32),
    values=st.integers(1, 400),
    width=st.sampled_from([5, 128, 200, 384, 1024]),
    k=st.integers(1, 5),
)
def test_top_is_topk(seed: int, values: int, width: int, k: int) -> None:
    x = torch.randint(0, values, (3, width), generator=torch.Generator().manual_seed(seed)).float()
    found, ids = top(x, k)
    assert torch.equal(found, x.topk(k).values) and torch.equal(x.gather(1, ids), found)
    assert all(len(set(row)) == k for row in ids.tolist())


def test_entropy_of_extreme_distributions() -> None:
    logits = torch.tensor([[0.0] * 8, [100.0] + [NEVER] * 7, [1e4] + [-1e4] * 7, [0.0] * 4 + [NEVER] * 4])
    want = torch.tensor([8.0, 1.0, 1.0, 4.0]).log()
    assert torch.allclose(entropy(logits, logits.softmax(-1)), want, atol=1e-6)


@given(
    logits=st.lists(st.integers(-4, 4), min_size=1, max_size=12),
    top_p=st.sampled_from([0.05, 0.3, 0.5, 0.75, 0.9, 1.0]),
    top_k=st.integers(0, 13),
)
def test_truncation_keeps_what_it_says_ties_included(logits: list[int], top_p: float, top_k: int) -> None:
    values = [float(x) * 0.7 for x in logits]
    out = truncate(torch.tensor([values], dtype=torch.float64), top_p=top_p, top_k=top_k)[0]
    assert {token for token, value in enumerate(out.tolist()) if value > NEVER} == kept(values, top_p, top_k)
    assert all(value in (NEVER, values[token]) for token, value in enumerate(out.tolist()))


def test_truncation_known_values() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    survivors = [
        (truncate(logits, top_p=p, top_k=k)[0] > NEVER).sum().item()
        for p, k in ((1.0, 0), (0.94, 0), (0.79, 0), (0.1, 0), (1.0, 2), (1.0, 3), (0.94, 1), (0.94, 9))
    ]
    assert survivors == [4, 3, 2, 1, 2, 3, 1, 3]


def test_both_truncations_are_of_the_whole_distribution() -> None:
    """Dream filters by top-p first; after top-k the best token alone would have enough of what is left."""
    logits = torch.tensor([[2.0, 1.0, 1.0, 0.0, 0.0]])
    p = logits.softmax(-1)[0]
    out = truncate(logits, top_p=float(p[0]) + 1e-3, top_k=3)
    assert (out > NEVER).tolist() == [[True, True, False, False, False]]


@pytest.mark.parametrize("tempered", [False, True])
def test_confidence_of_a_draw_is_the_models_or_the_tempered_one(tempered: bool) -> None:
    logits = random_logits(6, 30)
    uniforms = torch.linspace(0.05, 0.95, 6, dtype=torch.float64)
    out = run(logits, Want(temperature=0.5, top_k=5, tempered=tempered), uniforms)
    hot = truncate(logits / 0.5, top_p=1.0, top_k=5)
    p = (hot if tempered else logits).softmax(-1)
    assert torch.allclose(out.confidence, p.gather(1, out.tokens[:, None])[:, 0])
    assert (hot.gather(1, out.tokens[:, None]) > NEVER).all()


def test_draws_invert_the_distribution() -> None:
    logits, num = random_logits(1, 12, scale=1.5), 200_000
    u = (torch.arange(num, dtype=torch.float64) + 0.5) / num  # stratified: frequencies are exact to 1 / num
    tokens = draw(logits.expand(num, -1), u)
    share = torch.bincount(tokens, minlength=12) / num
    assert torch.allclose(share.double(), logits[0].softmax(0), rtol=0, atol=2 / num)


@given(
    dead=st.lists(st.booleans(), min_size=4, max_size=9).filter(lambda dead: not all(dead)),
    u=st.one_of(st.floats(0, 1, exclude_min=True, exclude_max=True), st.sampled_from([2.0**-53, 1 - 2.0**-53, 0.5])),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_no_draw_gives_a_token_that_cannot_be(dead: list[bool], u: float, dtype: torch.dtype) -> None:
    logits = torch.arange(len(dead), dtype=dtype).masked_fill(torch.tensor(dead), NEVER)[None]
    token = int(draw(logits, torch.tensor([u], dtype=torch.float64)))
    assert not dead[token]


def test_forbidden_ids_are_never_drawn_or_proposed() -> None:
    logits = random_logits(2000, 16)
    logits[:, [0, 15]] = 50.0
    for temperature in (0.0, 3.0):
        u = torch.rand(2000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        out = run(logits, Want(temperature=temperature, forbid=(0, 15)), u)
        assert not torch.isin(out.tokens, torch.tensor([0, 15])).any() and (out.confidence > 0).all()


def test_a_tail_of_tiny_probabilities_can_be_drawn() -> None:
    """Beside a token of almost 1 a float32 sum would lose the others."""
    logits = torch.tensor([[20.0, 0.0, 0.0, 0.0, 0.0]])
    tail = float(logits.double().softmax(-1)[0, 1])
    u = 1 - tail * (torch.arange(4, dtype=torch.float64).flip(0) + 0.5)
    assert draw(logits.expand(4, -1), u).tolist() == [1, 2, 3, 4]


def test_the_tail_of_a_large_vocabulary_can_be_drawn() -> None:
    vocabulary = 126_464
    u = torch.tensor([0.25, 0.9, 1 - 1e-6, 1 - 2.0**-53], dtype=torch.float64)
    tokens = draw(torch.zeros(4, vocabulary), u)
    assert (tokens - (u * vocabulary).long()).abs().max() <= 1 and tokens[-1] == vocabulary - 1
