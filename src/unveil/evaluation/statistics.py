"""Intervals and tests for what evaluations report: proportions, means, ratios, and differences on the same items."""

from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

Values = Sequence[int | float] | np.ndarray  # one number an item; True and False count as 1 and 0


class Difference(NamedTuple):
    """Mean of a - b over paired items, with a confidence interval."""

    mean: float
    low: float
    high: float


def _checked(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1, for example 0.95")
    return confidence


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval (low, high) for a proportion (Wilson 1927; the score method of Newcombe 1998).

    ValueError unless 0 <= successes <= n and n >= 1.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}; n must be at least 1 and successes from 0 to n")
    z = NormalDist().inv_cdf((1 + _checked(confidence)) / 2)
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    # at 0 and n the bound is exact; rounding must not move it
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == n else middle + half)


def _inside(t: float, degrees: int) -> float:
    """P(|T| <= t) for Student's T (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = np.arctan(t / degrees**0.5)
    first = 1 + degrees % 2  # cos^0, cos^2, ... for even degrees, cos^1, cos^3, ... for odd ones
    k = np.arange(first, degrees - 1, 2)
    terms = np.cumprod(np.r_[1.0, np.cos(angle) ** 2 * k / (k + 1)])
    if degrees % 2 == 0:
        return float(np.sin(angle) * terms.sum())
    return float(2 / np.pi * (angle + (np.sin(angle) * np.cos(angle) * terms.sum() if degrees > 1 else 0.0)))


def _student(confidence: float, degrees: int) -> float:
    """The t with P(|T| <= t) = confidence: by halving, and by its expansion in 1/degrees where that is exact."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    if degrees > 1000:
        return z + (z**3 + z) / (4 * degrees)
    low, high = 0.0, 1.0
    while _inside(high, degrees) < confidence:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, degrees) < confidence else (low, middle)
    return high


def mean_interval(values: Values, confidence: float = 0.95) -> tuple[float, float]:
    """Student's interval (low, high) for the mean, in the unit of `values`. ValueError for fewer than two values."""
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(f"values have shape {x.shape}; an interval needs one list of at least two values")
    half = _student(_checked(confidence), len(x) - 1) * x.std(ddof=1) / len(x) ** 0.5
    return float(x.mean() - half), float(x.mean() + half)


def paired_difference(
    a: Values,
    b: Values,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Mean of a - b on the same items, with the percentile bootstrap over items (Efron 1979).

    ValueError unless `a` and `b` are of one length, at least 1, and `resamples` is at least 1.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise ValueError(f"shapes {x.shape} and {y.shape}; pairs need two lists of the same items, at least one")
    difference = x - y
    means = [difference[drawn].mean() for drawn in _resampled(len(x), resamples, seed)]
    low, high = _percentiles(means, confidence)
    return Difference(float(difference.mean()), low, high)


def ratio_interval(
    tops: Values, bottoms: Values | None = None, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Interval (low, high) for sum(tops) / sum(bottoms), with the percentile bootstrap over items (Efron 1979).

    Without `bottoms` for the mean of `tops`. ValueError unless both have one length, at least 1, and bottoms above 0.
    """
    x = np.asarray(tops, np.float64)
    y = np.ones_like(x) if bottoms is None else np.asarray(bottoms, np.float64)
    if x.ndim != 1 or x.shape != y.shape or not len(x) or not (y > 0).all():
        raise ValueError(
            f"shapes {x.shape} and {y.shape}; a ratio needs two lists of the same items, the second positive"
        )
    ratios = [x[drawn].sum() / y[drawn].sum() for drawn in _resampled(len(x), resamples, seed)]
    return _percentiles(ratios, confidence)


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided p-value of McNemar's test, exact for any counts (a sign test of the discordant pairs).

    `only_a` items are right in a and wrong in b, `only_b` the reverse. Where a and b are equally accurate, each of them
    is a fair coin (McNemar 1947). ValueError for negative counts.
    """
    if min(only_a, only_b) < 0:
        raise ValueError(f"{only_a} and {only_b} discordant pairs; a count is at least 0")
    n, tail, ways = only_a + only_b, 0, 1  # ways: n over k
    for k in range(min(only_a, only_b) + 1):
        tail += ways
        ways = ways * (n - k) // (k + 1)
    return min(1.0, 2 * tail / 2**n)  # whole numbers: no rounding before the division


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number (Holm 1979): those up to 0.05 hold together at 5 %."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    found, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        found[place] = least
    return found


def _resampled(n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Numbers of `n` items, drawn with replacement, `resamples` times."""
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; it must be at least 1, 10000 is usual")
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield rng.integers(n, size=n)


def _percentiles(values: Sequence[float], confidence: float) -> tuple[float, float]:
    tail = (1 - _checked(confidence)) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
