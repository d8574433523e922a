"""How many more seeds would tell two models apart: power of the paired t test."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy import ndarray
from scipy import special

POWER = 0.8
"""Probability with which the difference would be shown."""

LARGEST = 1000
"""More additional seeds than this are no number to say."""


def power(effect: float, pairs: int, level: float) -> float:
    """Power of the two-sided paired t test: the noncentral t distribution's mass beyond the critical value.

    Integrated over the standard deviation's distribution, since ``scipy.special.nctdtr`` gives no number for
    large effects (scipy 1.17).

    Args:
        effect: Mean of the differences over their standard deviation.
        pairs: Number of differences, two or more.
        level: Largest p that counts as a difference.
    """
    shift = abs(effect) * pairs**0.5
    critical = float(special.stdtrit(pairs - 1, 1 - level / 2))
    deviations, weights = _deviations(pairs - 1)
    beyond = special.ndtr(shift - critical * deviations) + special.ndtr(-shift - critical * deviations)
    return float(weights @ beyond)


@lru_cache(maxsize=2048)
def _deviations(degrees: int) -> tuple[ndarray, ndarray]:
    """Nodes and weights for means over the sample standard deviation of a standard normal variable."""
    nodes, weights = _quadrature()
    return np.sqrt(special.gammaincinv(degrees / 2, (nodes + 1) / 2) * 2 / degrees), weights / 2


@lru_cache(maxsize=1)
def _quadrature() -> tuple[ndarray, ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(64)
    return nodes, weights


def more_pairs(differences: Sequence[float], level: float = 0.05) -> int | None:
    """How many more pairs, one at least, show differences of this mean and spread with a probability of 0.8.

    Args:
        differences: Two or more.
        level: Largest p that counts as a difference.

    Returns:
        None where the mean is zero, or where 1000 more are not enough.
    """
    data = np.asarray(differences, dtype=float)
    count, center, spread = len(data), float(data.mean()), float(data.std(ddof=1))
    if abs(center) < 1e-12 * spread or not data.any():
        return None
    if spread < 1e-12 * abs(center):
        # Of equal differences p is 2/4^n, see `paired.p_value`.
        return max(1, math.ceil(math.log(2 / level, 4)) - count)
    low, high = 0, LARGEST
    if power(center / spread, count + high, level) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if power(center / spread, count + middle, level) >= POWER:
            high = middle
        else:
            low = middle
    return high
