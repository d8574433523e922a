"""Whether the gradient reached as far back in time as the task needs, since when, and how that goes with the score."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rnnae_bench.contracts.card import card_path, load_card
from rnnae_bench.errors import UserError
from rnnae_bench.plugins.registry import tasks
from rnnae_bench.records.history import Series
from rnnae_bench.records.profile import FADED, deciding, relative
from rnnae_bench.records.record import Record

_FEWEST = 5
"""Trials below which no relation with the score is stated."""

SALIENCY = "input_saliency/"
"""What the names of profiles with respect to the input, and to no state, begin with."""

_DEPTH = "gradient_norm/"


@dataclass(frozen=True)
class Bridge:
    """The gradient of one trial at the lag that its task needs."""

    needed: int
    """Steps that a gradient has to bridge."""
    first: int | None
    """The optimiser step of the first profile in which it was alive there; None where it never was."""
    share: float
    """The share of the training in which it was: each profile stands for the steps up to the next one."""
    farthest: int
    """The largest lag at which it was alive in any profile."""
    by_input: bool
    """Whether it is the gradient with respect to the input, since no state's was measured."""


@dataclass(frozen=True)
class Relation:
    """How the share of the training with a gradient at the needed lag goes with the score, over trials."""

    trials: int
    rho: float
    """Spearman's rank correlation."""
    p: float
    """Two-sided, of no correlation."""


@dataclass(frozen=True)
class Depth:
    """The gradient's norm at the first layer over that at the last, of a model that has no time."""

    first: str
    """The layer that reads the input."""
    last: str
    """The layer that makes the output."""
    initial: float
    """The ratio in the first tenth of the training (geometric mean)."""
    final: float
    """The ratio in its last tenth."""


def needed_lag(record: Record) -> int | None:
    """Steps that a gradient has to bridge in a trial's task; None where that is not known.

    Of records from before it was written down, what the card of the installed task says, unless the task was altered.
    """
    if record.needed_lag is not None or any(name.startswith("task.") for name in record.overrides):
        return record.needed_lag
    return _of_card(record.task, record.variant)


@lru_cache(maxsize=256)
def _of_card(task: str, variant: str) -> int | None:
    try:
        source = tasks().get(task).source()
        return load_card(card_path(source.path, task)).variant(variant).needed_lag if source else None
    except (UserError, OSError):
        return None


def bridge(record: Record, series: Mapping[str, Series]) -> Bridge | None:
    """Whether a trial's gradient reached the needed lag: in any state of the layers that decide (`deciding`).

    It counts as alive where it is above `FADED` times its value at lag 0, the same bound as of the effective horizon.

    Returns:
        None where the task names no lag, no profile reaches it, or the model reads its input at once.
    """
    needed = needed_lag(record)
    if not needed or reads_at_once(record, series):
        return None
    shown = [one for one in deciding(series) if one.typical.values.shape[1] > needed]
    states = [one for one in shown if not one.name.startswith(SALIENCY)]
    shown = states or shown
    if not shown:
        return None
    steps = np.unique(np.concatenate([one.typical.steps for one in shown]))
    alive = np.zeros((len(steps), max(one.typical.values.shape[1] for one in shown)), dtype=bool)
    known = np.zeros(len(steps), dtype=bool)
    for one in shown:
        profiles = relative(one.typical.values)
        places = np.searchsorted(steps, one.typical.steps)
        alive[places, : profiles.shape[1]] |= np.nan_to_num(profiles, nan=-np.inf) > math.log10(FADED)
        known[places] |= ~np.isnan(profiles[:, needed])
    if not known.any():
        return None
    weights = np.diff(np.append(steps, max(record.measures.steps, int(steps[-1])) + 1)) * known
    there = alive[:, needed]
    reached = np.flatnonzero(alive.any(axis=0))
    return Bridge(
        needed,
        int(steps[there][0]) if there.any() else None,
        float(weights @ there / weights.sum()),
        int(reached[-1]) if len(reached) else 0,
        not states,
    )


def relation(records: Sequence[Record], bridges: Sequence[Bridge | None]) -> Relation | None:
    """How the share goes with the score over trials; None below `_FEWEST`, or where either is the same in all."""
    from scipy.stats import spearmanr

    pairs = [
        (one.share, record.primary.score)
        for record, one in zip(records, bridges, strict=True)
        if one is not None and record.primary.score is not None
    ]
    if len(pairs) < _FEWEST or any(len(set(column)) < 2 for column in zip(*pairs, strict=True)):
        return None
    found = spearmanr(*zip(*pairs, strict=True))
    return Relation(len(pairs), float(found.statistic), float(found.pvalue))


def reads_at_once(record: Record, series: Mapping[str, Series]) -> bool:
    """Whether a model has no time: no state's gradient was measured, and it has a code, or its task names no lag."""
    if any(not one.name.startswith(SALIENCY) for one in deciding(series)):
        return False
    return "code_size" in record.measures.by_name or not needed_lag(record)


def depth(series: Mapping[str, Series]) -> Depth | None:
    """The gradient's norms of the first and the last layer, beside each other; None where fewer than two are known."""
    layers = [name for name, one in series.items() if name.startswith(_DEPTH) and len(one.values)]
    if len(layers) < 2:
        return None
    first = next((name for name in layers if name.startswith(f"{_DEPTH}encoder")), layers[0])
    last = next((name for name in reversed(layers) if name.startswith(f"{_DEPTH}decoder")), layers[-1])
    low, high = series[first], series[last]
    count = min(len(low.values), len(high.values))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log10(low.values[:count]) - np.log10(high.values[:count])
    tenth = max(1, count // 10)
    ends = [part[np.isfinite(part)] for part in (ratio[:tenth], ratio[-tenth:])]
    if not all(map(len, ends)):
        return None
    initial, final = (float(10 ** part.mean()) for part in ends)
    return Depth(first.removeprefix(_DEPTH), last.removeprefix(_DEPTH), initial, final)


def middle(bridges: Iterable[Bridge]) -> tuple[float | None, float]:
    """Medians over trials: of the first step, over those that reached the lag at all, and of the share, over all."""
    bridges = list(bridges)
    firsts = [one.first for one in bridges if one.first is not None]
    return (float(statistics.median(firsts)) if firsts else None), statistics.median(one.share for one in bridges)
