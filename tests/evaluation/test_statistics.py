"""Intervals against published and independently computed values."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unveil.evaluation.statistics import holm, mcnemar, mean_interval, paired_difference, ratio_interval, wilson


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


def test_the_ratio_interval_of_means_agrees_with_student() -> None:
    values = np.random.default_rng(3).normal(5, 2, size=500)
    assert ratio_interval(values) == pytest.approx(mean_interval(values), abs=0.03)
    assert ratio_interval(values, seed=1) == ratio_interval(values, seed=1) != ratio_interval(values, seed=2)


def test_the_ratio_interval_is_that_of_sums() -> None:
    """Tops are twice the bottoms in each item, so the ratio of sums is 2 whatever is drawn; a mean of ratios is not."""
    rng = np.random.default_rng(4)
    bottoms = rng.integers(1, 50, size=300)
    assert ratio_interval(2 * bottoms, bottoms) == pytest.approx((2, 2))
    noisy = 2 * bottoms + rng.normal(size=300)
    ratio = noisy.sum() / bottoms.sum()  # its standard error by the delta method
    half = 1.96 * (noisy - ratio * bottoms).std() / bottoms.mean() / 300**0.5
    assert ratio_interval(noisy, bottoms) == pytest.approx((ratio - half, ratio + half), abs=half / 5)


@pytest.mark.parametrize("tops, bottoms", [([], []), ([1.0], [1.0, 2.0]), ([1.0, 1.0], [1.0, 0.0])])
def test_a_ratio_needs_positive_bottoms(tops: list[float], bottoms: list[float]) -> None:
    with pytest.raises(ValueError, match="a ratio needs two lists of the same items, the second positive"):
        ratio_interval(tops, bottoms)


# R: binom.test(min, n)$p.value; the last counts are those of Agresti 2002, table 10.1
@pytest.mark.parametrize(
    "only_a, only_b, p",
    [(0, 0, 1.0), (0, 1, 1.0), (0, 6, 0.03125), (1, 9, 0.021484375), (5, 5, 1.0), (86, 150, 3.715936e-05)],
)
def test_mcnemar_has_known_values(only_a: int, only_b: int, p: float) -> None:
    assert mcnemar(only_a, only_b) == pytest.approx(p, rel=1e-6)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_binomial_test(only_a: int, only_b: int) -> None:
    binomtest = pytest.importorskip("scipy.stats").binomtest
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(only_b, only_a) == mcnemar(only_a, only_b)


@given(st.integers(0, 6), st.integers(0, 6))
def test_mcnemar_is_the_share_of_coins(only_a: int, only_b: int) -> None:
    """Of all ways the discordant pairs could fall, those at least as one-sided."""
    n, far = only_a + only_b, abs(only_a - only_b)
    as_far = sum(abs(2 * sum(coins) - n) >= far for coins in product((0, 1), repeat=n))
    assert mcnemar(only_a, only_b) == as_far / 2**n


def test_mcnemar_of_very_many_pairs_is_no_problem() -> None:
    assert mcnemar(6000, 6000) == 1.0 and 0 < mcnemar(5000, 5200) < 0.06 and mcnemar(0, 12000) == 0.0
    with pytest.raises(ValueError, match="-1 and 2 discordant pairs; a count is at least 0"):
        mcnemar(-1, 2)


def test_holm_has_the_published_values() -> None:  # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.7]) == [0.7]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_never_helps(p_values: list[float]) -> None:
    found = holm(p_values)
    assert all(p <= corrected <= min(1, len(p_values) * p) for p, corrected in zip(p_values, found, strict=True))
    pairs = sorted(zip(p_values, found, strict=True))
    assert [corrected for _, corrected in pairs] == sorted(found)
