"""Trajectory supervision: the sampler's own steps, a plain loop, one graph at a time, and what is drawn."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.laws.test_evolving import soft_logits
from tests.toy import MASK, toy
from unveil.canvas import DECODED, GIVEN, SOFT, Canvas
from unveil.models.denoiser import Wrapped
from unveil.models.transformer import Transformer
from unveil.objectives.loss import Batch, Corrupted, Objective
from unveil.objectives.trajectory import Begun, TrajectorySupervision
from unveil.sampling.evolve import SoftTokens
from unveil.sampling.mixing import Constant, Drawn
from unveil.sampling.sampler import Sampler

FIXED = SoftTokens(k=2, share=Constant(share=0.6), lookahead=True)


def batch(*lengths: int, prompt: int = 3, seed: int = 0) -> Batch:
    """Rows of so many answer columns after prompts of three."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 48, (len(lengths), prompt + max(lengths)), generator=generator)
    start = torch.full((len(lengths),), prompt)
    return Batch(tokens, start, start + torch.tensor(lengths))


def total(objective: TrajectorySupervision, model: Transformer, example: Begun) -> Tensor:
    return torch.stack(list(objective.losses(model, example))).sum()


def gradients(model: Transformer) -> dict[str, Tensor]:
    found = {name: x.grad.clone() for name, x in model.named_parameters() if x.grad is not None}
    model.zero_grad()
    return found


def plain(model: Transformer, example: Begun, row: int, objective: TrajectorySupervision, k: int, a: float) -> Tensor:
    """One row, step by step: predict, learn the block, open the best, revise what gains, mix what is shown."""
    canvas = example.canvas.rows(torch.tensor([row])).narrow(int(example.canvas.end[row]))
    s, z = int(canvas.start), int(canvas.end)
    e, x, c = min(s + example.size, z), canvas.tokens.clone(), torch.zeros_like(canvas.confidence, dtype=torch.float64)
    ids = torch.cat([x[..., None]] * (k + 1), -1)
    weights = torch.zeros(ids.shape)
    weights[..., 0] = 1
    parts = []
    for _ in range(objective.depth):
        scores = soft_logits(model, canvas, ids, weights)
        parts.append(F.cross_entropy(scores[s:e], example.targets[row, s:e]))
        p = scores.detach().softmax(-1)[None, s:z]
        top, t = p.max(-1)
        masked, here = x[:, s:z] == MASK, torch.arange(s, z)[None] < e
        order = top.masked_fill(~(masked & here), float("-inf"))[0].argsort(descending=True, stable=True)
        pick = torch.zeros_like(masked)
        pick[0, order[: min(example.opens, int((masked & here).sum()))]] = True
        write = pick | (~masked & here & (top > c[:, s:z]))
        x[:, s:z], c[:, s:z] = torch.where(write, t, x[:, s:z]), torch.where(write, top, c[:, s:z])
        share = torch.where(x[:, s:z] == MASK, a, 0.0)[..., None]
        w, best = p.topk(k, -1)
        ids[:, s:z] = torch.cat([torch.full_like(best[..., :1], MASK), best], -1)
        weights[:, s:z] = torch.cat([share, w / w.sum(-1, keepdim=True) * (1 - share)], -1).float()
        assert (x[:, s:e] == MASK).any() or len(parts) == objective.depth  # within one block
    return torch.stack(parts).mean()


@pytest.mark.parametrize("opens", [1, 2])
def test_the_loss_is_that_of_the_plain_loop(opens: int) -> None:
    model = toy(gain=0.3).requires_grad_(True)
    objective = TrajectorySupervision(evolve=FIXED, sizes=(8,), opens=(opens,), depth=3)
    example = objective.corrupt(batch(16, 11, 20), MASK, seed=1)
    total(objective, model, example).backward()
    mine = gradients(model)
    expected = torch.stack([plain(model, example, row, objective, 2, 0.6) for row in (0, 1, 2)]).mean()
    assert torch.allclose(total(objective, model, example), expected, rtol=0, atol=1e-7)
    expected.backward()
    theirs = gradients(model)
    for name, grad in mine.items():  # no gradient through soft inputs, or these would differ
        assert torch.allclose(grad, theirs[name], rtol=0, atol=1e-6), name


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen(Wrapped):
    """A denoiser that remembers the canvases it was shown."""

    canvases: list[Canvas] = field(default_factory=list)

    def __call__(self, canvas: Canvas, *more: Any) -> Any:
        self.canvases.append(canvas)
        return super().__call__(canvas, *more)


