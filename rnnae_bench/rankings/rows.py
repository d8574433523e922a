"""Rows of a table from records: the trials that differ only in their seed, taken together."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rnnae_bench.rankings.counting import LEFT_OUT, counted, distinct, worst
from rnnae_bench.rankings.solving import times_to_solve
from rnnae_bench.records.identity import row_key
from rnnae_bench.records.record import Record, label, setting
from rnnae_bench.statistics import proportions, survival
from rnnae_bench.statistics.estimates import Estimate


@dataclass(frozen=True)
class Row:
    """One setting of a model on one task variant, over all its seeds.

    Values of the metric are over the trials that were tried, failed ones as in `rnnae_bench.rankings.counting`; costs
    are over those that ended ``ok``; `statuses` counts all of them.
    """

    task: str
    variant: str
    model: str
    overrides: dict[str, Any]
    accelerator: str
    devices: int
    precision: str
    metric: str
    direction: str
    seeds: list[int]
    statuses: dict[str, int]
    mean: float | None
    sd: float | None
    """Sample standard deviation over seeds (n - 1); None below two."""
    minimum: float | None
    maximum: float | None
    floor: float
    score: float | None
    """Score of the mean: 0 at the floor, 1 at the ceiling."""
    tried: int
    """Trials that count: not those that were skipped or interrupted."""
    solved: int
    """Of these, those that reached the solved threshold on the test set."""
    solve_probability: Estimate | None
    """Share of those that solved, with Wilson's interval; None where none was tried."""
    more_seeds: int | None
    """How many more would narrow that interval to a width of 0.2, if the share stays."""
    steps_to_solve: survival.Quantile | None
    """Steps by which half of those that were tried had reached the threshold on the validation set: the median of
    Kaplan and Meier's curve (`rnnae_bench.rankings.solving`); None where none was tried."""
    training_seconds: float | None
    steps_per_second: float | None
    peak_memory_bytes: int | None
    parameters: int | None
    state_size: int | None
    state_size_per_step: int | None
    """Of a state that grows."""
    tuned: bool | None
    """Whether the task's card has hyper-parameters tuned for the model; None where the records don't say."""
    match: str | None
    """What the width was chosen by, in words."""
    ids: list[str]

    @property
    def trials(self) -> int:
        """How many records the row stands for."""
        return len(self.ids)

    @property
    def label(self) -> str:
        """The model with what differs from its defaults, as ``gru[hidden_size=64]``."""
        return label(self.model, self.overrides)

    @property
    def setting(self) -> str:
        """Task and variant; with what differs from the frozen variant, which is then another task."""
        return setting(self.task, self.variant, self.overrides)

    @property
    def is_varied(self) -> bool:
        """Whether anything but the task, which is then a setting of its own, differs from the pair's defaults."""
        return any(not name.startswith("task.") for name in self.overrides)

    @property
    def layout(self) -> str:
        """Devices and precision, as ``1x cpu 32-true``."""
        return f"{self.devices}x {self.accelerator} {self.precision}"

    @property
    def failed(self) -> int:
        """How many trials failed: those that were tried, and have no result."""
        return sum(count for status, count in self.statuses.items() if status not in ("ok", *LEFT_OUT))

    @property
    def failures(self) -> str:
        """How many trials did not end ``ok``, by status; empty where all did."""
        return ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items()) if status != "ok")

    def as_dict(self) -> dict[str, Any]:
        """The row as plain data."""
        return asdict(self)


def summarize(records: Iterable[Record], among: Iterable[Record] | None = None) -> list[Row]:
    """The rows of a table: grouped by everything but the seed, best first within each task variant.

    Args:
        records: Records, in any order.
        among: All that are known, of which `records` are a choice; what a failed trial counts as rests on them. None:
            these.
    """
    records = distinct(records)
    failures = counts_of_failures(records if among is None else among)
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(row_key(record), []).append(record)
    rows = [_row(group, failures[group[0].setting]) for group in groups.values()]
    return sorted(rows, key=_rank)


def counts_of_failures(records: Iterable[Record]) -> dict[str, float]:
    """What a failed trial counts as, by task setting (as `Row.setting`)."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.setting, []).append(record)
    return {name: worst(group) for name, group in groups.items()}


def _rank(row: Row) -> tuple[Any, ...]:
    sign = -1 if row.direction == "maximize" else 1
    # A row whose trials finished is before one that counts the same because they failed.
    return (row.setting, row.mean is None, 0.0 if row.mean is None else sign * row.mean, row.failed, row.label)


def _row(group: Sequence[Record], failure: float) -> Row:
    group = sorted(group, key=lambda record: record.seed)
    first, done = group[0], [record for record in group if record.status == "ok"]
    tried, until_solved = [record for record in group if record.status not in LEFT_OUT], times_to_solve(group)
    solved = sum(record.primary.solved for record in tried)
    values = [value for record in group if (value := counted(record, failure)) is not None]
    return Row(
        task=first.task,
        variant=first.variant,
        model=first.model,
        overrides=first.overrides,
        accelerator=first.environment.accelerator,
        devices=first.environment.devices,
        precision=first.environment.precision,
        metric=first.primary.metric,
        direction=first.primary.direction,
        seeds=[record.seed for record in group],
        statuses=dict(Counter(record.status for record in group)),
        mean=statistics.fmean(values) if values else None,
        sd=statistics.stdev(values) if len(values) > 1 else None,
        minimum=min(values, default=None),
        maximum=max(values, default=None),
        floor=first.primary.floor,
        score=first.primary.scored(statistics.fmean(values)) if values else None,
        tried=len(tried),
        solved=solved,
        solve_probability=proportions.wilson(solved, len(tried)) if tried else None,
        more_seeds=proportions.more_to_narrow(solved, len(tried)) if tried else None,
        steps_to_solve=survival.median(survival.kaplan_meier(until_solved)) if until_solved else None,
        training_seconds=_mean(record.measures.training_seconds for record in done),
        steps_per_second=_mean(record.measures.steps_per_second for record in done),
        peak_memory_bytes=max(
            (record.measures.peak_memory_bytes for record in done if record.measures.peak_memory_bytes),
            default=None,
        ),
        parameters=first.measures.parameters,
        state_size=first.measures.state_size,
        state_size_per_step=first.measures.state_size_per_step,
        tuned=next((record.tuned for record in group if record.tuned is not None), None),
        match=next((str(record.match) for record in group if record.match is not None), None),
        ids=[record.id for record in group],
    )


def baselines(records: Iterable[Record]) -> dict[str, dict[str, float]]:
    """The baselines' primary metric by task setting (as `Row.setting`) and baseline name."""
    found: dict[str, dict[str, float]] = {}
    for record in records:
        metric = record.primary.metric
        known = {name: value for name, values in record.baselines.items() if (value := values.get(metric)) is not None}
        found.setdefault(record.setting, {}).update(known)
    return found


def _mean(values: Iterable[float | int | None]) -> float | None:
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if present else None
