"""Histories made small enough for a page: curves in bins, bands over seeds, gradients through time as bytes.

A trial may have tens of thousands of steps. A curve of one trial is at most `POINTS` bins of consecutive steps, with
the median and the range of each (`rnnae_bench.report.trial_picture.thin`); a curve of a row is the median over its
seeds of each seed's median in a bin, with the smallest and the largest of them. A heatmap is at most `PROFILES` times
`LAGS` means over blocks, each one byte.
"""

import base64
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from rnnae_bench.records.history import Series
from rnnae_bench.records.profile import (
    FADED,
    Profiles,
    decay_rate,
    effective_horizon,
    log10_vanish_ratio,
    relative,
    time_constant,
    typical,
)
from rnnae_bench.report.binned import binned
from rnnae_bench.report.trial_picture import thin

POINTS = 120
"""The most points of a curve."""

PROFILES, LAGS = 50, 64
"""The most columns and rows of a heatmap."""

DEPTH = 25.0
"""Decades below its largest value that a heatmap tells apart; what is smaller is drawn as that."""

_DIGITS = 4


def packed(values: Any) -> str:
    """Numbers as base64 of little-endian float32: a third smaller than their digits, and faster to write and to read.

    >>> packed([1.0, float("nan")])
    'AACAPwAAwH8='
    """
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()


def short(value: float | int | None, digits: int = _DIGITS) -> float | int | None:
    """One number with so many significant digits, an integer as it is; None where it is not finite."""
    if value is None or isinstance(value, int) or not math.isfinite(value):
        return value if isinstance(value, int) else None
    return float(f"{value:.{digits}g}")


Curve = dict[str, str]
"""A curve as `packed` numbers: ``steps``, ``middle`` and, where there is a band, its ends ``low`` and ``high``."""


def of_trial(series: Series) -> Curve | None:
    """One trial's curve: by bin its middle step, and median, smallest and largest value; None without a value."""
    if series.values.ndim != 1:
        return None
    steps, middle, low, high = thin(series, POINTS)
    if not len(steps):
        return None
    curve = {"steps": packed(steps), "middle": packed(middle)}
    # One value a bin: no band.
    return curve if np.array_equal(low, high) else {**curve, "low": packed(low), "high": packed(high)}


def over_seeds(trials: Sequence[Series]) -> Curve | None:
    """A row's curve: the median over its trials, with the smallest and the largest; None without a value.

    A trial that ended early counts as long as it lasted.
    """
    trials = [one for one in trials if one.values.ndim == 1 and np.isfinite(one.values).any()]
    if not trials:
        return None
    last, table = binned(trials, POINTS)
    known = np.isfinite(table).any(axis=0)
    table = table[:, known]
    curve = {"steps": packed(last[known]), "middle": packed(np.nanmedian(table, axis=0))}
    if len(trials) == 1:
        return curve
    return {**curve, "low": packed(np.nanmin(table, axis=0)), "high": packed(np.nanmax(table, axis=0))}


def mean_profiles(trials: Sequence[Series]) -> Series:
    """The mean over trials of log10 g at each step and lag, over those that measured it there: ``[profiles lags]``."""
    if len(trials) == 1:
        return trials[0]
    steps = np.unique(np.concatenate([one.steps for one in trials]))
    lags = max(one.values.shape[1] for one in trials)
    total, count = np.zeros((len(steps), lags)), np.zeros((len(steps), lags))
    for one in trials:
        rows, known = np.searchsorted(steps, one.steps), ~np.isnan(one.values)
        total[rows, : one.values.shape[1]] += np.where(known, one.values, 0)
        count[rows, : one.values.shape[1]] += known
    with np.errstate(invalid="ignore"):
        return Series(steps, total / count)


