"""The mask-agnostic loss: the paper's pseudocode, its bounds, what is drawn, who gets gradient, what is in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.toy import MASK, VOCABULARY, logits, toy
from unveil.canvas import Canvas
from unveil.models.denoiser import Outline, Prediction, Want
from unveil.models.transformer import Transformer
from unveil.objectives.loss import Batch, Corrupted, Objective
from unveil.objectives.mask_agnostic import LAWS, MaskAgnostic, Twins

EOS = 48
denoiser = cache(partial(toy, gain=0.3))
ids = st.integers(0, 47)


class Row(NamedTuple):
    """What the pseudocode draws for one pair."""

    prompt: list[int]
    answer: list[int]
    hidden: list[bool]
    p: float
    counts: tuple[int, int]


@st.composite
def some_rows(draw: st.DrawFn) -> list[Row]:
    found = []
    for _ in range(draw(st.integers(1, 4))):
        answer = draw(st.lists(ids, min_size=1, max_size=6))
        hidden = draw(st.lists(st.booleans(), min_size=len(answer), max_size=len(answer)).filter(any))
        prompt, counts = draw(st.lists(ids, min_size=1, max_size=6)), (draw(st.integers(0, 9)), draw(st.integers(0, 9)))
        found.append(Row(prompt, answer, hidden, draw(st.floats(0.2, 1.0)), counts))
    return found


def plain(model: Transformer, row: Row, alpha: float, beta: float) -> Tensor:
    """Section 3.5 of the notes on the paper, line by line, after its draws."""
    q, a, u, (l1, l2) = row.prompt, torch.tensor(row.answer), torch.tensor(row.hidden), row.counts
    at = torch.where(u, MASK, a).tolist()
    T = len(q) + len(a) + max(l1, l2)
    x = [torch.tensor(q + at + [MASK] * n + [EOS] * (T - len(q) - len(a) - n)) for n in (l1, l2)]
    idx = len(q) + u.nonzero()[:, 0]
    lo1, lo2 = (logits(model, xi, start=len(q))[idx] for xi in x)
    nm = int(u.sum())
    ce = (F.cross_entropy(lo1, a[u], reduction="sum") + F.cross_entropy(lo2, a[u], reduction="sum")) / (2 * row.p * nm)
    tv = row.p * (lo1.softmax(-1) - lo2.softmax(-1)).abs().sum() / nm
    return alpha * ce + beta * tv


def batch(rows: Sequence[tuple[list[int], list[int]]], room: int = 9) -> Batch:
    """Prompts and answers, side by side; beyond a row's end stands what is of no matter."""
    end = torch.tensor([len(q) + len(a) for q, a in rows])
    tokens = torch.full((len(rows), int(end.max())), 13)
    for number, (q, a) in enumerate(rows):
        tokens[number, : len(q) + len(a)] = torch.tensor(q + a)
    return Batch(tokens, torch.tensor([len(q) for q, _ in rows]), end, torch.tensor([room]))


def example(objective: MaskAgnostic, rows: Sequence[Row]) -> Twins:
    whole = batch([(row.prompt, row.answer) for row in rows])
    hidden = torch.zeros_like(whole.tokens, dtype=torch.bool)
    for number, row in enumerate(rows):
        hidden[number, len(row.prompt) :][: len(row.hidden)] = torch.tensor(row.hidden)
    p = torch.tensor([row.p for row in rows], dtype=torch.float64)
    fewer, more = (torch.tensor([order(row.counts) for row in rows]) for order in (min, max))
    return objective.example(whole, hidden, p, fewer, more, MASK)


def value(model: Any, objective: MaskAgnostic, example: Twins) -> Tensor:
    (part,) = objective.losses(model, example)
    return part


@settings(max_examples=40)
@given(rows=some_rows(), alpha=st.sampled_from([0.0, 0.1, 1.0]), beta=st.sampled_from([0.0, 1.0, 10.0]),
       shift=st.sampled_from([0, 1]))  # fmt: skip
