"""Picks: what each promises, for any scores; the published golden values; the chances of those that draw."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unveil.canvas import Canvas
from unveil.sampling.picks import (
    Above,
    Below,
    Choice,
    Closing,
    EntropyBound,
    Factor,
    Opening,
    Pick,
    Quota,
    Scheduled,
    Threshold,
    Within,
)
from unveil.sampling.propose import Proposal
from unveil.sampling.random_picks import Coin, CoinsOrBest, PlackettLuce, SomeCoins
from unveil.sampling.scores import LeftToRight, Noisy

MORE_THAN_NONE: list[Pick] = [
    Quota(steps=3), Threshold(bar=0.5), Factor(factor=1.0), EntropyBound(gamma=0.5), PlackettLuce(), SomeCoins(),
    CoinsOrBest(), Within(pick=Threshold(bar=0.5), steps=2),
]  # fmt: skip
PERHAPS_NONE: list[Pick] = [
    Scheduled(steps=3), Above(bar=0.5), Below(bar=0.5), Opening(steps=3), Closing(steps=3, eta=0.5), Coin(),
]  # fmt: skip
RANKED = [Quota(steps=3), Scheduled(steps=3), Factor(factor=1.5), EntropyBound(gamma=2.0)]
SCORE = st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9])
CELLS = st.lists(st.tuples(SCORE, st.booleans()), min_size=1, max_size=8)


def canvas_of(rows: int, columns: int, step: int = 0, seed: int = 0) -> Canvas:
    """One given column and masks after it, in its `step`-th forward; every row has a seed of its own."""
    canvas = Canvas.blank([[1]] * rows, columns, mask_id=9, seed=list(range(seed, seed + rows)))
    return replace(canvas, step=canvas.step + step, nfe=canvas.nfe + step)


def case(cells: list[tuple[float, bool]], step: int = 0) -> tuple[Tensor, Tensor, Canvas]:
    """Scores, eligibility, canvas of one row; the given column scores highest and is not eligible."""
    scores = torch.tensor([[1.0, *(score for score, _ in cells)]])
    eligible = torch.tensor([[False, *(flag for _, flag in cells)]])
    return scores, eligible, canvas_of(1, len(cells), step)


def ranking(scores: Tensor, eligible: Tensor) -> list[int]:
    """Eligible columns, the best first, of equals the lowest."""
    columns = eligible[0].nonzero()[:, 0].tolist()
    return sorted(columns, key=lambda column: (-float(scores[0, column]), column))


def columns(choice: Choice) -> list[int]:
    return choice.chosen[0].nonzero()[:, 0].tolist()


@pytest.mark.parametrize("pick", MORE_THAN_NONE + PERHAPS_NONE, ids=repr)
@settings(max_examples=40)
@given(cells=CELLS, step=st.integers(0, 4))
def test_only_eligible_columns_and_one_where_it_is_promised(
    pick: Pick, cells: list[tuple[float, bool]], step: int
) -> None:
    scores, eligible, canvas = case(cells, step)
    choice = pick(scores, eligible, canvas)
    assert not (choice.chosen & ~eligible).any()
    if pick in MORE_THAN_NONE:
        assert choice.chosen.any() == eligible.any()
    log_prob = pick.log_prob(scores, eligible, choice)
    assert log_prob.shape == (1,) and log_prob.isfinite().all() and (log_prob <= 1e-6).all()


@pytest.mark.parametrize("pick", MORE_THAN_NONE + PERHAPS_NONE, ids=repr)
@settings(max_examples=20)
@given(rows=st.lists(CELLS, min_size=2, max_size=4), step=st.integers(0, 4))
def test_rows_do_not_see_each_other(pick: Pick, rows: list[list[tuple[float, bool]]], step: int) -> None:
    width = max(map(len, rows))
    cases = [case(cells + [(0.1, False)] * (width - len(cells)), step) for cells in rows]
    scores, eligible = torch.cat([c[0] for c in cases]), torch.cat([c[1] for c in cases])
    together = pick(scores, eligible, canvas_of(len(rows), width, step))
    for row in range(len(rows)):
        alone = pick(scores[[row]], eligible[[row]], canvas_of(1, width, step, seed=row))
        assert torch.equal(alone.chosen[0], together.chosen[row])
        assert alone.order is None or torch.equal(alone.order[0], together.order[row])


@pytest.mark.parametrize("pick", RANKED, ids=repr)
@settings(max_examples=40)
@given(cells=CELLS, step=st.integers(0, 4))
def test_ranked_picks_take_the_best_and_of_equals_the_lowest(
    pick: Pick, cells: list[tuple[float, bool]], step: int
) -> None:
    scores, eligible, canvas = case(cells, step)
    scores = -scores if isinstance(pick, EntropyBound) else scores
    chosen = columns(pick(scores, eligible, canvas))
    assert chosen == sorted(ranking(scores, eligible)[: len(chosen)])


def test_the_best_of_a_threshold_is_the_lowest_of_equals() -> None:
    scores, eligible, canvas = case([(0.25, False), (0.1, True), (0.25, True), (0.25, True)])
    assert columns(Threshold(bar=0.9)(scores, eligible, canvas)) == [3]


@settings(max_examples=40)
@given(masks=st.integers(1, 40), steps=st.integers(1, 45))
def test_a_quota_is_lladas_table(masks: int, steps: int) -> None:
    """base = masks // steps, one more in the first masks % steps steps; all is open after `steps` (never sooner)."""
    base, remainder = divmod(masks, steps)
    scores, left, counts = torch.rand(1, masks + 1), torch.ones(1, masks + 1, dtype=torch.bool), []
    left[0, 0] = False
    for step in range(steps):
        chosen = Quota(steps=steps)(scores, left, canvas_of(1, masks, step)).chosen
        left = left & ~chosen
        counts.append(int(chosen.sum()))
    assert counts == [base + (step < remainder) for step in range(steps)] and not left.any()


