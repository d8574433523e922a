"""Many tasks at once: every task with the same weight, however many trials it has (Agarwal et al. 2021)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import special

from rnnae_bench.statistics.estimates import RESAMPLES, Estimate, ends, t_quantile

_SEED = 20211

_WIDER = 1.02
"""Beyond what Student and the sample variance ask for: what simulation shows to be short with skewed strata of five."""


def resamples(strata: Sequence[Sequence[float]]) -> Float[ndarray, "resample trial"]:
    """Bootstrap resamples of every stratum by itself, side by side; the same at every call."""
    generator = np.random.default_rng(_SEED)
    return np.concatenate(
        [np.asarray(one, dtype=float)[generator.integers(len(one), size=(RESAMPLES, len(one)))] for one in strata],
        axis=1,
    )


def frequencies(counts: Sequence[int]) -> Float[ndarray, "resample trial"]:
    """How often each trial is drawn in each bootstrap resample of strata of these sizes; the same at every call."""
    generator = np.random.default_rng(_SEED)
    return np.concatenate(
        [generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) for count in counts], axis=1
    ).astype(float)


def weights(strata: Sequence[Sequence[float]]) -> Float[ndarray, "trial"]:
    """Weight of every trial: the same sum in every stratum, one in all."""
    return np.concatenate([np.full(len(one), 1 / (len(strata) * len(one))) for one in strata])


def weighted_interquartile_mean(
    values: Float[ndarray, "... trial"], weight: Float[ndarray, "trial"]
) -> Float[ndarray, "..."]:
    """The mean of the middle half by weight; with equal weights as ``scipy.stats.trim_mean(values, 0.25)``."""
    count = values.shape[-1]
    cut = (count // 4) / count
    order = np.argsort(values, axis=-1)
    data, mass = np.take_along_axis(values, order, -1), weight[order]
    upper = mass.cumsum(-1)
    kept = np.clip(np.minimum(upper, 1 - cut) - np.maximum(upper - mass, cut), 0, None)
    return np.asarray((data * kept).sum(-1) / kept.sum(-1))


def tail(strata: Sequence[Sequence[float]]) -> float:
    """Probability below a 95 % interval of the bootstrap, expanded for few trials in a stratum.

    By the ratio of Student's t to the normal quantile, and by that of the sample variance to the resamples'
    (Hesterberg 2015, section 4.3), averaged over strata; and `_WIDER`. Each needs two trials.
    """
    degrees = sum(len(one) - 1 for one in strata)
    inflation = sum(len(one) / (len(one) - 1) for one in strata) / len(strata)
    return float(special.ndtr(-_WIDER * t_quantile(degrees) * inflation**0.5))


def interquartile_mean(strata: Sequence[Sequence[float]]) -> Estimate:
    """The interquartile mean over all trials, every stratum with the same weight, with a stratified bootstrap interval.

    It covers 93 to 97 % with two to five strata of five trials and more; 89 where one is of two far values that come
    with 0.7 and 0.3.
    """
    weight = weights(strata)
    pooled = np.concatenate([np.asarray(one, dtype=float) for one in strata])
    value = float(weighted_interquartile_mean(pooled, weight))
    if min(map(len, strata)) < 2:
        return Estimate(value, None, None)
    low, high = ends(weighted_interquartile_mean(resamples(strata), weight), tail(strata))
    return Estimate(value, low, high)
