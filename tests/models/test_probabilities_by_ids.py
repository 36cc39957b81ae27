"""The reduction some ids at a time: what the reduction by columns gives."""

from collections.abc import Callable
from dataclasses import fields

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from unveil.models import probabilities as streamed
from unveil.models import reduce as reducing
from unveil.models.denoiser import Prediction, Want
from unveil.models.reduce import reduce

FEW_IDS, FEW_COLUMNS = 16, 3


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several parts of a small vocabulary, and several of a few columns."""
    monkeypatch.setattr(streamed, "IDS", FEW_IDS)
    monkeypatch.setattr(reducing, "IDS", FEW_IDS)
    monkeypatch.setattr(streamed, "COLUMNS", FEW_COLUMNS)


def affine(vocabulary: int, seed: int, *, dtype: torch.dtype = torch.float64, bias: bool = True) -> nn.Linear:
    """A head of small integers, so that many logits are equal."""
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(4, vocabulary, bias=bias, dtype=dtype)
    for parameter in head.parameters():
        parameter.data = torch.randint(-2, 3, parameter.shape, generator=generator).to(dtype)
    return head


def states(rows: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randint(-2, 3, (rows, 4), generator=torch.Generator().manual_seed(seed + 1)).to(dtype)


def by_columns(head: nn.Linear) -> Callable[[Tensor], Tensor]:
    """The same head, of which only the logits are known."""
    return lambda hidden: head(hidden)


def run(head: Callable[[Tensor], Tensor], hidden: Tensor, want: Want, vocabulary: int) -> Prediction:
    return reduce(hidden, head, want, index=torch.arange(len(hidden)), vocabulary=vocabulary)


@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(0, 8),
    vocabulary=st.sampled_from([17, 31, 32, 40, 70]),
    top=st.integers(0, 5),
    entropy=st.booleans(),
    forbid=st.sets(st.integers(0, 80), max_size=12),
    bias=st.booleans(),
)
def test_it_gives_what_columns_give(
    seed: int, rows: int, vocabulary: int, top: int, entropy: bool, forbid: set[int], bias: bool
) -> None:
    head, hidden = affine(vocabulary, seed, bias=bias), states(rows, seed)
    targets = torch.randint(0, vocabulary, (1, rows), generator=torch.Generator().manual_seed(seed))
    want = Want(entropy=entropy, top=top, forbid=tuple(forbid), targets=targets, hidden=True)
    with torch.no_grad():
        ours, plain = run(head, hidden, want, vocabulary), run(by_columns(head), hidden, want, vocabulary)
    for name in ("index", "tokens", "hidden"):
        assert torch.equal(getattr(ours, name), getattr(plain, name)), name
    for name in ("confidence", "log_probs", *(["entropy"] * entropy), *(["top_probs"] * (top > 0))):
        assert torch.allclose(getattr(ours, name), getattr(plain, name), rtol=1e-12, atol=1e-12), name
    assert [f.name for f in fields(ours) if getattr(ours, f.name) is None] == [
        f.name for f in fields(plain) if getattr(plain, f.name) is None
    ]
    if top:  # of equals any
        logits = head(hidden)
        chosen, theirs = (logits.gather(1, found.top_ids) for found in (ours, plain))
        assert torch.equal(chosen, theirs) and all(len({*row}) == top for row in ours.top_ids.tolist())


def test_a_whole_part_may_be_forbidden() -> None:
    head, hidden = affine(40, 1), states(5, 1)
    want = Want(forbid=(*range(FEW_IDS),), entropy=True, top=2)
    with torch.no_grad():
        ours, plain = run(head, hidden, want, 40), run(by_columns(head), hidden, want, 40)
    assert torch.equal(ours.tokens, plain.tokens) and torch.allclose(ours.entropy, plain.entropy)
    assert bool((ours.tokens >= FEW_IDS).all()) and bool((ours.top_ids >= FEW_IDS).all())


@torch.no_grad()
def test_logits_far_apart_and_half_precision() -> None:
    head = affine(40, 2, dtype=torch.bfloat16)
    head.weight.data[20] = 3e4  # in the second part
    for hidden in (states(4, 2, torch.bfloat16), 1e4 * states(4, 2, torch.bfloat16)):
        ours = run(head, hidden, Want(entropy=True), 40)
        plain = run(by_columns(head), hidden, Want(entropy=True), 40)
        assert ours.confidence.dtype == ours.entropy.dtype == torch.float32 and torch.equal(ours.tokens, plain.tokens)
        assert torch.allclose(ours.confidence, plain.confidence) and torch.allclose(ours.entropy, plain.entropy)


def test_a_row_does_not_depend_on_its_batch() -> None:
    head, hidden = affine(70, 3), states(9, 3)
    want = Want(entropy=True, top=3)
    with torch.no_grad():
        whole, alone = run(head, hidden, want, 70), [run(head, one[None], want, 70) for one in hidden]
    for name in ("tokens", "confidence", "entropy", "top_probs", "top_ids"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(one, name) for one in alone])), name


@pytest.mark.parametrize(
    "want, ids",
    [
        (Want(), True), (Want(top_p=0.5, top_k=3), True), (Want(tempered=True), True), (Want(temperature=1.0), False),
        (Want(tempered=True, top_k=3), False), (Want(tempered=True, top_p=0.5), False), (Want(logits=True), False),
    ],
)  # fmt: skip
def test_it_is_taken_where_sums_suffice(monkeypatch: pytest.MonkeyPatch, want: Want, ids: bool) -> None:
    taken = list[int]()
    monkeypatch.setattr(reducing, "by_ids", lambda *given: taken.append(1) or streamed.by_ids(*given))
    head, hidden, index = affine(40, 4), states(5, 4), torch.arange(5)
    uniforms = torch.rand(5, dtype=torch.float64) if want.temperature else None
    with torch.no_grad():
        reduce(hidden, head, want, index=index, vocabulary=40, uniforms=uniforms)
        assert bool(taken) is ids
        reduce(hidden, by_columns(head), want, index=index, vocabulary=40, uniforms=uniforms)  # weights are not known
    assert len(taken) == ids


@pytest.mark.parametrize("of_head", [True, False])
def test_what_learns_goes_by_columns(of_head: bool) -> None:
    head, hidden = affine(40, 5).requires_grad_(of_head), states(5, 5).requires_grad_(not of_head)
    targets = torch.arange(5)[None]
    out = run(head, hidden, Want(proposals=False, targets=targets), 40)
    out.log_probs.sum().backward()
    assert (head.weight if of_head else hidden).grad.abs().sum() > 0