@given(masks=st.integers(1, 40), steps=st.integers(1, 12))
def test_dreams_schedule_opens_everything_in_its_steps(masks: int, steps: int) -> None:
    left, t = masks, torch.linspace(1, 1e-3, steps + 1)
    eligible = torch.ones(1, masks + 1, dtype=torch.bool)
    eligible[0, 0] = False
    for step in range(steps):
        chosen = Scheduled(steps=steps)(torch.rand(1, masks + 1), eligible, canvas_of(1, masks, step)).chosen
        want = int(left * (1 - t[step + 1] / t[step])) if step < steps - 1 else left
        assert int(chosen.sum()) == want
        eligible, left = eligible & ~chosen, left - want
    assert left == 0


@pytest.mark.parametrize("steps, masks, step", [(37, 55, 35), (54, 76, 52)])
def test_dreams_schedule_rounds_as_its_published_code(steps: int, masks: int, step: int) -> None:
    """Here (t - s) / t instead of 1 - s / t would round to another count."""
    t = torch.linspace(1, 1e-3, steps + 1)
    one, other = int(masks * (1 - t[step + 1] / t[step])), int(masks * ((t[step] - t[step + 1]) / t[step]))
    canvas = canvas_of(1, masks, step)
    chosen = Scheduled(steps=steps)(torch.rand(1, masks + 1), canvas.undecided, canvas).chosen
    assert int(chosen.sum()) == one != other


@given(cells=CELLS, bars=st.tuples(st.floats(0, 3), st.floats(0, 3)))
def test_bars_are_monotone(cells: list[tuple[float, bool]], bars: tuple[float, float]) -> None:
    scores, eligible, canvas = case(cells)
    low, high = sorted(bars)
    pairs = [
        (Threshold(bar=high), Threshold(bar=low)), (Above(bar=high), Above(bar=low)), (Below(bar=low), Below(bar=high)),
        (Factor(factor=low), Factor(factor=high)),
    ]  # fmt: skip
    for fewer, more in pairs:
        assert not (fewer(scores, eligible, canvas).chosen & ~more(scores, eligible, canvas).chosen).any()
    few, many = (EntropyBound(gamma=gamma)(-scores, eligible, canvas).chosen for gamma in (low, high))
    assert not (few & ~many).any()