def over_trials(trials: Sequence[Profiles]) -> tuple[Series, Series | None]:
    """What holds for most sequences of all trials (`rnnae_bench.records.profile.typical`), and the share that is alive.

    The share is None where no trial tells it; a trial that doesn't then counts as alive wherever it was measured.
    """
    middle = mean_profiles([one.middle for one in trials])
    if all(one.alive is None for one in trials):
        return middle, None
    alive = mean_profiles([one.alive or _measured(one.middle) for one in trials])
    dead = mean_profiles([one.dead or Series(one.middle.steps, np.zeros_like(one.middle.values)) for one in trials])
    return Series(middle.steps, typical(middle.values, alive.values, dead.values)), alive


def _measured(middle: Series) -> Series:
    return Series(middle.steps, np.where(np.isfinite(middle.values), 1.0, np.nan))


def heatmap(profiles: Series, alive: Series | None = None) -> dict[str, Any] | None:
    """What a page draws of a state's profiles over training; None where nothing was measured.

    Args:
        profiles: log10 g, -inf where it is zero.
        alive: The share of the sequences whose g is neither zero nor not finite.

    Returns:
        - ``steps``: optimiser step of each column;
        - ``lags``: how many there are; ``rows``: blocks of lags, the first from lag 0;
        - ``bytes``: base64 of columns times rows bytes, column by column: 0 is not measured, 1 to 255 lie evenly from
          ``low`` to ``high``, in log10 g;
        - ``horizon``: the effective horizon at each column;
        - ``initial``, ``final``: decay rate, time constant, effective horizon, vanishing ratio and smallest share alive
          of the first and the last profile in which anything was measured.
    """
    values = profiles.values.astype(np.float64)
    measured = np.flatnonzero(~np.isnan(values).all(axis=1))
    if not len(measured):
        return None
    columns = np.array_split(measured, min(PROFILES, len(measured)))
    rows = np.array_split(np.arange(values.shape[1]), min(LAGS, values.shape[1]))
    highest = float(values.max(initial=-np.inf, where=np.isfinite(values)))
    highest = highest if math.isfinite(highest) else 0.0
    floor = highest - DEPTH
    clipped = np.where(np.isnan(values), np.nan, np.clip(values, floor, highest))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of blocks in which nothing was measured
        blocks = clipped
        if len(columns) < len(measured):
            blocks = np.stack([np.nanmean(clipped[part], axis=0) for part in columns])
        else:
            blocks = clipped[measured]
        if len(rows) < values.shape[1]:
            blocks = np.stack([np.nanmean(blocks[:, part], axis=1) for part in rows], axis=1)
    low, high = float(np.nanmin(blocks)), float(np.nanmax(blocks))
    scale = 254 / (high - low) if high > low else 0.0
    code = np.where(np.isnan(blocks), 0, 1 + np.round((np.nan_to_num(blocks, nan=low) - low) * scale)).astype(np.uint8)
    return {
        "steps": [int(profiles.steps[part[-1]]) for part in columns],
        "lags": values.shape[1],
        "rows": len(rows),
        "bytes": base64.b64encode(code.tobytes()).decode(),
        "low": short(low),
        "high": short(high),
        "horizon": _horizons(values[[part[-1] for part in columns]]),
        "initial": summary(values[measured[0]], None if alive is None else alive.values[measured[0]]),
        "final": summary(values[measured[-1]], None if alive is None else alive.values[measured[-1]]),
    }


def _horizons(profiles: Float[np.ndarray, "profiles lags"]) -> list[int | None]:
    """The `effective_horizon` of each profile, all at once."""
    alive: np.ndarray = relative(profiles) > math.log10(FADED)
    found = (np.flatnonzero(one) for one in alive)
    return [int(lags[-1]) if len(lags) else None for lags in found]


def summary(
    profile: Float[np.ndarray, " lags"], alive: Float[np.ndarray, " lags"] | None = None
) -> dict[str, float | int | None]:
    """The numbers that sum a profile up, as `rnnae_bench.records.profile` has them."""
    return {
        "decay_rate": short(decay_rate(profile)),
        "time_constant": short(time_constant(profile)),
        "effective_horizon": effective_horizon(profile),
        "log10_vanish_ratio": short(log10_vanish_ratio(profile)),
        "least_alive": None if alive is None else short(float(np.nanmin(alive))),
    }