@pytest.mark.parametrize("hold", [True, False])
def test_training_unrolls_the_samplers_own_step(monkeypatch: pytest.MonkeyPatch, hold: bool) -> None:
    model, calls = toy(gain=0.3), 0
    objective = TrajectorySupervision(evolve=FIXED, sizes=(4,), opens=(2,), depth=5, hold=hold)
    example = objective.corrupt(batch(12, 12), MASK, seed=0)
    inner = Sampler.step

    def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return inner(*args)

    monkeypatch.setattr(Sampler, "step", counted)
    seen, shown = Seen(inner=model), Seen(inner=model)
    list(objective.losses(seen, example))
    assert calls == 5
    stream = objective.sampler(4, 2).stream(shown, example.canvas)
    for _ in zip(range(5), stream, strict=False):
        pass
    for trained, decoded in zip(seen.canvases, shown.canvases, strict=False):  # decoding may have ended
        for name, value in decoded.tensors().items():
            assert torch.equal(trained.tensors()[name], value), name
    blocks = {int(canvas.block[0]) for canvas in seen.canvases}
    assert blocks == {0} if hold else len(blocks) > 1  # a full block is revised, or left for the next
    block = slice(int(example.canvas.start[0]), int(example.canvas.start[0]) + 4)
    full = [canvas for canvas in seen.canvases if not canvas.undecided[0, block].any()]
    assert full and (not hold or all((canvas.stage[0, block] == SOFT).all() for canvas in full))


def test_one_backward_a_forward_gives_the_gradient_of_the_sum_with_one_graph_alive() -> None:
    model = toy(gain=0.3).requires_grad_(True)

    def alive_at_most(depth: int) -> tuple[int, dict[str, Tensor]]:
        objective = TrajectorySupervision(evolve=FIXED, sizes=(16,), opens=(1,), depth=depth)
        example = objective.corrupt(batch(16, 16), MASK, seed=0)
        live = peak = 0

        class Kept:
            def __init__(self, x: Tensor) -> None:
                nonlocal live, peak
                self.x = x
                live += 1
                peak = max(peak, live)

            def __del__(self) -> None:
                nonlocal live
                live -= 1

        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.x):
            for loss in objective.losses(model, example):
                loss.backward()
                del loss
        found = gradients(model)
        total(objective, model, example).backward()
        whole = gradients(model)
        assert all(torch.allclose(found[name], whole[name], rtol=0, atol=1e-10) for name in whole)
        return peak, found

    assert alive_at_most(1)[0] == alive_at_most(4)[0]


def test_rows_may_be_dealt_out_in_any_way() -> None:
    model = toy(gain=0.3)
    objective = TrajectorySupervision(sizes=(4, 8), opens=(1, 2), depth=4)
    example = objective.corrupt(batch(16, 5, 9, 1), MASK, seed=3)
    assert isinstance(example, Corrupted) and isinstance(objective, Objective)
    whole, parts = total(objective, model, example), torch.zeros(())
    for row in range(4):
        some = example.rows(torch.tensor([row]))
        parts = parts + total(objective, model, some.narrow(int(some.canvas.end[0])).to(torch.device("cpu")))
    assert torch.allclose(whole, parts, rtol=0, atol=1e-10)


