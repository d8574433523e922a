"""How long until something happens, of trials some of which end before it does: Kaplan-Meier and the log-rank test.

A trial has a time and says whether the event came then; where it did not, the time is the last at which it had not
come yet, and the trial is *censored* there. The mean over the trials in which it came would leave the slow ones out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import special

from rnnae_bench.statistics.estimates import LEVEL

Times = Sequence[tuple[float | int, bool]]
"""Of each trial its time, and whether the event came then."""

_ROUNDING = 1e-12
"""By so much a share that is one half may be off."""


@dataclass(frozen=True)
class Curve:
    """The share of trials in which the event has come, after each time at which it came in one; 0 before the first."""

    times: tuple[float, ...]
    share: tuple[float, ...]
    low: tuple[float | None, ...]
    """Lower end of the 95 % interval at each time by itself; None where the share is 1, and there is none."""
    high: tuple[float | None, ...]
    until: float
    """The last time at which any trial was still watched: beyond it nothing is known."""


@dataclass(frozen=True)
class Quantile:
    """A time by which a given share of the trials is through, with its 95 % interval."""

    value: float | None
    """None where the share is not reached."""
    low: float | None
    high: float | None
    """None where it has no upper limit, or where no interval can be said (then `low` is None too)."""


def kaplan_meier(trials: Times) -> Curve:
    """The product-limit estimate (Kaplan & Meier 1958), as one minus survival.

    Its interval is Greenwood's (1926) on the log-minus-log scale, on which it stays between 0 and 1 (Kalbfleisch &
    Prentice 1980).

    Raises:
        ValueError: there is no trial.
    """
    if not trials:
        raise ValueError("no trial, no curve")
    times, events, at_risk = _counts(trials)
    survival = np.cumprod(1 - events / at_risk)
    low, high = np.full(len(times), np.nan), np.full(len(times), np.nan)
    known = events < at_risk
    left = survival[known]
    variance = np.cumsum(events[known] / (at_risk[known] * (at_risk[known] - events[known])))
    half = special.ndtri((1 + LEVEL) / 2) * np.sqrt(variance) / np.abs(np.log(left))
    low[known], high[known] = 1 - left ** np.exp(-half), 1 - left ** np.exp(half)
    return Curve(
        times=tuple(times.tolist()),
        share=tuple((1 - survival).tolist()),
        low=tuple(None if np.isnan(end) else end for end in low.tolist()),
        high=tuple(None if np.isnan(end) else end for end in high.tolist()),
        until=float(max(time for time, _ in trials)),
    )


def _counts(
    trials: Times,
) -> tuple[Float[ndarray, " times"], Float[ndarray, " times"], Float[ndarray, " times"]]:
    """The times at which there were events, how many, and how many trials were then still without; one censored at a
    time counts as being there.
    """
    every = np.array([time for time, _ in trials], dtype=float)
    times, events = np.unique([time for time, came in trials if came], return_counts=True)
    at_risk = len(every) - np.searchsorted(np.sort(every), times, side="left")
    return times.astype(float), events.astype(float), at_risk.astype(float)


def median(curve: Curve) -> Quantile:
    """The first time by which the event has come in half of the trials, with Brookmeyer & Crowley's interval (1982).

    The interval holds the times at which the curve's own holds one half.
    """
    reached = np.flatnonzero(np.array(curve.share) >= 0.5 - _ROUNDING)
    value = curve.times[reached[0]] if len(reached) else None
    holds = [
        place
        for place, (low, high) in enumerate(zip(curve.low, curve.high, strict=True))
        if low is not None and high is not None and low <= 0.5 <= high
    ]
    if not holds:
        return Quantile(value, None, None)
    after = holds[-1] + 1
    return Quantile(value, curve.times[holds[0]], curve.times[after] if after < len(curve.times) else None)


def log_rank(first: Times, second: Times) -> float | None:
    """Two-sided p of the log-rank test (Mantel 1966) that two groups' curves are one: chi squared, one degree.

    Of five trials a group it is approximate.

    Returns:
        None where the event came in no trial, or no time can tell the two apart.

    Raises:
        ValueError: a group has no trial.
    """
    if not first or not second:
        raise ValueError("the log-rank test needs a trial in each group")
    times, events, at_risk = _counts([*first, *second])
    ours = np.sort([time for time, _ in first])
    share = (len(ours) - np.searchsorted(ours, times, side="left")) / at_risk
    # The last trial of all at risk leaves nothing to chance.
    free = np.maximum(at_risk - 1, 1)
    variance = float(np.sum(events * share * (1 - share) * (at_risk - events) / free))
    if variance <= 0:
        return None
    excess = sum(came for _, came in first) - float(np.sum(events * share))
    return float(special.chdtrc(1, excess**2 / variance))
