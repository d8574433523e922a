"""Standings: who is better than whom on a task variant, as far as the records can tell."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby
from typing import Any, Literal

import numpy as np

from rnnae_bench.rankings.counting import counted, distinct, failed
from rnnae_bench.rankings.references import Reference, references
from rnnae_bench.rankings.rows import Row, baselines, counts_of_failures, summarize
from rnnae_bench.rankings.solving import times_to_solve
from rnnae_bench.rankings.terms import unequal_among
from rnnae_bench.records.identity import row_key
from rnnae_bench.records.record import Primary, Record
from rnnae_bench.statistics import estimates, paired, power
from rnnae_bench.statistics.estimates import Estimate
from rnnae_bench.statistics.family import Family, family
from rnnae_bench.statistics.score import score
from rnnae_bench.statistics.survival import Curve, kaplan_meier

__all__ = ["Comparison", "Entry", "Estimate", "Standing", "compare", "standings"]

MINIMUM_SEEDS = 5
"""Seeds that an entry needs for a rank."""

LEVEL = 0.05
"""Largest corrected p that counts as a difference."""


@dataclass(frozen=True)
class Entry:
    """One row of a task variant's table: a model with its overrides, on one device layout and precision."""

    key: str
    """Names the entry within its standing, in URLs too: ``gru``, ``gru-1f3a9c``."""
    row: Row
    values: dict[int, float]
    """By seed, the primary metric as in `rnnae_bench.rankings.counting`: failed trials count, skipped ones don't."""
    failed: tuple[int, ...]
    """Seeds whose trial failed."""
    mean: Estimate | None
    median: Estimate | None
    iqm: Estimate | None
    """Interquartile mean of the metric."""
    score: Estimate | None
    """Score of the mean: 0 = floor, 1 = ceiling."""
    unranked: str | None
    """Why it has no rank; None where it has one."""
    ranks: tuple[int, int] | None
    """From the best to the worst rank that the data do not exclude."""
    solving: Curve | None
    """The share of its trials that had solved the task, by optimiser steps; None where none was tried."""


Verdict = Literal["better", "worse", "tied", "too few seeds"]
"""Of the first of two entries; ``tied``: no difference is established."""


@dataclass(frozen=True)
class Comparison:
    """Two entries on the seeds that both have."""

    first: str
    second: str
    seeds: int
    difference: Estimate | None
    """Mean of first minus second, in the metric's units: positive = the larger value, not the better one."""
    p: float | None
    """Of the paired t test of these two alone."""
    corrected: float | None
    """Of the test of all pairs of ranked entries together, for their number; never below `p`. Verdict and ranks rest on
    it (`rnnae_bench.statistics.family`). Of two entries by themselves it is `p`."""
    superiority: Estimate | None
    """Probability that a trial of the first is better than one of the second, ties half."""
    more_seeds: int | None
    """How many more seeds would separate them with a probability of 0.8; 0: they are; None: no number can be said."""
    verdict: Verdict


@dataclass(frozen=True)
class Standing:
    """The entries of one task variant."""

    setting: str
    task: str
    variant: str
    metric: str
    direction: str
    floor: float
    ceiling: float
    solved_at: float
    baselines: dict[str, float]
    """The primary metric of what needs no training, by name."""
    references: tuple[Reference, ...]
    """The same as rows, best first."""
    entries: tuple[Entry, ...]
    """Best mean first, those without a rank last."""
    comparisons: dict[tuple[str, str], Comparison]
    """By the two keys, in the order of the entries."""
    smallest: float | None
    """The smallest difference of two means that `seeds` seeds tell apart here, with the spread that the pairs have on
    average; None where there are no two ranked entries."""
    seeds: int
    """The least seeds that two ranked entries have in common."""

    @property
    def unequal(self) -> list[str]:
        """What some of the ranked rows had more of than others, in words."""
        return unequal_among(entry.row for entry in self.entries if entry.ranks is not None)

    @property
    def in_order(self) -> list[Entry | Reference]:
        """Models and baselines, best first, a model before a baseline of the same value; last the models without a
        rank, if any has one.
        """
        some = any(entry.ranks is not None for entry in self.entries)
        last = [entry for entry in self.entries if some and entry.ranks is None]
        placed: list[Entry | Reference] = [*self.entries[: len(self.entries) - len(last)], *self.references]
        sign = 1 if self.direction == "maximize" else -1
        placed.sort(key=lambda one: -sign * _value(one, sign))
        return [*placed, *last]

    def scores(self, entry: Entry) -> dict[int, float]:
        """The scores of an entry by seed: 0 = floor, 1 = ceiling."""
        return {seed: score(value, self.floor, self.ceiling) for seed, value in entry.values.items()}