@given(cells=CELLS, bar=SCORE)
def test_a_threshold_keeps_what_is_not_below_it(cells: list[tuple[float, bool]], bar: float) -> None:
    scores, eligible, canvas = case(cells)
    order = ranking(scores, eligible)
    bar = float(torch.tensor(bar))
    want = {c for c in order if float(scores[0, c]) >= bar} | set(order[:1])
    assert set(columns(Threshold(bar=bar)(scores, eligible, canvas))) == want
    assert set(columns(Above(bar=bar)(scores, eligible, canvas))) == {c for c in order if float(scores[0, c]) > bar}
    assert set(columns(Below(bar=bar)(scores, eligible, canvas))) == {c for c in order if float(scores[0, c]) < bar}


@pytest.mark.parametrize("factor, want", [(0.5, 2), (1.0, 3), (3.0, 4)])
def test_factor_golden_values(factor: float, want: int) -> None:
    """f = 3: the last alone fails, so four; the released code would open five."""
    scores, eligible, canvas = case([(score, True) for score in (0.99, 0.9, 0.8, 0.55, 0.3)])
    assert len(columns(Factor(factor=factor)(scores, eligible, canvas))) == want


@pytest.mark.parametrize("gamma, want", [(0.0, 2), (0.01, 2), (0.1, 4), (1.0, 5)])
def test_entropy_bound_golden_values(gamma: float, want: int) -> None:
    scores, eligible, canvas = case([(-entropy, True) for entropy in (0.0, 0.02, 0.05, 0.3, 1.2)])
    assert len(columns(EntropyBound(gamma=gamma)(scores, eligible, canvas))) == want


def test_a_noisy_top_n_is_n_draws_without_replacement() -> None:
    """Dream's alg_temp: pairs from softmax(score / temperature), the first out before the second."""
    num, temperature = 40_000, 1.5
    canvas = canvas_of(num, 4)
    zeros = torch.zeros(num, 5)
    noisy = Noisy(score=LeftToRight(), temperature=temperature)
    scores = noisy(Proposal(canvas.tokens, zeros), canvas)
    eligible = canvas.undecided
    chosen = Quota(steps=2)(scores, eligible, canvas).chosen[:, 1:]
    p = (-torch.arange(1.0, 5.0) / temperature).softmax(0).tolist()
    for i in range(4):
        for j in range(i + 1, 4):
            want = p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j])
            share = float((chosen[:, i] & chosen[:, j]).double().mean())
            assert abs(share - want) < 4.5 * (want * (1 - want) / num) ** 0.5


ERRORS = [
    (lambda: Quota(steps=0), "steps=0 is not positive: a block needs at least one forward"),
    (lambda: Scheduled(steps=-1), "steps=-1 is not positive: decoding needs at least one forward"),
    (lambda: Opening(steps=0), "steps=0 is not positive: decoding needs at least one forward"),
    (lambda: Closing(steps=2, eta=1.5), "eta=1.5 is outside [0, 1]: it is a probability"),
    (lambda: Opening(steps=2, eta=-0.1), "eta=-0.1 is outside [0, 1]: it is a probability"),
    (
        lambda: Noisy(score=LeftToRight(), temperature=0.0),
        "noise temperature 0.0 must be above 0: use the score itself for no noise",
    ),
]


@pytest.mark.parametrize("wrong, message", ERRORS, ids=[message[:30] for _, message in ERRORS])
def test_wrong_settings_are_explained(wrong: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        wrong()  # type: ignore[operator]
    assert str(caught.value) == message


@given(cells=CELLS, steps=st.integers(1, 5), step=st.integers(0, 6))
def test_within_is_the_rule_and_at_last_everything(cells: list[tuple[float, bool]], steps: int, step: int) -> None:
    scores, eligible, canvas = case(cells, step)
    rule = Threshold(bar=0.5)
    found = Within(pick=rule, steps=steps)(scores, eligible, canvas).chosen
    assert torch.equal(found, rule(scores, eligible, canvas).chosen if step < steps - 1 else eligible)
    with pytest.raises(ValueError, match="steps=0 is not positive: a block needs at least one forward"):
        Within(pick=rule, steps=0)
    with pytest.raises(ValueError, match="Coin.* draws, but the last forward would not: bound a rule without chance"):
        Within(pick=Coin(), steps=2)
