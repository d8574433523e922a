"""Gradients through sequence time: profiles by lag, which of them to look at, and the numbers that sum them up.

A profile is log10 of g by lag: g is the 2-norm of the loss' gradient with respect to the state (or the input) at one
time step, and the lag is how many steps that one lies before the last scored step, in the order in which the layer
reads. So lag 0 is where the loss sits, and a larger lag is further back on the way to it. A profile is NaN at lags
where nothing was measured. Being logarithms, profiles reach far below the smallest float.

A gradient of zero has no logarithm. What holds for most sequences is told by `typical`, which is -inf where their
gradient is zero; the numbers here are drawn from it.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rnnae_bench.records.history import Series

READINGS = {"last_step": "loss of the last scored step alone", "training_loss": "training loss"}
"""The losses whose gradient is read, the most telling first: the second mixes the losses of all scored steps."""

FADED = 1e-3
"""Below this share of its value at lag 0, a gradient counts as lost."""

EXPLODED = 1e3
"""Above this multiple of its value at lag 0, a gradient counts as exploded."""


@dataclass(frozen=True)
class Profiles:
    """The profiles of one state over training: the columns ``PROBE/READING/LAYER/STATE`` and its quantiles."""

    name: str
    """The first column's name."""
    middle: Series
    """log10 of the geometric mean of g over the sequences of the batch that are alive: ``[profiles lags]``."""
    low: Series | None
    """Column ``NAME/q10``, the 10 % quantile over the batch of log10 g: ``[profiles lags]``."""
    high: Series | None
    """Column ``NAME/q90``, the 90 % quantile over the batch of log10 g: ``[profiles lags]``."""
    alive: Series | None = None
    """Column ``NAME/alive``, the share of the sequences with this lag whose g is neither zero nor not finite:
    ``[profiles lags]``; None in records from before it was measured."""
    dead: Series | None = None
    """Column ``NAME/dead``, the share of them whose g is exactly zero: ``[profiles lags]``."""

    @property
    def typical(self) -> Series:
        """What holds for most sequences, as `typical` has it: ``[profiles lags]``."""
        if self.alive is None or self.dead is None:
            return self.middle
        return Series(self.middle.steps, typical(self.middle.values, self.alive.values, self.dead.values))

    @property
    def layer(self) -> str:
        """The layer that the state belongs to, as ``recurrence.l0``."""
        return self.name.split("/")[2]

    @property
    def state(self) -> str:
        """What g is the gradient's norm for: ``h``, ``c`` (of an LSTM) or ``x`` (the input)."""
        return self.name.split("/")[3]

    @property
    def title(self) -> str:
        """Layer, state and reading, in words."""
        return f"{self.layer} {self.state}, {READINGS[self.name.split('/')[1]]}"


def profiles_of(series: Mapping[str, Series]) -> list[Profiles]:
    """The profiles among the histories of a trial, one for each layer and state, in their order.

    Of a state's readings, the first of `READINGS` that was ever measured at two lags or more. A single lag shows
    nothing: it is all that a layer has that reads backward, where the loss sits at the first step it reads.
    """
    found: dict[tuple[str, str, str], str] = {}
    for reading in READINGS:
        for name, one in series.items():
            parts = name.split("/")
            there = one.values.ndim == 2 and len(parts) == 4 and parts[1] == reading
            if there and _spans_time(one.values, series.get(f"{name}/rows")):
                found.setdefault((parts[0], parts[2], parts[3]), name)
    order = list(series)
    return [
        Profiles(name, series[name], *(series.get(f"{name}/{one}") for one in ("q10", "q90", "alive", "dead")))
        for name in sorted(found.values(), key=order.index)
    ]


def deciding(series: Mapping[str, Series]) -> list[Profiles]:
    """Those of `profiles_of` that decide what can be learned: of the lowest layer of each stack.

    What an input can teach must come through these, and their gradient is the sum over all ways through the layers
    above.
    """
    return [one for one in profiles_of(series) if not _UPPER_LAYER.search(one.layer)]


def _spans_time(profiles: Float[np.ndarray, "profiles lags"], rows: Series | None) -> bool:
    """Whether something was measured, and there are two lags or more at which sequences have a step."""
    known = np.isfinite(profiles)
    there = known if rows is None else rows.values > 0
    return bool(known.any() and (there.sum(axis=1) > 1).any())