def _value(one: Entry | Reference, sign: int) -> float:
    """What a row is placed by; without any value it is the worst."""
    if isinstance(one, Reference):
        return one.value
    return -sign * np.inf if one.mean is None else one.mean.value


def standings(
    records: Iterable[Record], minimum_seeds: int = MINIMUM_SEEDS, among: Iterable[Record] | None = None
) -> list[Standing]:
    """The standing of every task variant that there are records of, by name.

    Args:
        records: Records, in any order.
        minimum_seeds: How many seeds an entry needs for a rank; two at least.
        among: All that are known, of which `records` are a choice; what a failed trial counts as rests on them. None:
            these.
    """
    records, among = distinct(records), None if among is None else list(among)
    known, by_id = baselines(records), {one.id: one for one in records}
    failures = counts_of_failures(records if among is None else among)
    return [
        _standing(list(rows), by_id, known[setting], failures[setting], minimum_seeds)
        for setting, rows in groupby(summarize(records, among), key=lambda row: row.setting)
    ]


def _standing(
    rows: Sequence[Row],
    by_id: Mapping[str, Record],
    known: dict[str, float],
    failure: float,
    minimum: int,
) -> Standing:
    primary = by_id[rows[0].ids[0]].primary
    sign = 1 if primary.rises else -1
    groups = [[by_id[identity] for identity in row.ids] for row in rows]
    entries = [
        _entry(key, row, group, failure, minimum)
        for key, row, group in zip(_keys(rows, groups), rows, groups, strict=True)
    ]
    entries.sort(key=lambda one: _order(one, sign))
    comparisons, smallest, seeds = _comparisons(entries, sign, minimum)
    return Standing(
        setting=rows[0].setting,
        task=rows[0].task,
        variant=rows[0].variant,
        metric=primary.metric,
        direction=primary.direction,
        floor=primary.floor,
        ceiling=primary.ceiling,
        solved_at=primary.solved_at,
        baselines=known,
        references=references(known, primary, (one.mean for one in entries if one.mean and one.unranked is None)),
        entries=tuple(_ranked(entries, comparisons)),
        comparisons=comparisons,
        smallest=smallest,
        seeds=seeds,
    )


def _order(entry: Entry, sign: int) -> tuple[Any, ...]:
    """Best mean first; of equal ones, that of which fewer trials failed."""
    mean = -sign * entry.mean.value if entry.mean else np.inf
    return entry.unranked is not None, mean, len(entry.failed), entry.key


def _keys(rows: Sequence[Row], groups: Sequence[Sequence[Record]]) -> list[str]:
    """A key for each row: the model's name for the oldest without overrides, with a hash for others."""
    plain: dict[str, tuple[str, int]] = {}
    for index, (row, group) in enumerate(zip(rows, groups, strict=True)):
        started = min(record.started for record in group)
        if not row.is_varied and (row.model not in plain or started < plain[row.model][0]):
            plain[row.model] = (started, index)
    holders = {index for _, index in plain.values()}
    return [
        _slug(row.model) if index in holders else f"{_slug(row.model)}-{_digest(groups[index][0])}"
        for index, row in enumerate(rows)
    ]


def _slug(name: str) -> str:
    return "".join(character if character.isascii() and character.isalnum() else "_" for character in name)


def _digest(record: Record) -> str:
    return hashlib.sha256(row_key(record).encode()).hexdigest()[:6]


def _entry(key: str, row: Row, group: Sequence[Record], failure: float, minimum: int) -> Entry:
    primary = group[0].primary
    found: dict[int, list[float]] = {}
    for record in group:
        value = counted(record, failure)
        if value is not None:
            found.setdefault(record.seed, []).append(value)
    values = {seed: float(np.mean(found[seed])) for seed in sorted(found)}
    data = list(values.values())
    mean = within(estimates.mean(data), data, primary) if data else None
    until_solved = times_to_solve(group)
    return Entry(
        key=key,
        row=row,
        values=values,
        failed=tuple(sorted({record.seed for record in group if failed(record)})),
        mean=mean,
        median=estimates.median(data) if data else None,
        iqm=estimates.interquartile_mean(data) if data else None,
        score=_scored(mean, primary) if mean else None,
        unranked=None if len(data) >= minimum else f"{len(data)} of {minimum} seeds",
        ranks=None,
        solving=kaplan_meier(until_solved) if until_solved else None,
    )


def within(estimate: Estimate, data: Sequence[float], primary: Primary) -> Estimate:
    """The estimate without the part of its interval beyond the ceiling, where no trial is beyond it either."""
    ceiling, low, high = primary.ceiling, estimate.low, estimate.high
    if low is None or high is None:
        return estimate
    if primary.rises:
        return replace(estimate, high=min(high, max(ceiling, *data)))
    return replace(estimate, low=max(low, min(ceiling, *data)))


