"""Histories of several trials on one grid of optimiser steps."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from rnnae_bench.records.history import Series


def binned(trials: Sequence[Series], points: int) -> tuple[Int[np.ndarray, " bins"], Float[np.ndarray, "trials bins"]]:
    """The trials' values on the steps that any of them has; where these are many, in bins of consecutive steps.

    Args:
        trials: Numbers over training.
        points: The most bins.

    Returns:
        - the last step of each bin;
        - the median of the finite values of each trial in it, NaN where there is none.
    """
    last = np.unique(np.concatenate([one.steps for one in trials]))
    if len(last) > points:
        last = np.array([part[-1] for part in np.array_split(last, points)])
    return last, np.stack([_medians(one, last) for one in trials])


def _medians(one: Series, last: np.ndarray) -> Float[np.ndarray, " bins"]:
    """The median of the finite values in each bin, given by its last step; NaN where there is none."""
    kept = np.isfinite(one.values)
    place = np.searchsorted(last, one.steps[kept])
    ordered = one.values[kept][np.lexsort((one.values[kept], place))].astype(np.float64)
    found, first, count = np.unique(place, return_index=True, return_counts=True)
    medians = np.full(len(last), np.nan)
    medians[found] = (ordered[first + (count - 1) // 2] + ordered[first + count // 2]) / 2
    return medians
