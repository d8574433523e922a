"""What the scripts of a page draw from: plain data, small, with nothing in it that a record did not say."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rnnae_bench.leaderboard.site.downsampled import Curve, heatmap, of_trial, over_seeds, over_trials, packed, short
from rnnae_bench.rankings.bridging import needed_lag, reads_at_once
from rnnae_bench.rankings.overview import Overview
from rnnae_bench.rankings.standing import Comparison, Entry, Estimate, Standing
from rnnae_bench.rankings.terms import unequal
from rnnae_bench.records.history import Series
from rnnae_bench.records.profile import Profiles
from rnnae_bench.records.record import Record
from rnnae_bench.report import why
from rnnae_bench.report.heatmaps import PANELS, panels
from rnnae_bench.statistics import survival

_PROFILE_POINTS = 101

Histories = Mapping[str, Series]


def drawn(column: str) -> bool:
    """Whether the pages draw from a column: not from quantiles and counts of profiles, nor from what was asked for."""
    return not column.endswith(("/q10", "/q90", "/nonfinite")) and column not in (
        "gradient_norm_clipped",
        "learning_rate",
    )


def for_overview(whole: Overview) -> dict[str, Any]:
    """Models with their overall score and performance profile (fraction of trials above each score)."""
    return {
        "models": [
            {
                "key": str(place),
                "label": model,
                "overall": _estimate(whole.overall.get(model)),
                "profile": _profile(whole, model),
            }
            for place, model in enumerate(whole.models)
        ]
    }


def _profile(whole: Overview, model: str) -> dict[str, Any] | None:
    if model not in whole.profiles:
        return None
    kept = slice(None, None, max(1, len(whole.profiles[model][0]) // _PROFILE_POINTS))
    names = ("steps", "middle", "low", "high")
    return {name: packed(column[kept]) for name, column in zip(names, whole.profiles[model], strict=True)}


def for_task(standing: Standing, entries: Sequence[Mapping[str, Any]], needed: int | None) -> dict[str, Any]:
    """A task variant's page: its rows as from `for_entry`, the lag it needs, and every comparison of two rows.

    A comparison is a list in the order of ``fields``; its first two numbers are the places of the rows.
    """
    return {
        "metric": standing.metric,
        "direction": standing.direction,
        "floor": short(standing.floor),
        "ceiling": short(standing.ceiling),
        "solvedAt": short(standing.solved_at),
        "neededLag": needed,
        "entries": list(entries),
        "fields": [
            "first",
            "second",
            "verdict",
            "seeds",
            "difference",
            "superiority",
            "p",
            "corrected",
            "more",
            "unequal",
        ],
        "comparisons": [
            [i, j, *_comparison(one), "; ".join(unequal(first.row, second.row, (first.row.label, second.row.label)))]
            for i, first in enumerate(standing.entries)
            for j, second in enumerate(standing.entries)
            if i < j and (one := standing.comparisons.get((first.key, second.key))) is not None
        ],
    }


def _comparison(one: Comparison) -> list[Any]:
    estimates = (_estimate(one.difference), _estimate(one.superiority))
    return [one.verdict, one.seeds, *estimates, short(one.p), short(one.corrected), one.more_seeds]


def for_entry(entry: Entry, records: Sequence[Record], histories: Sequence[Histories]) -> dict[str, Any]:
    """One row: its costs, its curves over the seeds, its gradients through time (the mean over the seeds)."""
    row, metric = entry.row, f"validation/{entry.row.metric}"
    by_id = {record.id: series for record, series in zip(records, histories, strict=True)}
    return {
        "key": entry.key,
        "label": row.label,
        "ranked": entry.ranks is not None,
        "seeds": len(row.seeds),
        "mean": _estimate(entry.mean),
        "score": _estimate(entry.score),
        "parameters": row.parameters,
        "stateSize": row.state_size,
        "seconds": short(row.training_seconds),
        "memory": row.peak_memory_bytes,
        "solved": [[one.seed, one.measures.steps_to_solved, short(one.measures.seconds_to_solved)] for one in records],
        "solving": _solving(entry.solving),
        "learning": over_seeds([one[metric] for one in histories if metric in one]),
        "loss": over_seeds([one["loss"] for one in histories if "loss" in one]),
        "norm": over_seeds([one["gradient_norm"] for one in histories if "gradient_norm" in one]),
        "why": why.of_row(records, lambda record: by_id[record.id]),
        "states": _states([_panels(*one) for one in zip(records, histories, strict=True)]),
    }


def _solving(curve: survival.Curve | None) -> Curve | None:
    """The share of the trials that had solved, from step 0 to the last one watched; NaN where there is no interval."""
    if curve is None:
        return None
    points = [*zip(curve.times, curve.share, curve.low, curve.high, strict=True)]
    if not points or points[0][0] > 0:
        points.insert(0, (0.0, 0.0, None, None))
    if points[-1][0] < curve.until:
        points.append((curve.until, *points[-1][1:]))
    named = zip(("steps", "middle", "low", "high"), zip(*points, strict=True), strict=True)
    return {name: packed([math.nan if one is None else one for one in column]) for name, column in named}


def for_record(record: Record, series: Histories) -> dict[str, Any]:
    """One trial: its learning curves, gradient norms by layer, and gradients through time."""
    layers = [name for name in series if name.startswith("gradient_norm/")]
    looks = [name for name in series if name.startswith("validation/")]
    named = {name: of_trial(series[name]) for name in ("loss", "gradient_norm", *layers, *looks) if name in series}
    for name in layers:
        # A band a layer would hide the others.
        named[name] = {key: value for key, value in (named[name] or {}).items() if key in ("steps", "middle")} or None
    return {
        "metric": record.primary.metric,
        "floor": short(record.primary.floor),
        "solvedAt": short(record.primary.solved_at),
        "neededLag": needed_lag(record),
        "curves": {name: curve for name, curve in named.items() if curve},
        "why": why.of_trial(record, series),
        "states": _states([_panels(record, series)]),
    }


def seconds_to_solved(records: Iterable[Record]) -> float | None:
    """The median over the trials that reached the threshold of the seconds that it took."""
    known = [seconds for one in records if (seconds := one.measures.seconds_to_solved) is not None]
    return float(statistics.median(known)) if known else None


def _panels(record: Record, series: Histories) -> list[Profiles]:
    """The states to show of a trial; none of a model that reads its input at once, and has no time."""
    return [] if reads_at_once(record, series) else panels(series)


def _states(trials: Sequence[Sequence[Profiles]]) -> list[dict[str, Any]]:
    """The heatmap of each state, the first `PANELS` that any of the trials measured."""
    by_name: dict[str, list[Profiles]] = {}
    for shown in trials:
        for one in shown:
            by_name.setdefault(one.name, []).append(one)
    return [
        {"title": found[0].title, "state": found[0].state, "trials": len(found), **picture}
        for found in list(by_name.values())[:PANELS]
        if (picture := heatmap(*over_trials(found))) is not None
    ]


def _estimate(one: Estimate | None) -> list[float | int | None] | None:
    """Value, low and high end of the interval, with more digits than any interval leaves a meaning."""
    return None if one is None else [short(end, 8) for end in (one.value, one.low, one.high)]
