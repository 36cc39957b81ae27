"""Picks that draw: published golden values, chances against enumeration, gradients where logits are extreme."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unveil.canvas import Canvas
from unveil.sampling.picks import Choice, Pick
from unveil.sampling.random_picks import Coin, CoinsOrBest, PlackettLuce, SomeCoins


def canvas_of(rows: int, columns: int, seed: int = 0) -> Canvas:
    """One given column and masks after it; every row has a seed of its own."""
    canvas = Canvas.blank([[1]], columns, mask_id=9).rows(torch.zeros(rows, dtype=torch.int64))
    return replace(canvas, seed=torch.arange(seed, seed + rows))


LOGITS = torch.tensor([[0.3, -1.2, 9.0, -0.5]], dtype=torch.float64)  # column 2 is not eligible
ELIGIBLE = torch.tensor([[True, True, False, True]])


def sequence(*order: int) -> Choice:
    ranks = torch.full((1, 4), -1)
    for rank, column in enumerate(order):
        ranks[0, column] = rank
    return Choice(ranks >= 0, ranks)


def test_coin_golden_value() -> None:
    log_prob = Coin().log_prob(LOGITS, ELIGIBLE, Choice(torch.tensor([[True, False, False, True]])))
    assert abs(float(log_prob) + 1.79171) < 1e-5


@pytest.mark.parametrize("order, want", [((0,), -1.16021), ((0, 3), -1.92349), ((3, 0), -2.25253)])
def test_plackett_luce_golden_values(order: tuple[int, ...], want: float) -> None:
    assert abs(float(PlackettLuce().log_prob(LOGITS, ELIGIBLE, sequence(*order))) - want) < 1e-5


def sequences() -> list[tuple[int, ...]]:
    return [order for length in (1, 2, 3) for order in permutations((0, 1, 3), length)]


@pytest.mark.parametrize("stop", [-1.5, 0.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_sequences_of_plackett_luce_sum_to_one(stop: float, dtype: torch.dtype) -> None:
    pick = PlackettLuce(stop=stop)
    total = sum(float(pick.log_prob(LOGITS.to(dtype), ELIGIBLE, sequence(*order)).exp()) for order in sequences())
    assert abs(total - 1) < 1e-6


def test_plackett_luce_draws_what_its_log_probability_says() -> None:
    num, pick = 40_000, PlackettLuce(stop=0.5)
    choice = pick(LOGITS.expand(num, -1), ELIGIBLE.expand(num, -1), canvas_of(num, 3))
    assert choice.order is not None
    for order in sequences():
        want = float(pick.log_prob(LOGITS, ELIGIBLE, sequence(*order)).exp())
        ranks = sequence(*order).order
        share = float((choice.order == ranks).all(1).double().mean())
        assert abs(share - want) < 4.5 * (want * (1 - want) / num) ** 0.5, order


def test_plackett_luce_has_finite_gradients_also_when_everything_is_chosen() -> None:
    for order in sequences():
        scores = LOGITS.clone().requires_grad_(True)
        PlackettLuce().log_prob(scores, ELIGIBLE, sequence(*order)).sum().backward()
        assert scores.grad is not None and scores.grad.isfinite().all() and scores.grad[0, 2] == 0
    asleep = PlackettLuce().log_prob(LOGITS, ELIGIBLE & False, sequence())
    assert asleep.tolist() == [0.0]


def test_coins_of_logit_minus_two_need_48_8_forwards_for_256_columns() -> None:
    """The published reference for a constant policy without a fallback, one block of 256."""
    rows, canvas = 300, canvas_of(300, 256)
    left = torch.ones(rows, 257, dtype=torch.bool)
    left[:, 0] = False
    forwards = torch.zeros(rows)
    while left.any():
        forwards += left.any(1)
        left = left & ~Coin()(torch.full((rows, 257), -2.0), left, canvas).chosen
        canvas = canvas.tick(10_000)
    assert abs(float(forwards.mean()) - 48.8) < 2.5


COINS = [Coin(), SomeCoins(), CoinsOrBest()]
EXTREME = [[-100.0, -90.0, 0.0, -80.0], [90.0, -1000.0, 0.0, 1000.0], [-1000.0, -1000.0, 0.0, -999.0], [0.0] * 4]


def subsets() -> list[Choice]:
    """Every set of eligible columns, the empty one first."""
    choices = []
    for flags in product((False, True), repeat=3):
        chosen = torch.zeros(1, 4, dtype=torch.bool)
        chosen[0, [0, 1, 3]] = torch.tensor(flags)
        choices.append(Choice(chosen))
    return choices


def test_some_coins_golden_value() -> None:
    """The coins of the golden value above, given that the step is not empty."""
    log_prob = SomeCoins().log_prob(LOGITS, ELIGIBLE, Choice(torch.tensor([[True, False, False, True]])))
    assert abs(float(log_prob) + 1.56409) < 1e-5


@pytest.mark.parametrize("pick", COINS, ids=repr)
@settings(max_examples=60)
@given(values=st.lists(st.floats(-700, 700), min_size=3, max_size=3))
def test_all_choices_sum_to_one(pick: Pick, values: list[float]) -> None:
    logits = torch.tensor([[values[0], values[1], 9.0, values[2]]], dtype=torch.float64)
    total = sum(float(pick.log_prob(logits, ELIGIBLE, choice).exp()) for choice in subsets())
    assert abs(total - 1) < 1e-9


def test_an_empty_choice_is_impossible_where_one_is_promised() -> None:
    for pick in (SomeCoins(), CoinsOrBest()):
        assert pick.log_prob(LOGITS, ELIGIBLE, subsets()[0]).tolist() == [float("-inf")]
        assert pick.log_prob(LOGITS, ELIGIBLE & False, subsets()[0]).tolist() == [0.0]


def close_to_enumeration(pick: Pick, logits: Tensor, num: int = 40_000) -> None:
    """The share of every choice among draws is what its log-probability says."""
    drawn = pick(logits.expand(num, -1), ELIGIBLE.expand(num, -1), canvas_of(num, 3)).chosen
    for choice in subsets():
        want = float(pick.log_prob(logits, ELIGIBLE, choice).exp())
        share = float((drawn == choice.chosen).all(1).double().mean())
        assert abs(share - want) <= 4.5 * (want * (1 - want) / num) ** 0.5 + 1e-9, choice


@pytest.mark.parametrize("pick", COINS, ids=repr)
@pytest.mark.parametrize("shift", [0.0, -2.0, -30.0])
def test_coins_are_drawn_as_their_log_probability_says(pick: Pick, shift: float) -> None:
    """At -30 nearly every free draw is empty; what is conditioned on not being so costs no more there."""
    close_to_enumeration(pick, LOGITS + shift)


def test_the_best_of_an_empty_draw_is_the_lowest_of_equals() -> None:
    logits = torch.tensor([[-900.0, -800.0, 9.0, -800.0]])
    assert CoinsOrBest()(logits, ELIGIBLE, canvas_of(1, 3)).chosen.tolist() == [[False, True, False, False]]


@pytest.mark.parametrize("pick", [*COINS, PlackettLuce()], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("values", EXTREME, ids=str)
def test_gradients_are_finite_at_extreme_logits(pick: Pick, dtype: torch.dtype, values: list[float]) -> None:
    ordered = isinstance(pick, PlackettLuce)
    choices = [sequence(*order) for order in sequences()] if ordered else subsets()[not isinstance(pick, Coin) :]
    for choice in choices:
        logits = torch.tensor([values], dtype=dtype, requires_grad=True)
        log_prob = pick.log_prob(logits, ELIGIBLE, choice)
        if log_prob.isfinite():  # all but the impossible empty choice
            log_prob.sum().backward()
            assert logits.grad is not None and logits.grad.isfinite().all() and logits.grad[0, 2] == 0
        else:
            assert not choice.chosen.any()


def test_a_wrong_action_of_a_sure_coin_still_has_a_gradient() -> None:
    """The published code clamps probabilities and loses it from 16 on."""
    logits = torch.tensor([[20.0, -20.0, 9.0, 0.0]], requires_grad=True)
    Coin().log_prob(logits, ELIGIBLE, Choice(torch.tensor([[False, True, False, True]]))).sum().backward()
    assert logits.grad is not None and torch.allclose(logits.grad, torch.tensor([[-1.0, 1.0, 0.0, 0.5]]))


@pytest.mark.parametrize("pick", COINS[1:], ids=repr)
def test_gradients_are_those_of_finite_differences(pick: Pick) -> None:
    for choice in subsets()[1:]:
        logits = LOGITS.clone().requires_grad_(True)
        log_prob: Callable[[Tensor], Tensor] = lambda x, choice=choice: pick.log_prob(x, ELIGIBLE, choice)  # noqa: E731
        assert torch.autograd.gradcheck(log_prob, (logits,))


def test_coins_of_logit_minus_two_complete_57_percent_of_blocks_of_32() -> None:
    """The published reference for a loop that leaves a block after as many forwards as it has columns."""
    rows, canvas = 2000, canvas_of(2000, 32)
    left = canvas.undecided
    for _ in range(32):
        left = left & ~Coin()(torch.full((rows, 33), -2.0), left, canvas).chosen
        canvas = canvas.tick(10_000)
    assert abs(float((~left.any(1)).double().mean()) - 0.574) < 4.5 * (0.574 * 0.426 / rows) ** 0.5
    assert abs(float(left.sum()) / rows * 8 - 4.41) < 0.5  # masks left in eight blocks
