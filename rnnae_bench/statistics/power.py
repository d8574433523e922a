"""How many more seeds would tell two models apart: power of the paired t test."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy import ndarray
from scipy import special

from rnnae_bench.statistics.paired import least

POWER = 0.8
"""Probability with which the difference would be shown."""

LARGEST = 1000
"""More additional seeds than this are no number to say."""

_LEVEL = 0.05
"""Largest p that counts as a difference where nothing is corrected for."""


def power(effect: float, pairs: int, level: float, degrees: float | int | None = None) -> float:
    """Power of the two-sided paired t test: the noncentral t distribution's mass beyond the critical value.

    Integrated over the standard deviation's distribution, since ``scipy.special.nctdtr`` gives no number for
    large effects (scipy 1.17).

    Args:
        effect: Mean of the differences over their standard deviation.
        pairs: Number of differences, two or more.
        level: Largest p that counts as a difference.
        degrees: Degrees of freedom of the standard deviation; None: those of the differences themselves.
    """
    degrees = pairs - 1 if degrees is None else degrees
    shift = abs(effect) * pairs**0.5
    critical = float(special.stdtrit(degrees, 1 - level / 2))
    deviations, weights = _deviations(degrees)
    beyond = special.ndtr(shift - critical * deviations) + special.ndtr(-shift - critical * deviations)
    return float(weights @ beyond)


@lru_cache(maxsize=2048)
def _deviations(degrees: float | int) -> tuple[ndarray, ndarray]:
    """Nodes and weights for means over the sample standard deviation of a standard normal variable."""
    nodes, weights = _quadrature()
    return np.sqrt(special.gammaincinv(degrees / 2, (nodes + 1) / 2) * 2 / degrees), weights / 2


@lru_cache(maxsize=1)
def _quadrature() -> tuple[ndarray, ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(64)
    return nodes, weights


def more_pairs(
    differences: Sequence[float],
    level: float = 0.05,
    spread: float | None = None,
    degrees: Callable[[int], float] | None = None,
) -> int | None:
    """How many more pairs, one at least, show differences of this mean and spread with a probability of 0.8.

    Args:
        differences: Two or more.
        level: Largest p that counts as a difference.
        spread: Their standard deviation, where more than they themselves say what it is.
        degrees: Its degrees of freedom with so many pairs; None: those of the differences themselves.

    Returns:
        None where the mean is zero, or where 1000 more are not enough.
    """
    data = np.asarray(differences, dtype=float)
    count, center = len(data), float(data.mean())
    spread = float(data.std(ddof=1)) if spread is None else spread
    if abs(center) < 1e-12 * spread or not data.any():
        return None

    def enough(more: int) -> bool:
        pairs = count + more
        if least(pairs) > _LEVEL:
            return False
        # Without a spread, an effect of 1e12 stands for one without limit.
        effect = abs(center) / max(spread, 1e-12 * abs(center))
        return power(effect, pairs, level, None if degrees is None else degrees(pairs)) >= POWER

    low, high = 0, LARGEST
    if not enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