def test_it_is_the_mean_of_the_pseudocode_over_rows(rows: list[Row], alpha: float, beta: float, shift: int) -> None:
    model = denoiser(shift=shift)
    want = sum(float(plain(model, row, alpha, beta)) for row in rows) / len(rows)
    objective = MaskAgnostic(eos=EOS, alpha=alpha, beta=beta)
    assert abs(float(value(model, objective, example(objective, rows))) - want) < 1e-9 * max(1.0, want)


def test_its_gradient_is_that_of_the_pseudocode() -> None:
    rows = [Row([1, 2, 3], [4, 5, 6, 7], [True, False, True, True], 0.7, (5, 2)), Row([8], [9], [True], 0.3, (0, 7))]
    model, objective = toy(gain=0.3).requires_grad_(True), MaskAgnostic(eos=EOS, alpha=0.5, beta=2.0)
    ours = torch.autograd.grad(value(model, objective, example(objective, rows)), list(model.parameters()))
    both = (plain(model, rows[0], 0.5, 2.0) + plain(model, rows[1], 0.5, 2.0)) / 2
    for mine, theirs in zip(ours, torch.autograd.grad(both, list(model.parameters())), strict=True):
        assert (mine - theirs).abs().max() < 1e-9 * max(1.0, float(theirs.abs().max()))


def corrupted(objective: MaskAgnostic, rows: int = 4000, *, room: int = 9, seed: int = 0) -> Twins:
    """Many rows of one prompt and five tokens."""
    return objective.corrupt(batch([([1, 2, 3], [4, 5, 6, 7, 8])] * rows, room), MASK, seed)


def appended(canvas: Canvas, at: int = 8) -> Tensor:
    """The number of masks in and after column `at` of each row."""
    return (canvas.tokens[:, at:] == MASK).sum(1)


def probabilities(objective: MaskAgnostic, example: Twins) -> Tensor:
    """p of each row, from its weights."""
    return objective.alpha / (2 * example.weight * example.canvas.num_undecided * len(example.weight))


@given(room=st.integers(1, 40), law=st.sampled_from(sorted(LAWS)), seed=st.integers(0, 999))
def test_both_inputs_are_alike_but_for_the_number_of_masks(room: int, law: str, seed: int) -> None:
    twins = corrupted(MaskAgnostic(eos=EOS, lengths=law), 6, room=room, seed=seed)
    fewer, more = twins.canvas, twins.other
    assert torch.equal(fewer.stage, more.stage) and torch.equal(fewer.end, more.end)
    assert torch.equal(fewer.tokens[:, :8], more.tokens[:, :8])
    assert (fewer.tokens[:, :3] == torch.tensor([1, 2, 3])).all()
    low, high = appended(fewer), appended(more)
    assert (low >= 0).all() and (low < high).all() and (high <= room).all()
    assert torch.equal(more.end, 8 + high)
    for canvas, count in ((fewer, low), (more, high)):
        for row in range(6):
            tail = [MASK] * int(count[row]) + [EOS] * int(high[row] - count[row])
            assert canvas.tokens[row, 8 : int(canvas.end[row])].tolist() == tail
    hidden = fewer.undecided
    assert not hidden[:, :3].any() and not hidden[:, 8:].any() and hidden.any(1).all()
    shown = torch.where(hidden, MASK, twins.targets)[:, :8]
    assert torch.equal(fewer.tokens[:, :8], shown)


def test_p_is_even_and_hides_so_many() -> None:
    objective = MaskAgnostic(eos=EOS, masked=(0.2, 0.8))
    twins = corrupted(objective)
    p = probabilities(objective, twins).double()
    even = 0.2 + 0.6 * (torch.arange(4000) + 0.5) / 4000
    assert (p.sort().values - even).abs().max() < 0.6 * 1.95 / 4000**0.5
    hidden = twins.canvas.undecided[:, 3:8].double()
    chance = p + (1 - p) ** 5 / 5  # one of five, where none was drawn
    error = 4.5 / 4000**0.5 / 2
    assert ((hidden - chance[:, None]).mean(0).abs() < error).all()
    assert ((hidden - chance[:, None]) * (p[:, None] - 0.5)).mean(0).abs().max() < error * 0.2