def test_rows_that_end_are_no_longer_learned_from() -> None:
    model = toy(gain=0.3).requires_grad_(True)
    objective = TrajectorySupervision(evolve=FIXED, sizes=(4,), opens=(4,), depth=3, hold=False)
    example = objective.corrupt(batch(4, 2), MASK, seed=0)  # one forward fills all there is
    losses = []
    for loss in objective.losses(model, example):
        losses.append(float(loss.detach()))
        loss.backward()
    assert losses[0] > 0 and losses[1:] == [0.0, 0.0]
    assert all(torch.isfinite(x.grad).all() for x in model.parameters() if x.grad is not None)


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=5), st.sampled_from([1, 4, 7, 32]), st.integers(1, 4),
    st.integers(1, 5), st.booleans(), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_what_a_row_begins_with(
    lengths: list[int], size: int, opens: int, depth: int, aligned: bool, seed: int
) -> None:
    rows = batch(*lengths)
    objective = TrajectorySupervision(sizes=(size,), opens=(opens,), depth=depth, aligned=aligned)
    example = objective.corrupt(rows, MASK, seed)
    canvas, column = example.canvas, torch.arange(rows.tokens.shape[1])
    first, last = canvas.start[:, None], torch.minimum(canvas.start + size, canvas.end)[:, None]
    assert not aligned or ((canvas.start - rows.start) % size == 0).all()
    assert aligned or (last - first == (rows.end - rows.start).clamp_max(size)[:, None]).all()
    assert (canvas.start >= rows.start).all() and (canvas.start < rows.end).all() and torch.equal(canvas.end, rows.end)
    before, here = column < first, (column >= first) & (column < last)
    assert (canvas.stage[before] == GIVEN).all() and torch.equal(canvas.tokens[before], rows.tokens[before])
    assert canvas.undecided[(column >= last) & (column < canvas.end[:, None])].all()
    opened = here & ~canvas.undecided
    assert (canvas.stage[opened] == SOFT).all() and torch.equal(canvas.tokens[opened], rows.tokens[opened])
    assert not (canvas.stage == DECODED).any()
    assert torch.equal(canvas.soft_ids[opened][:, 1], rows.tokens[opened])  # shown as it is
    assert (canvas.soft_weights[opened] == torch.tensor([0.0, 1, 0, 0])).all()
    left, room = (here & canvas.undecided).sum(1), here.sum(1)
    assert (left >= torch.minimum(room, torch.tensor(depth * opens))).all()
    again = objective.corrupt(rows, MASK, seed)
    assert torch.equal(again.canvas.tokens, canvas.tokens) and torch.equal(again.canvas.seed, canvas.seed)


def test_draws_vary() -> None:
    objective = TrajectorySupervision(sizes=(4, 8), opens=(1, 2, 4), depth=2, aligned=False)
    drawn = [objective.corrupt(batch(16, 16), MASK, seed) for seed in range(40)]
    assert {one.size for one in drawn} == {4, 8} and {one.opens for one in drawn} == {1, 2, 4}
    assert len({int(one.canvas.start[0]) for one in drawn}) > 8
    opened = [int((one.canvas.stage == SOFT).sum()) for one in drawn]
    assert min(opened) == 0 and len(set(opened)) > 5
    assert len(torch.cat([one.canvas.seed for one in drawn]).unique()) == 80


@pytest.mark.parametrize("whole", [0.0, 0.5, 1.0])
def test_a_share_of_the_rows_begins_with_nothing_open(whole: float) -> None:
    example = TrajectorySupervision(sizes=(32,), opens=(1,), depth=1, whole=whole).corrupt(batch(*[32] * 400), MASK, 0)
    none = ~(example.canvas.stage == SOFT).any(1)
    assert abs(float(none.double().mean()) - (whole + (1 - whole) / 32)) < 0.06


def test_without_gradients_nothing_is_kept_for_them() -> None:
    model, objective = toy(gain=0.3).requires_grad_(True), TrajectorySupervision(evolve=FIXED, depth=2)
    example = objective.corrupt(batch(16), MASK, seed=0)
    said = list[bool]()
    model.norm.register_forward_hook(lambda _, given, out: said.append(out.requires_grad))
    with torch.no_grad():
        assert not any(loss.requires_grad for loss in objective.losses(model, example)) and not any(said)
    assert all(loss.requires_grad for loss in objective.losses(model, example)) and sum(said) == 2


def test_the_order_may_be_the_models_or_random() -> None:
    model = toy(gain=0.3)
    example = TrajectorySupervision(evolve=FIXED, sizes=(16,), opens=(1,)).corrupt(batch(16, 16), MASK, seed=0)
    ours, theirs = (
        list(replace(TrajectorySupervision(evolve=FIXED), order=order).losses(model, example))
        for order in ("confidence", "random")
    )
    assert ours[0] == theirs[0] and ours[1] != theirs[1]
    shares = TrajectorySupervision(evolve=SoftTokens(k=2, share=Drawn(), lookahead=True))
    assert list(shares.losses(model, example))[1] != ours[1]


@pytest.mark.parametrize(
    "values, fault",
    [
        ({"sizes": ()}, r"sizes=\(\): give one or more positive numbers"),
        ({"opens": (1, 0)}, r"opens=\(1, 0\): give one or more positive numbers"),
        ({"depth": 0}, r"depth=0 is outside 1\.\.64"),
        ({"order": "left"}, "order='left' is unknown: use confidence or random"),
    ],
)
def test_bad_settings(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        TrajectorySupervision(**values)


def test_kept_columns_are_refused() -> None:
    rows = batch(8)._replace(kept=torch.ones(1, 1, dtype=torch.bool))
    with pytest.raises(ValueError, match="kept columns are not for this loss"):
        TrajectorySupervision().corrupt(rows, MASK, 0)
