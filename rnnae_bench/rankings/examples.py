"""Two entries on the same test examples: how far their difference would move with other examples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from rnnae_bench.rankings.contrast import Contrast, Side
from rnnae_bench.records.history import EXAMPLES
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store
from rnnae_bench.statistics.estimates import Estimate
from rnnae_bench.statistics.sampling import mean_over_examples


@dataclass(frozen=True)
class Sampling:
    """The difference of two entries, with an interval for other test examples and the same trials."""

    difference: Estimate | None
    """Mean of first minus second over examples and shared seeds; None where it can't be told."""
    examples: int
    seeds: int
    absent: str | None
    """Why there is no interval; None where there is one."""


Known = Callable[[str], tuple[str, ndarray] | None]
"""Gives, of a baseline's name, the fingerprint of the test set and the baseline's score of each example of it."""


def over_examples(contrast: Contrast, first: Store, second: Store, known: Known) -> Sampling:
    """The difference of a contrast over the examples of the test set.

    The differences of an example's scores are averaged over the seeds that both have, and these means are drawn anew,
    example by example: what makes an example hard for both is in none of them.

    Args:
        contrast: The two.
        first: Where the histories of its first entry's records lie.
        second: The same for its second.
        known: What a baseline scored.
    """
    metric = contrast.standing.metric
    ones, others = (
        _baseline_scores(side, known) if side.is_baseline else _scores(side, store, metric)
        for side, store in ((contrast.first, first), (contrast.second, second))
    )
    shared = sorted(ones.keys() & others.keys())
    if not shared:
        return Sampling(None, 0, 0, "no shared seed has the scores of its test examples in both")
    tests = {(side[seed].test, len(side[seed].scores)) for side in (ones, others) for seed in shared}
    if len(tests) > 1:
        return Sampling(None, 0, len(shared), "they were not tested on the same examples")
    differences = np.asarray([ones[seed].scores - others[seed].scores for seed in shared]).mean(axis=0)
    block = max(side[seed].block for side in (ones, others) for seed in shared)
    found = mean_over_examples(differences, block)
    absent = None if found.low is not None else "the test examples are too few"
    return Sampling(found, len(differences), len(shared), absent)


class _Scored(NamedTuple):
    """What a trial, or a baseline, scored on each example of the test set."""

    test: str
    """The test set's fingerprint."""
    block: int
    """Neighbouring examples that are drawn together, as they may depend on each other."""
    scores: ndarray


def _block(record: Record) -> int:
    block = record.measures.by_name.get("test_examples_block")
    return max(1, int(block)) if isinstance(block, int | float) else 1


def _baseline_scores(side: Side, known: Known) -> dict[int, _Scored]:
    """The same scores under every seed."""
    found = known(side.name)
    if found is None:
        return {}
    test, scores = found
    return dict.fromkeys(side.entry.values, _Scored(test, 1, scores))


def _scores(side: Side, store: Store, metric: str) -> dict[int, _Scored]:
    """By seed, a record of it that ended well, and the scores of its test examples, where it has them."""
    column = f"{EXAMPLES}{metric}"
    found: dict[int, _Scored] = {}
    for record in side.records:
        value = record.primary.value
        if record.status != "ok" or value is None or column not in record.history.columns:
            continue
        try:
            series = store.series(record, lambda name: name == column).get(column)
        except (OSError, ValueError):
            continue
        if series is None or series.values.ndim != 2 or not len(series.values):
            continue
        scores = series.values[-1].astype(np.float64)
        # What another says of its examples must be what it says of the whole.
        if np.isfinite(scores).all() and np.isclose(scores.mean(), value, rtol=1e-4, atol=1e-6):
            found[record.seed] = _Scored(record.fingerprints["test"], _block(record), scores)
    return found
