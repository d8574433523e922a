"""How often something succeeds, of few trials: a share with its interval, two shares, and how many trials would tell.

A share of five trials says little: 3 of 5 go with every probability from 0.23 to 0.88. Trials of two rows are taken as
independent, although they share their seeds: where a seed helps both, the test is the more careful for it.
"""

import math

from scipy import special

from rnnae_bench.statistics.estimates import LEVEL, Estimate
from rnnae_bench.statistics.power import LARGEST, POWER

SIGNIFICANT = 0.05
"""Largest p that counts as a difference."""

WIDTH = 0.2
"""The width at which the interval of a share counts as narrow: about plus or minus a tenth."""


def _normal(probability: float) -> float:
    return float(special.ndtri(probability))


def wilson(successes: int, trials: int) -> Estimate:
    """The share of successes with Wilson's score interval (1927), which Brown, Cai & DasGupta (2001) advise for few.

    >>> wilson(3, 5).text(), wilson(0, 5).text()
    ('0.60 [0.23, 0.88]', '0.00 [0.00, 0.43]')

    Raises:
        ValueError: there is no trial, or they are fewer than the successes.
    """
    _require(successes, trials)
    share = successes / trials
    low, high = _ends(share, trials)
    # Of none and of all, the near end is the share itself, and not what rounding leaves of it.
    return Estimate(share, 0.0 if successes == 0 else low, 1.0 if successes == trials else high)


def _require(successes: int, trials: int) -> None:
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} of {trials} is no share of one trial or more")


def _ends(share: float, trials: int) -> tuple[float, float]:
    z = _normal((1 + LEVEL) / 2)
    weight = z**2 / trials
    center = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return center - half, center + half


def difference(first: tuple[int, int], second: tuple[int, int]) -> Estimate:
    """The first share minus the second, with Newcombe's hybrid score interval (1998, his method 10).

    Args:
        first: Successes and trials.
        second: The same of the other.

    Raises:
        ValueError: as of `wilson`.
    """
    one, other = wilson(*first), wilson(*second)
    ends = [end for end in (one.low, one.high, other.low, other.high) if end is not None]
    low, high, other_low, other_high = ends
    gap = one.value - other.value
    return Estimate(
        gap,
        gap - math.hypot(one.value - low, other_high - other.value),
        gap + math.hypot(high - one.value, other.value - other_low),
    )


def p_value(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Two-sided p of Fisher's exact test that two shares are of one probability.

    It keeps its level with any number of trials. With few it is more careful than the interval of `difference`: 3 of 5
    against 0 of 5 has p = 0.17, and an interval that barely leaves out zero.

    Args:
        first: Successes and trials.
        second: The same of the other.

    Raises:
        ValueError: as of `wilson`.
    """
    from scipy.stats import fisher_exact

    _require(*first)
    _require(*second)
    return float(fisher_exact([[one, trials - one] for one, trials in (first, second)]).pvalue)


def trials_to_tell(one: float, other: float) -> int | None:
    """With how many trials each Fisher's test shows two probabilities of success to differ, with a probability of 0.8.

    By the formula of Fleiss, Tytun & Ury (1980), which is that of two normal shares with a correction for continuity.

    >>> trials_to_tell(0.6, 0.0), trials_to_tell(0.9, 0.6), trials_to_tell(0.6, 0.6)
    (11, 38, None)

    Returns:
        None where the two are equal.
    """
    gap, mean = abs(one - other), (one + other) / 2
    if gap == 0:
        return None
    spread = _normal(1 - SIGNIFICANT / 2) * math.sqrt(2 * mean * (1 - mean))
    spread += _normal(POWER) * math.sqrt(one * (1 - one) + other * (1 - other))
    plain = (spread / gap) ** 2
    return math.ceil(plain / 4 * (1 + math.sqrt(1 + 4 / (plain * gap))) ** 2)


def more_to_tell(first: tuple[int, int], second: tuple[int, int]) -> int | None:
    """How many more trials of each would probably show a difference of two shares, if they stay what they are.

    Args:
        first: Successes and trials.
        second: The same of the other.

    Returns:
        0 where `p_value` is at most 0.05 already, one at least where it is not; None where the shares are equal, or
        where 1000 more are not enough.

    Raises:
        ValueError: as of `wilson`.
    """
    if p_value(first, second) <= SIGNIFICANT:
        return 0
    needed = trials_to_tell(first[0] / first[1], second[0] / second[1])
    more = None if needed is None else max(1, needed - min(first[1], second[1]))
    return None if more is None or more > LARGEST else more


def more_to_narrow(successes: int, trials: int, width: float = WIDTH) -> int:
    """How many more trials narrow Wilson's interval to a width, if the share stays what it is.

    >>> more_to_narrow(3, 5), more_to_narrow(0, 5)
    (84, 11)

    Raises:
        ValueError: as of `wilson`, or the width is not positive.
    """
    _require(successes, trials)
    if width <= 0:
        raise ValueError(f"no interval has the width {width}")
    share = successes / trials

    def wide(count: int) -> bool:
        low, high = _ends(share, count)
        return high - low > width

    low, high = trials - 1, trials
    while wide(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if wide(middle) else (low, middle)
    return high - trials
