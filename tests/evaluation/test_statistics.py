"""Intervals against published and independently computed values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unveil.evaluation.statistics import mean_interval, paired_difference, wilson


# Newcombe 1998, Table I, method 3
@pytest.mark.parametrize(
    "successes, n, low, high",
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_has_the_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_holds_the_share_and_mirrors(counts: tuple[int, int], confidence: float) -> None:
    successes, n = counts
    low, high = wilson(successes, n, confidence)
    assert 0 <= low <= successes / n <= high <= 1 and low < high
    assert wilson(n - successes, n, confidence) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    assert (low == 0) == (successes == 0) and (high == 1) == (successes == n)


@pytest.mark.parametrize("successes, n", [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{successes} successes of {n}; n must be at least 1"):
        wilson(successes, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_is_a_share(confidence: float) -> None:
    for interval in (lambda: wilson(1, 2, confidence), lambda: mean_interval([1, 2], confidence)):
        with pytest.raises(ValueError, match="confidence is .*between 0 and 1"):
            interval()


def test_the_mean_interval_of_one_to_ten() -> None:  # R: t.test(1:10)
    assert mean_interval([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]) == pytest.approx((3.334149, 7.665851), abs=1e-6)


# Student's quantiles as tabled
@pytest.mark.parametrize(
    "n, confidence, t",
    [(2, 0.95, 12.7062), (3, 0.95, 4.3027), (4, 0.99, 5.8409), (31, 0.95, 2.0423), (121, 0.99, 2.6174), (2, 0.5, 1.0)],
)
def test_the_mean_interval_uses_students_quantiles(n: int, confidence: float, t: float) -> None:
    values = np.random.default_rng(n).normal(size=n)
    low, high = mean_interval(values, confidence)
    assert (low + high) / 2 == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(t * values.std(ddof=1) / n**0.5, rel=1e-4)


def test_the_expansion_for_many_values_joins_the_exact_one() -> None:
    halves = [mean_interval(np.tile([-1.0, 1.0], n // 2))[1] * (n - 1) ** 0.5 for n in (1000, 1002)]
    assert halves == pytest.approx([1.9623415, 1.9623367], abs=4e-6)


def test_a_mean_interval_needs_two_values() -> None:
    with pytest.raises(ValueError, match="at least two values"):
        mean_interval([1.0])


def test_paired_differences_use_the_pairs() -> None:
    rng = np.random.default_rng(0)
    hardness, noise = rng.normal(size=400) * 10, rng.normal(size=400)
    found = paired_difference(hardness + 0.3 + noise, hardness, seed=1)
    assert found.mean == pytest.approx(0.3 + noise.mean())
    low, high = mean_interval(0.3 + noise)  # for 400 normal values the bootstrap agrees with Student
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)
    assert paired_difference(hardness + 0.3 + noise, hardness, seed=1) == found
    assert paired_difference(hardness + 0.3 + noise, hardness, seed=2) != found


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.floats(-5, 5))
def test_a_constant_difference_has_no_width(values: list[float], shift: float) -> None:
    found = paired_difference(np.array(values) + shift, values, resamples=50)
    assert found.high - found.low <= 1e-8 and found == pytest.approx((shift,) * 3, abs=1e-8)


@pytest.mark.parametrize("a, b", [([], []), ([1.0], [1.0, 2.0])])
def test_pairs_must_match(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="pairs need two lists of the same items"):
        paired_difference(a, b)
    with pytest.raises(ValueError, match="resamples is 0"):
        paired_difference([1.0], [2.0], resamples=0)