@pytest.mark.parametrize("law", LAWS)
def test_two_numbers_are_drawn_without_replacement(law: str) -> None:
    """Every pair as often as the law says: l1 by its weight, l2 by its weight among the others."""
    room, draws = 5, 200_000
    low, high = MaskAgnostic(eos=EOS, lengths=law).counts(torch.full((draws,), room), torch.Generator().manual_seed(1))
    own = torch.ones(room + 1) if law == "uniform" else torch.tensor([(n + 2) / (n + 1) for n in range(room + 1)]).log()
    own = own.double() / own.sum()
    for a in range(room + 1):
        for b in range(a, room + 1):
            want = float(own[a] * own[b] / (1 - own[a]) + own[b] * own[a] / (1 - own[b])) if a < b else 0.0
            seen = float(((low == a) & (high == b)).double().mean())
            assert abs(seen - want) <= 4.5 * (want / draws) ** 0.5, (a, b)


def test_every_row_has_its_own_room() -> None:
    whole = batch([([1], [2, 3])] * 2000)._replace(room=torch.tensor([0, 1, 2, 30]).repeat(500))
    twins = MaskAgnostic(eos=EOS).corrupt(whole, MASK, 0)
    most = [int(appended(twins.other, 3)[kind::4].max()) for kind in range(4)]
    assert most == [0, 1, 2, 30]


def test_equal_lengths_have_no_distance() -> None:
    objective = MaskAgnostic(eos=EOS)
    ce, tv = objective.terms(denoiser(), corrupted(objective, 4, room=0))
    assert float(ce) > 0 and abs(float(tv)) < 1e-12


OUTLINE = toy().outline


@dataclass(frozen=True)
class Table:
    """A denoiser that answers with given logits; it notes what it is asked."""

    logits: Tensor
    asked: list[Tensor]
    outline: Outline = OUTLINE

    def new_cache(self, canvas: Canvas) -> Any:
        raise NotImplementedError

    def __call__(self, canvas: Canvas, fresh: Tensor, read: Tensor, cache: None, want: Want) -> Prediction:
        self.asked.append(read)
        return Prediction(index=read.flatten().nonzero()[:, 0], logits=self.logits)


