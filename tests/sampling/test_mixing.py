"""Shares of [MASK] and mixes of embeddings, against plain arithmetic on the embeddings themselves."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.toy import MASK, PROMPTS, blank, toy
from unveil.models.denoiser import Want
from unveil.sampling.mixing import Constant, Drawn, FollowsConfidence, Linear, Spherical
from unveil.sampling.propose import Proposal, Propose

SHARES = st.floats(0, 1)


def shown(mixed: Tensor, ids: Tensor, table: Tensor) -> Tensor:
    """The embedding of one position."""
    return (table[torch.cat([torch.tensor([MASK]), ids])] * mixed[..., None]).sum(0)


def said(ids: list[int], probs: list[float], table: Tensor) -> Proposal:
    vectors = table[[MASK, *ids]]
    return Proposal(
        torch.tensor([[ids[0]]]), torch.tensor([[probs[0]]]), None, torch.tensor([[ids]]), torch.tensor([[probs]]),
        gram=(vectors @ vectors.T)[None, None],
    )  # fmt: skip


@given(st.lists(st.integers(0, 48), min_size=1, max_size=4, unique=True), SHARES, st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_the_spherical_mix_lies_on_the_arc_and_is_as_long_as_its_parts(ids: list[int], share: float, seed: int) -> None:
    table = toy(seed).embed.weight
    probs = torch.rand(len(ids), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    probs = probs / probs.sum()
    mixed = Spherical()(torch.tensor([[share]]).double(), probs[None, None], said(ids, probs.tolist(), table))[0, 0]
    out, mask, mean = shown(mixed, torch.tensor(ids), table), table[MASK], (table[ids] * probs[:, None]).sum(0)
    length = share * mask.norm() + (1 - share) * (probs * table[ids].norm(dim=1)).sum()
    assert torch.isclose(out.norm(), length, rtol=1e-6)
    whole = torch.arccos(mask @ mean / mask.norm() / mean.norm())
    to_mask, to_mean = (torch.arccos((out @ x / out.norm() / x.norm()).clamp(-1, 1)) for x in (mask, mean))
    assert torch.isclose(to_mask, (1 - share) * whole, atol=1e-6) and torch.isclose(to_mean, share * whole, atol=1e-6)


@pytest.mark.parametrize("mix", [Linear(), Spherical()])
def test_both_mixes_end_at_the_mask_and_at_the_token(mix: Linear | Spherical) -> None:
    table = toy().embed.weight
    for share, end in ((1.0, MASK), (0.0, 7)):
        mixed = mix(torch.tensor([[share]]).double(), torch.ones(1, 1, 1).double(), said([7], [0.4], table))[0, 0]
        assert torch.allclose(shown(mixed, torch.tensor([7]), table), table[end], atol=1e-9)


def test_parallel_embeddings_have_no_arc_but_a_mix() -> None:
    table = torch.ones(50, 4, dtype=torch.float64) * torch.arange(1, 51)[:, None]
    mixed = Spherical()(torch.tensor([[0.25]]).double(), torch.ones(1, 1, 1).double(), said([7], [1.0], table))[0, 0]
    assert torch.allclose(shown(mixed, torch.tensor([7]), table), 0.25 * table[MASK] + 0.75 * table[7])


def test_the_spherical_mix_of_fewer_candidates_than_were_asked_for_is_of_the_best() -> None:
    table, ids, probs = toy(1).embed.weight, [3, 8, 11, 20], [0.4, 0.3, 0.2, 0.1]
    share, weights = torch.tensor([[0.4]]).double(), torch.tensor([[[0.6, 0.4]]]).double()
    fewer, all_four = (Spherical()(share, weights, said(ids[:n], probs[:n], table)) for n in (2, 4))
    assert torch.allclose(fewer, all_four)  # equal up to rounding: sums may be taken in another order


def test_the_model_gives_the_dot_products_of_what_may_be_shown() -> None:
    model, canvas = toy(), blank()
    out = model(canvas, canvas.inside, canvas.undecided, None, Want(top=3, gram=True, forbid=(MASK,)))
    proposal = Propose()(out, canvas)
    assert out.top_ids is not None and out.gram is not None and proposal.gram is not None
    vectors = model.embed.weight[torch.cat([torch.full((len(out.index), 1), MASK), out.top_ids], 1)]
    assert torch.allclose(out.gram, torch.einsum("wkd,wjd->wkj", vectors, vectors))
    assert torch.equal(proposal.gram[canvas.undecided], out.gram)
    assert Spherical().require(Want(top=2)).gram and not Linear().require(Want(top=2)).gram


def test_a_share_may_be_constant_follow_confidence_or_be_drawn() -> None:
    canvas = replace(blank(PROMPTS, 4, seed=[1, 2, 3]), nfe=torch.tensor([0, 0, 5]))
    confidence = torch.linspace(0, 1, canvas.tokens.numel()).view(canvas.tokens.shape)
    proposal = Proposal(canvas.tokens, confidence)
    assert Constant(share=0.3)(proposal, canvas).tolist() == [[pytest.approx(0.3)]]
    assert torch.allclose(FollowsConfidence(least=0.2, most=0.8)(proposal, canvas), 0.8 - 0.6 * confidence)
    nowhere = proposal._replace(confidence=torch.full_like(confidence, float("-inf")))
    assert (FollowsConfidence(least=0.2, most=0.8)(nowhere, canvas) == 0.8).all()
    drawn = Drawn(least=0.5, most=0.75)(proposal, canvas)
    assert drawn.shape == (3, 1) and (drawn >= 0.5).all() and (drawn <= 0.75).all() and len(drawn.unique()) == 3
    assert torch.equal(Drawn(least=0.5, most=0.75)(proposal, canvas.rows(torch.tensor([2]))), drawn[2:])
    later = replace(canvas, nfe=canvas.nfe + 1)
    assert not torch.equal(Drawn(least=0.5, most=0.75)(proposal, later), drawn)
    many = replace(blank([[1]] * 2000, 1, seed=list(range(2000))))
    assert abs(float(Drawn()(Proposal(many.tokens, many.confidence), many).mean()) - 0.75) < 0.02
