"""Training sees what decoding sees: the sampler's own step unrolls, and log-probabilities are cross entropy."""

import pytest
import torch
import torch.nn.functional as F

from tests.laws.test_evolving import evotoken
from tests.toy import MASK, PROMPTS, blank, logits, toy
from unveil.canvas import Canvas
from unveil.models.denoiser import Guided, Want


def test_trajectory_supervision_unrolls_the_samplers_own_step() -> None:
    model = toy(gain=0.3).requires_grad_(True)
    canvas, sampler, loss = blank([PROMPTS[0]], 8, num_soft=4), evotoken(8, 4), torch.zeros((), dtype=torch.float64)
    target = torch.randint(0, 48, canvas.tokens.shape, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        want = Want(proposals=False, targets=target)
        log_probs = model(canvas, canvas.inside, sampler.blocks.here(canvas), None, want).log_probs
        loss = loss - log_probs.sum()
        with torch.no_grad():
            canvas = sampler.step(model, canvas, None).after
    assert (canvas.stage == 1).any() and (canvas.soft_weights > 0).any()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_soft_inputs_pass_gradients_to_the_embeddings_of_their_candidates() -> None:
    model = toy().requires_grad_(True)
    canvas = blank([PROMPTS[0]], 8, num_soft=4)
    with torch.no_grad():
        canvas = evotoken(8, 4).step(model, canvas, None).after
    candidates = canvas.soft_ids[0, 5:, 1:].unique()
    unseen = torch.tensor([token for token in range(49) if token not in candidates and token not in PROMPTS[0]])
    out = model(canvas, canvas.inside, canvas.undecided, None, Want(proposals=False, targets=canvas.tokens))
    out.log_probs.sum().backward()
    gradient = model.embed.weight.grad.abs().sum(1)
    assert (gradient[candidates] > 0).all() and (gradient[unseen] == 0).all()


@pytest.mark.parametrize("forbidden", [False, True])
def test_targets_give_the_gradient_of_cross_entropy(forbidden: bool) -> None:
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6, 7]])
    hidden = torch.tensor([[False, False, True, True, False, True, False]])
    for shift in (0, 1):
        model = toy(shift=shift).requires_grad_(True)
        forbid = (MASK, 9) if forbidden else ()
        canvas = Canvas.corrupt(tokens, hidden, start=torch.tensor([2]), end=torch.tensor([7]), mask_id=MASK)
        out = model(canvas, canvas.inside, hidden, None, Want(proposals=False, targets=tokens, forbid=forbid))
        (-out.log_probs.sum()).backward()
        mine = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
        model.zero_grad()
        scores = logits(model, canvas.tokens[0])[hidden[0]]
        scores = scores.index_fill(1, torch.tensor(forbid, dtype=torch.int64), float("-inf"))
        plain = F.cross_entropy(scores, tokens[hidden], reduction="sum")
        plain.backward()
        assert torch.allclose(-out.log_probs.sum(), plain, rtol=0, atol=1e-11)
        for name, parameter in model.named_parameters():
            assert torch.allclose(mine[name], parameter.grad, rtol=0, atol=1e-9), name


def test_targets_under_guidance_and_without_forbidden_ids() -> None:
    model, canvas = toy(), blank(PROMPTS, 4)
    tokens = torch.randint(0, 49, canvas.tokens.shape, generator=torch.Generator().manual_seed(0))
    guided = Guided(inner=model, scale=1.0)
    want = Want(proposals=False, logits=True, targets=tokens, forbid=(MASK, 3))
    out = guided(canvas, canvas.inside, canvas.undecided, None, want)
    scores = out.logits.clone()
    scores[:, [MASK, 3]] = float("-inf")
    wanted = scores.log_softmax(-1).gather(1, tokens[canvas.undecided][:, None])[:, 0]
    assert torch.allclose(out.log_probs, wanted) and len(out.index) == 12
    assert torch.isfinite(out.logits).all()  # logits are what the model said, nothing forbidden
