"""Two models on the same seeds: difference, test, probability of superiority; and many tests at once."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import special

from rnnae_bench.statistics.estimates import LEVEL, Estimate, t_quantile


def difference(differences: Sequence[float]) -> Estimate:
    """The mean of the differences with Student's interval: it leaves out zero where `p_value` is below 0.05.

    Differences of two samples of one shape are symmetric, however skewed that is, and for those Student's interval
    covers 95 to 97 % with five.
    """
    data = np.asarray(differences, dtype=float)
    center = float(data.mean())
    if len(data) < 2:
        return Estimate(center, None, None)
    half = t_quantile(len(data) - 1) * float(data.std(ddof=1)) / len(data) ** 0.5
    return Estimate(center, center - half, center + half)


def least(pairs: int) -> float:
    """The smallest p that so many differences can have: 2/4^n.

    Of trials that are independent and equally distributed, a pair has one given difference with a probability of 1/4 at
    most (Motzkin and Straus 1965; reached by two values that are equally likely), the opposite one as often: so often
    are all differences the same where there is none.
    """
    return float(2 * 4.0**-pairs)


def p_value(differences: Sequence[float]) -> float:
    """Two-sided p of the paired t test: that the mean of the differences is zero; `least` where that is more.

    Of equal models with five seeds, 0.7 to 5.4 % have p <= 0.05, and 0 to 0.7 % p <= 0.005 (1 % where the metric has
    only three values).

    Raises:
        ValueError: fewer than two differences.
    """
    data = np.asarray(differences, dtype=float)
    if len(data) < 2:
        raise ValueError("a paired test needs two differences")
    center, spread = np.array([data.mean()]), np.array([data.std(ddof=1)])
    if center == 0:
        return 1.0
    return max(least(len(data)), float(two_sided(center, spread, len(data), len(data) - 1)[0]))


def two_sided(
    center: Float[ndarray, "test"],
    spread: Float[ndarray, "test"],
    count: Float[ndarray, "test"] | int,
    degrees: Float[ndarray, "test"] | int,
) -> Float[ndarray, "test"]:
    """Two-sided p of t tests of means against zero: 1 where the mean is zero, otherwise 0 where there is no spread.

    Args:
        center: The means.
        spread: The standard deviations of single values.
        count: How many values.
        degrees: Degrees of freedom of the standard deviations.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * special.stdtr(degrees, -abs(center) / spread * np.sqrt(count))
    return np.where(center == 0, 1.0, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values corrected for their number (Holm 1979), in the same order."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(
        1.0, np.maximum.accumulate(np.asarray(p_values)[order] * np.arange(len(p_values), 0, -1))
    )
    return [float(value) for value in corrected]


def superiority(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Probability that a value of `first` is larger than one of `second`, ties half.

    The interval is Newcombe's (2006, method 5), which has a width also where the two don't overlap.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    difference = a[:, None] - b[None, :]
    value = float((difference > 0).mean() + (difference == 0).mean() / 2)
    return Estimate(value, _lower_end(value, len(a), len(b)), 1 - _lower_end(1 - value, len(a), len(b)))


@lru_cache(maxsize=4096)
def _lower_end(value: float, first: int, second: int) -> float:
    """The smallest probability that the observed one is not too far above, by bisection."""
    z = float(special.ndtri((1 + LEVEL) / 2))
    more = (first + second) / 2 - 1
    low, high = 0.0, value
    for _ in range(50):
        theta = (low + high) / 2
        variance = (
            theta * (1 - theta) * (1 + more * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (first * second)
        )
        if value - theta > z * variance**0.5:
            low = theta
        else:
            high = theta
    return low


def probability(p: float) -> str:
    """A p value for people.

    >>> probability(0.0432), probability(0.00012)
    ('p = 0.043', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