def table(twins: Twins, scale: float = 1.0) -> Table:
    """Random logits for all that is hidden in both inputs."""
    number = 2 * int(twins.canvas.num_undecided.sum())
    drawn = torch.randn(number, VOCABULARY, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return Table((scale * drawn).requires_grad_(True), [])


@given(rows=some_rows(), scale=st.sampled_from([0.1, 1.0, 30.0, 1000.0]))
def test_the_distance_is_at_most_twice_p(rows: list[Row], scale: float) -> None:
    objective = MaskAgnostic(eos=EOS)
    twins = example(objective, rows)
    tv = float(objective.terms(table(twins, scale), twins)[1].detach())
    assert 0 < tv <= sum(2 * row.p for row in rows) / len(rows) * (1 + 1e-12)


def test_certain_and_different_predictions_reach_the_bound() -> None:
    objective = MaskAgnostic(eos=EOS, beta=3.0)
    twins = example(objective, [Row([1], [2, 3], [True, True], 0.4, (0, 1))])
    sure = 100 * F.one_hot(torch.tensor([5, 6, 7, 8]), VOCABULARY).double()
    assert abs(float(objective.terms(Table(sure, []), twins)[1]) - 3 * 2 * 0.4) < 1e-9


def test_without_distance_and_with_all_hidden_it_is_the_cross_entropy_of_both() -> None:
    """beta = 0 and p = 1: alpha times the mean over both inputs and the answer's tokens."""
    objective = MaskAgnostic(eos=EOS, alpha=0.7, beta=0.0, masked=(1.0, 1.0))
    twins = corrupted(objective, 3)
    assert (twins.canvas.num_undecided == 5).all()
    nats = 0.0
    for row in range(3):
        for canvas in (twins.canvas, twins.other):
            shown = canvas.tokens[row, : int(canvas.end[row])]
            nats += float(F.cross_entropy(logits(denoiser(), shown, start=3)[3:8], twins.targets[row, 3:8]))
    assert abs(float(value(denoiser(), objective, twins)) - 0.7 * nats / 6) < 1e-6


def test_nothing_is_asked_of_what_follows_an_answer() -> None:
    """Only hidden columns of the answer are read, so appended masks and EOS have no loss and give no gradient."""
    objective = MaskAgnostic(eos=EOS)
    twins = corrupted(objective, 8)
    model = table(twins)
    before = value(model, objective, twins)
    (read,) = model.asked
    assert torch.equal(read, twins.canvas.undecided.repeat(2, 1))
    assert not read[:, 8:].any() and not read[:, :3].any() and (appended(twins.other) > 0).all()
    other = twins._replace(targets=twins.targets.masked_fill(~twins.canvas.undecided, 17))
    assert torch.equal(value(model, objective, other), before)


SIDES = {"none": (True, True), "fewer": (False, True), "more": (True, False)}


@pytest.mark.parametrize(("anchor", "moved"), SIDES.items(), ids=SIDES)
def test_which_input_gets_gradient(anchor: str, moved: tuple[bool, bool]) -> None:
    """From CE both, in every variant; from TV both, or all but the anchor. The value never changes."""
    objective = MaskAgnostic(eos=EOS, anchor=anchor)
    twins = corrupted(objective, 5)
    model = table(twins)
    ce, tv = objective.terms(model, twins)
    for term, want in ((ce, (True, True)), (tv, moved)):
        (slope,) = torch.autograd.grad(term, model.logits, retain_graph=True)
        assert tuple(bool((side != 0).any(1).all()) for side in slope.chunk(2)) == want
        assert tuple(bool((side != 0).any()) for side in slope.chunk(2)) == want
    assert torch.equal(tv, replace(objective, anchor="none").terms(model, twins)[1])


def test_the_anchor_is_told_by_its_masks_and_learns_nothing() -> None:
    """The rows of `canvas` have fewer masks; a model that sees both moves through the other input alone."""
    objective = MaskAgnostic(eos=EOS, alpha=0.0, anchor="fewer")
    twins = corrupted(objective, 3)
    model = toy(gain=0.3).requires_grad_(True)
    (slope,) = torch.autograd.grad(value(model, objective, twins), [model.embed.weight])
    with torch.no_grad():
        fixed = [logits(model, twins.canvas.tokens[row, : int(twins.canvas.end[row])], 3) for row in range(3)]
    want = torch.zeros(())
    for row, still in enumerate(fixed):
        moving = logits(model, twins.other.tokens[row, : int(twins.other.end[row])], 3)
        hidden = twins.canvas.undecided[row, : len(still)]
        want = want + twins.pull[row] * (moving.softmax(-1) - still.softmax(-1))[hidden].abs().sum()
    (theirs,) = torch.autograd.grad(want, [model.embed.weight])
    assert (slope - theirs).abs().max() < 1e-6 * float(theirs.abs().max())


def test_logits_in_half_precision_are_reduced_in_single() -> None:
    objective = MaskAgnostic(eos=EOS)
    twins = corrupted(objective, 5)
    half = table(twins).logits.detach().bfloat16()
    ours, wide = (objective.terms(Table(x, []), twins) for x in (half, half.float()))
    assert all(torch.equal(x, y) for x, y in zip(ours, wide, strict=True))


@given(parts=st.lists(st.integers(0, 3), min_size=6, max_size=6), seed=st.integers(0, 99))
def test_the_losses_of_parts_add_up_to_the_loss(parts: list[int], seed: int) -> None:
    """However the rows of an example are dealt out, and cut to their longest."""
    objective = MaskAgnostic(eos=EOS)
    whole = batch([([1] * (1 + n % 3), [2, 3, 4, 5][: 1 + n % 4]) for n in range(6)])
    twins = objective.corrupt(whole, MASK, seed)
    total = torch.zeros(())
    for part in range(4):
        index = torch.tensor([row for row in range(6) if parts[row] == part], dtype=torch.int64)
        if len(index):
            some = twins.rows(index)
            some = some.narrow(int(some.canvas.end.max())).to(torch.device("cpu"))
            total = total + value(denoiser(), objective, some)
    assert abs(float(total) - float(value(denoiser(), objective, twins))) < 1e-5 * max(1.0, float(total))


def test_a_seed_decides_everything_and_nothing_else_does() -> None:
    objective = MaskAgnostic(eos=EOS)
    torch.manual_seed(0)
    one = corrupted(objective, 5, seed=3)
    torch.manual_seed(1)
    again, other = corrupted(objective, 5, seed=3), corrupted(objective, 5, seed=4)
    assert torch.equal(one.other.tokens, again.other.tokens) and torch.equal(one.weight, again.weight)
    assert not torch.equal(one.weight, other.weight)
    assert isinstance(objective, Objective) and isinstance(one, Corrupted)


class Widest(TorchDispatchMode):
    """The most rows of any tensor whose last axis is the vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, Tensor) and x.ndim and x.shape[-1] == VOCABULARY:
                self.rows = max(self.rows, x.numel() // VOCABULARY)
        return out


def test_the_vocabulary_meets_the_hidden_columns_alone() -> None:
    """Forward and backward, with far more columns than hidden ones."""
    model, objective = toy(gain=0.3).requires_grad_(True), MaskAgnostic(eos=EOS)
    twins = objective.corrupt(batch([([1] * 30, [2, 3, 4])] * 2, room=60), MASK, 1)
    hidden = 2 * int(twins.canvas.num_undecided.sum())
    with Widest() as seen:
        value(model, objective, twins).backward()
    assert 0 < seen.rows <= max(hidden, model.head.weight.shape[1])  # transposed weights have rows of D


RANGE = "is no range within (0, 1]: give the lowest share and the highest"
BAD = {
    "p": ({"masked": (0.0, 0.8)}, f"masked=(0.0, 0.8) {RANGE}"),
    "order": ({"masked": (0.8, 0.2)}, f"masked=(0.8, 0.2) {RANGE}"),
    "alpha": ({"alpha": -1.0}, "alpha=-1.0 is negative: give 0 or more"),
    "beta": ({"beta": -0.5}, "beta=-0.5 is negative: give 0 or more"),
    "lengths": ({"lengths": "even"}, "lengths='even' is unknown: use uniform, log"),
    "anchor": ({"anchor": "both"}, "anchor='both' is unknown: use none, fewer, more"),
}


@pytest.mark.parametrize(("change", "fault"), BAD.values(), ids=BAD)
def test_impossible_settings_are_refused(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError) as caught:
        MaskAgnostic(**({"eos": EOS} | change))
    assert str(caught.value) == fault


def test_a_row_beyond_the_context_is_refused() -> None:
    with pytest.raises(ValueError) as caught:
        corrupted(MaskAgnostic(eos=EOS), 2, room=-3)
    assert str(caught.value) == "a row has room for -3 masks: leave out what exceeds the context"


def test_kept_columns_are_refused() -> None:
    kept = batch([([1], [2, 3])])._replace(kept=torch.tensor([[False, True, False]]))
    with pytest.raises(ValueError) as caught:
        MaskAgnostic(eos=EOS).corrupt(kept, MASK, 0)
    assert str(caught.value) == "kept columns are not for this loss: answers end a row, the masks follow them"
