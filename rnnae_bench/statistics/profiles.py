"""Performance profiles: the fraction of trials above a score, for every score (Agarwal et al. 2021, section 4.3)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from rnnae_bench.statistics.stratified import frequencies, tail, weights


def performance_profile(
    strata: Sequence[Sequence[float]], thresholds: Float[ndarray, "threshold"]
) -> tuple[Float[ndarray, "threshold"], Float[ndarray, "threshold"], Float[ndarray, "threshold"]]:
    """Fraction of trials with a score above each threshold, every stratum with the same weight.

    Each stratum needs two trials.

    Returns:
        The fraction, and the lower and upper end of its pointwise 95 % band by a stratified bootstrap,
        which has no width where all trials lie on one side.
    """
    weight = weights(strata)
    pooled = np.concatenate([np.asarray(one, dtype=float) for one in strata])
    above = pooled[:, None] > thresholds
    # Rounded, or sums of weights would miss 0 and 1.
    fractions = np.round((frequencies([len(one) for one in strata]) * weight) @ above, 12)
    beyond = tail(strata)
    low, high = np.quantile(fractions, [beyond, 1 - beyond], axis=0)
    return np.round(weight @ above, 12), low, high