def typical(
    middle: Float[np.ndarray, "*profiles lags"],
    alive: Float[np.ndarray, "*profiles lags"],
    dead: Float[np.ndarray, "*profiles lags"],
) -> Float[np.ndarray, "*profiles lags"]:
    """What holds for most of the sequences that have a lag.

    Args:
        middle: log10 g of those that are alive.
        alive: Their share.
        dead: The share whose g is exactly zero; the rest is not finite.

    Returns:
        `middle` where half of the sequences or more are alive; else -inf where more of the others are dead than not
        finite, and NaN where not, or where no sequence has the lag.
    """
    gone = np.where(dead > 1 - alive - dead, -np.inf, np.nan)
    return np.where(alive >= 0.5, middle, gone).astype(middle.dtype)


def relative(profiles: Float[np.ndarray, "*profiles lags"]) -> Float[np.ndarray, "*profiles lags"]:
    """log10 of g over its value at lag 0, in float64; NaN all along where lag 0 was not measured or is zero."""
    wide = profiles.astype(np.float64)
    return wide - np.where(np.isfinite(wide[..., :1]), wide[..., :1], np.nan)


def decay_rate(profile: Float[np.ndarray, " lags"]) -> float | None:
    """The least-squares slope of ln g over lag, per step, over the lags that were measured and where g is not zero.

    Below 0 the gradient vanishes going back in time, above 0 it explodes; g = a^lag has ln a. None below two lags.
    """
    lags = np.flatnonzero(np.isfinite(profile))
    if len(lags) < 2:
        return None
    centred = lags - lags.mean()
    # From the first value on: a profile that is exactly flat then has exactly the slope 0.
    growth = profile[lags].astype(np.float64) - float(profile[lags[0]])
    return float(centred @ growth / (centred @ centred) * math.log(10))


def time_constant(profile: Float[np.ndarray, " lags"]) -> float | None:
    """The steps in which g falls to 1/e of itself: -1 over the decay rate. None where g does not fall."""
    rate = decay_rate(profile)
    return None if rate is None or rate >= 0 else -1 / rate


def effective_horizon(profile: Float[np.ndarray, " lags"]) -> int | None:
    """The largest lag at which g is above `FADED` times its value at lag 0; None where lag 0 was not measured.

    At the largest lag that was measured it is a lower bound: the gradient reaches past the sequence's start.
    """
    alive = np.flatnonzero(relative(profile) > math.log10(FADED))
    return int(alive[-1]) if len(alive) else None


def log10_vanish_ratio(profile: Float[np.ndarray, " lags"]) -> float | None:
    """log10 of g at the largest lag that was measured (the first time step) over g at lag 0 (the last scored step).

    The logarithm, since the ratio may be below any float. None where lag 0, or no other lag, was measured, and where g
    is zero at either end.
    """
    lags = np.flatnonzero(~np.isnan(profile))
    if len(lags) < 2 or lags[0] != 0 or not np.isfinite(profile[lags[[0, -1]]]).all():
        return None
    return float(profile[lags[-1]]) - float(profile[0])


def explosion_count(profiles: Float[np.ndarray, "profiles lags"]) -> int:
    """The number of profiles in which g is at some lag above `EXPLODED` times its value at lag 0."""
    return int((relative(profiles) > math.log10(EXPLODED)).any(axis=1).sum())


def measures(series: Mapping[str, Series]) -> dict[str, float | int | None]:
    """The numbers that a record keeps of the profiles among a trial's histories.

    For each state of `profiles_of` in the layers that decide, with NAME the column:

    - ``NAME/initial/...``, of the first profile, where the weights are still the initial ones, and ``NAME/final/...``,
      of the last: `decay_rate`, `time_constant`, `effective_horizon`, `log10_vanish_ratio`;
    - ``NAME/initial/least_alive`` and ``NAME/final/least_alive``: the share of the sequences whose gradient is neither
      zero nor not finite, at the lag where it is smallest;
    - ``NAME/explosion_count``, over all profiles.

    All but ``least_alive`` are of the `typical` profile.

    Profiles in which nothing was measured (a loss that was not finite) are passed over. The layers that decide are
    those of `deciding`.
    """
    numbers: dict[str, float | int | None] = {}
    for one in deciding(series):
        profiles = one.typical.values
        measured = np.flatnonzero(~np.isnan(profiles).all(axis=1))
        if not len(measured):
            continue
        for when, place in (("initial", measured[0]), ("final", measured[-1])):
            for scalar in (decay_rate, time_constant, effective_horizon, log10_vanish_ratio):
                numbers[f"{one.name}/{when}/{scalar.__name__}"] = scalar(profiles[place])
            if one.alive is not None:
                numbers[f"{one.name}/{when}/least_alive"] = float(np.nanmin(one.alive.values[place]))
        numbers[f"{one.name}/explosion_count"] = explosion_count(profiles)
    return numbers


_UPPER_LAYER = re.compile(r"(^|\.)l[1-9]\d*(_reverse)?$")
"""Names of the layers above the lowest, as ``torch.nn`` numbers them."""
