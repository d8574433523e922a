"""Many tasks at once: every task with the same weight, however many trials it has (Agarwal et al. 2021)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import special

from rnnae_bench.statistics.estimates import RESAMPLES, Estimate, t_quantile

_SEED = 20211

_WIDER = 1.02
"""Beyond what Student and the sample variance ask for: what simulation shows to be short with skewed strata of five."""


def frequencies(counts: Sequence[int]) -> Float[ndarray, "resample trial"]:
    """How often each trial is drawn in each bootstrap resample of strata of these sizes; the same at every call."""
    generator = np.random.default_rng(_SEED)
    return np.concatenate(
        [generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) for count in counts], axis=1
    ).astype(float)


def weights(strata: Sequence[Sequence[float]]) -> Float[ndarray, "trial"]:
    """Weight of every trial: the same sum in every stratum, one in all."""
    return np.concatenate([np.full(len(one), 1 / (len(strata) * len(one))) for one in strata])


def tail(strata: Sequence[Sequence[float]]) -> float:
    """Probability below a 95 % interval of the bootstrap, expanded for few trials in a stratum.

    By the ratio of Student's t to the normal quantile, and by that of the sample variance to the resamples'
    (Hesterberg 2015, section 4.3), averaged over strata; and `_WIDER`. Each needs two trials.
    """
    degrees = sum(len(one) - 1 for one in strata)
    inflation = sum(len(one) / (len(one) - 1) for one in strata) / len(strata)
    return float(special.ndtr(-_WIDER * t_quantile(degrees) * inflation**0.5))


def mean(strata: Sequence[Sequence[float]]) -> Estimate:
    """The mean of the strata's means, with Student's interval by Welch's and Satterthwaite's degrees of freedom.

    It covers 93 to 96 % with two to five strata of five trials and more; 88 where one is of two far values that come
    with 0.7 and 0.3.
    """
    data = [np.asarray(one, dtype=float) for one in strata]
    value = float(np.mean([one.mean() for one in data]))
    if min(map(len, data)) < 2:
        return Estimate(value, None, None)
    errors = np.array([one.var(ddof=1) / len(one) for one in data])
    total = float(errors.sum())
    if total == 0:
        return Estimate(value, value, value)
    # As shares of the total, or the squares of small ones would be nothing.
    degrees = 1 / float(((errors / total) ** 2 / [len(one) - 1 for one in data]).sum())
    half = t_quantile(degrees) * total**0.5 / len(data)
    return Estimate(value, value - half, value + half)