def _scored(estimate: Estimate, primary: Primary) -> Estimate:
    """The same estimate of the score, which is linear in the metric."""
    value = primary.scored(estimate.value)
    if estimate.low is None or estimate.high is None:
        return Estimate(value, None, None)
    return Estimate(value, *sorted((primary.scored(estimate.low), primary.scored(estimate.high))))


def _comparisons(
    entries: Sequence[Entry], sign: int, minimum: int
) -> tuple[dict[tuple[str, str], Comparison], float | None, int]:
    """All pairs, those of ranked entries tested together; the smallest difference told apart, with how many seeds."""
    pairs = {(a.key, b.key): (a, b) for a, b in combinations(entries, 2)}
    found = {keys: _compared(a, b, sign) for keys, (a, b) in pairs.items()}
    ranked = {entry.key for entry in entries if entry.unranked is None}
    tested = {
        keys: _differences(*pairs[keys])
        for keys, one in found.items()
        if ranked.issuperset(keys) and one.seeds >= minimum
    }
    if not tested:
        return found, None, 0
    together = family(list(tested.values()), len(ranked))
    corrected = dict(zip(tested, together.corrected(list(tested.values())), strict=True))
    # What the largest p so far not rejected has to fall below: Holm's bar for the next one.
    bar = LEVEL / max(1, len(tested) - sum(value <= LEVEL for value in corrected.values()))
    for keys, value in corrected.items():
        found[keys] = _judged(found[keys], value, sign, tested[keys], bar, together)
    seeds = min(map(len, tested.values()))
    return found, together.smallest(seeds, LEVEL), seeds


def compare(first: Entry, second: Entry, direction: str, minimum_seeds: int = MINIMUM_SEEDS) -> Comparison:
    """Two entries by themselves, be they of one standing or of two of the same setting: nothing to correct for.

    Who is better in a standing, where all pairs are tested together, is so here; not the other way round.

    Args:
        first: One entry.
        second: The other; on other seeds than the first's there is no comparison.
        direction: ``maximize`` or ``minimize``.
        minimum_seeds: Shared seeds that a verdict needs; two at least.
    """
    sign = 1 if direction == "maximize" else -1
    found = _compared(first, second, sign)
    if found.seeds < minimum_seeds or found.p is None:
        return found
    differences = _differences(first, second)
    return _judged(found, found.p, sign, differences, LEVEL, family([differences], 2))


def _differences(first: Entry, second: Entry) -> list[float]:
    return [value - second.values[seed] for seed, value in first.values.items() if seed in second.values]


def _compared(first: Entry, second: Entry, sign: int) -> Comparison:
    """What can be said of two entries without a verdict."""
    differences = _differences(first, second)
    shared = [seed for seed in first.values if seed in second.values]
    return Comparison(
        first=first.key,
        second=second.key,
        seeds=len(shared),
        difference=paired.difference(differences) if shared else None,
        p=paired.p_value(differences) if len(shared) > 1 else None,
        corrected=None,
        superiority=paired.superiority(
            [sign * first.values[seed] for seed in shared], [sign * second.values[seed] for seed in shared]
        )
        if shared
        else None,
        more_seeds=None,
        verdict="too few seeds",
    )


def _judged(
    found: Comparison, corrected: float, sign: int, differences: Sequence[float], bar: float, together: Family
) -> Comparison:
    """The comparison with its verdict: by its corrected p, and the uncorrected one that more seeds have to reach."""
    if corrected > LEVEL:
        more = power.more_pairs(differences, bar, together.spread(differences), together.degrees)
        return replace(found, corrected=corrected, more_seeds=more, verdict="tied")
    verdict: Verdict = "better" if sign * sum(differences) > 0 else "worse"
    return replace(found, corrected=corrected, more_seeds=0, verdict=verdict)


def _ranked(entries: Sequence[Entry], comparisons: Mapping[tuple[str, str], Comparison]) -> list[Entry]:
    ranked = [entry.key for entry in entries if entry.unranked is None]
    better, worse = dict.fromkeys(ranked, 0), dict.fromkeys(ranked, 0)
    for (first, second), comparison in comparisons.items():
        if comparison.verdict in ("better", "worse"):
            winner, loser = (first, second) if comparison.verdict == "better" else (second, first)
            better[loser] += 1
            worse[winner] += 1
    return [
        replace(entry, ranks=(1 + better[entry.key], len(ranked) - worse[entry.key]))
        if entry.unranked is None
        else entry
        for entry in entries
    ]
