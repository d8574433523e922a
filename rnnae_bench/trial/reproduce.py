"""A record's trial run again: what differs here from where it was made, and whether the result agrees."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning import Callback
from msgspec.structs import asdict

from rnnae_bench.options.nested import flatten
from rnnae_bench.rankings.standing import standings
from rnnae_bench.records.history import Series
from rnnae_bench.records.record import Numbers, Record
from rnnae_bench.records.store import Store
from rnnae_bench.statistics.estimates import t_quantile
from rnnae_bench.trial import environment
from rnnae_bench.trial.outcome import Outcome, keep
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.vectorized import VectorizedTrial, reason_apart
from rnnae_bench.trial.vectorized.choice import TOGETHER

_DTYPES = {"64": torch.float64, "32": torch.float32, "16": torch.float16}


def resolution(precision: str) -> float:
    """The relative spacing of numbers in one of Lightning's precisions: its machine epsilon; bfloat16's by default.

    >>> resolution("32-true")
    1.1920928955078125e-07
    """
    return torch.finfo(_DTYPES.get(precision.partition("-")[0], torch.bfloat16)).eps


def rounding(precision: str) -> float:
    """Relative difference up to which two metrics count as the same within rounding: the square root of the epsilon.

    Half of a number's digits, that is. Another processor, number of threads or version rounds the last digit otherwise,
    and every step of a training amplifies that: half of the digits are left to it, and beyond them nothing is excused.
    """
    return math.sqrt(resolution(precision))


def here_threads(record: Record) -> int:
    """The threads to run a record with: as many as it had, at most one a core of this machine."""
    return max(1, min(record.environment.threads, environment.cores() or 1))


@dataclass(frozen=True)
class Difference:
    """Something that is not here as it was where the record was made."""

    what: str
    recorded: str
    here: str

    @property
    def is_of_data(self) -> bool:
        """Whether the data are others, so that it is another task."""
        return self.what.startswith("data:")


def differences(record: Record, trial: Trial) -> list[Difference]:
    """What differs here from where the record was made: versions, machine, source, data, options, id."""
    there, here = record.environment, trial.unmeasured("skipped", "").environment
    pairs: list[tuple[str, Any, Any]] = []
    for title, one, two in (
        ("", there.versions, here.versions),
        ("plugin ", there.plugins, here.plugins),
        ("host ", asdict(there.host), asdict(here.host)),
    ):
        pairs += [(f"{title}{name}", one.get(name), two.get(name)) for name in {**one, **two}]
    names = ("device", "threads", "accelerator", "devices", "precision")
    pairs += [(name, getattr(there, name), getattr(here, name)) for name in names]
    pairs += [
        (f"git {name}", getattr(there.git, name, None), getattr(here.git, name, None)) for name in ("commit", "dirty")
    ]
    prints = record.fingerprints, trial.fingerprints
    pairs += [(f"data: {name}", prints[0].get(name), prints[1].get(name)) for name in {**prints[0], **prints[1]}]
    if record.data_version is not None:
        pairs.append(("data: version", record.data_version, trial.data_version))
    options, now = flatten(asdict(record.configuration)), flatten(trial.options)
    pairs += [(f"option {name}", options.get(name, "absent"), now[name]) for name in now]
    pairs.append(("id", record.id, trial.identity))
    shown = {None: "-"}
    return [
        Difference(what, str(shown.get(one, one)), str(shown.get(two, two)))
        for what, one, two in pairs
        if one != two and not isinstance(one, dict | list)
    ]


def run_again(
    record: Record, trial: Trial, store: Store, command: Sequence[str], callbacks: Sequence[Callback]
) -> Outcome | None:
    """Run a record's trial as it was run: alone, or in its place among as many others, of the seeds that follow.

    Args:
        record: The record; how many it was trained with is taken from there, if it is no more than a sweep chooses.
        trial: Its trial.
        store: Where the new record goes; those of the others are not kept.
        command: As for `Trial.run`.
        callbacks: As for `Trial.run`.
    """
    together = members(record)
    if not 1 < together <= max(TOGETHER.values()) or reason_apart(trial):
        return trial.run(store, command, callbacks)
    group = [
        Trial(trial.pair, trial.options, trial.seed + further, trial.data_seed + further)
        for further in range(1, together)
    ]
    there = record.environment.vectorized
    place = min((there.place or 0) if there else 0, together - 1)
    group.insert(place, trial)
    with tempfile.TemporaryDirectory(prefix="rnnae-bench-") as folder:
        outcome = VectorizedTrial(group).run(Store(Path(folder)), command, callbacks)[place]
    return keep(store, outcome.record, outcome.series, outcome.kept)


def members(record: Record) -> int:
    """How many trials a record's was trained as one with, itself included."""
    return 1 if record.environment.vectorized is None else record.environment.vectorized.members


Agreement = Literal["exact", "rounding", "different"]


@dataclass(frozen=True)
class Reproduction:
    """A record beside what running it again gave."""

    before: str
    """How the record ended."""
    after: str
    value_before: float | None
    value_after: float | None
    agreement: Agreement
    """Metrics and histories the same bit for bit; all metrics the same within `rounding`; or different."""
    tolerance: float
    """The `rounding` of the record's precision."""
    beyond: dict[str, tuple[float | None, float | None]]
    """Metrics that differ by more, as ``test/loss``: in the record, and now."""
    column: str | None
    """The history that differs first, None where none does."""
    step: int | None
    """The first optimiser step at which it does; None where the column is of other steps."""
    interval: tuple[float, float] | None
    """Where one more trial of the row lies with 95 % probability; None below three seeds."""
    seeds: int
    """That the row has."""
    members_before: int
    """How many trials it was trained as one with, itself included."""
    members_after: int

    @property
    def inside(self) -> bool | None:
        """Whether the new value lies in the interval; None where there is no interval or no value."""
        if self.interval is None or self.value_after is None:
            return None
        low, high = self.interval
        room = self.tolerance * max(abs(low), abs(high))
        return low - room <= self.value_after <= high + room

    @property
    def reproduced(self) -> bool:
        """Whether it ended as before, with all metrics the same within rounding; the spread of seeds is no excuse."""
        return self.before == self.after and self.agreement != "different"


def compare(
    record: Record,
    series: Mapping[str, Series],
    again: Record,
    series_again: Mapping[str, Series],
    records: Sequence[Record],
) -> Reproduction:
    """Set a record beside what running it again gave.

    A metric or a column that only one of them has, since versions measure different things, speaks neither for nor
    against agreement.

    Args:
        record: The record.
        series: Its histories.
        again: The new record.
        series_again: Its histories.
        records: The records that the first lies among: its row tells how far apart trials of it are.
    """
    values = _values_of_row(record, records)
    column, step = _first_difference(series, series_again)
    precision = record.environment.precision
    has_value, has_again = (one.primary.value is not None for one in (record, again))
    same = column is None and all(one == two for one, two in _both(record.metrics, again.metrics).values())
    beyond = _beyond(record.metrics, again.metrics, precision)
    # A trial that failed early has no metrics; its histories decide.
    close = not beyond if any(record.metrics.values()) else _alike(series, series_again, precision)
    agreement: Agreement = "exact" if same else "rounding" if close else "different"
    return Reproduction(
        before=record.status,
        after=again.status,
        value_before=record.primary.value,
        value_after=again.primary.value,
        agreement=agreement if has_value == has_again else "different",
        tolerance=rounding(precision),
        beyond=beyond,
        column=column,
        step=step,
        interval=prediction_interval(values),
        seeds=len(values),
        members_before=members(record),
        members_after=members(again),
    )


def _values_of_row(record: Record, records: Sequence[Record]) -> list[float]:
    pair = (record.task, record.variant, record.model)
    alike = [one for one in records if (one.task, one.variant, one.model) == pair]
    for standing in standings(alike):
        for entry in standing.entries:
            if record.id in entry.row.ids:
                return list(entry.values.values())
    return []


def prediction_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Where one more value lies with 95 % probability, if values are normal: mean ± t sd √(1 + 1/n).

    Not the confidence interval of the mean, outside which most single trials lie. None below three values.
    Source: Hahn and Meeker, Statistical Intervals, 1991, section 4.7.
    """
    number = len(values)
    if number < 3:
        return None
    reach = t_quantile(number - 1) * float(np.std(values, ddof=1)) * math.sqrt(1 + 1 / number)
    middle = float(np.mean(values))
    return middle - reach, middle + reach


def _first_difference(one: Mapping[str, Series], two: Mapping[str, Series]) -> tuple[str | None, int | None]:
    found: list[tuple[int, str]] = []
    for name in [name for name in one if name in two]:
        if not np.array_equal(one[name].steps, two[name].steps):
            return name, None
        if one[name].values.shape != two[name].values.shape:
            return name, None
        differs = ~((one[name].values == two[name].values) | (np.isnan(one[name].values) & np.isnan(two[name].values)))
        rows = np.flatnonzero(differs.reshape(len(differs), -1).any(axis=1))
        if len(rows):
            found.append((int(one[name].steps[rows[0]]), name))
    step, column = min(found, default=(None, None))
    return column, step


def _both(before: Mapping[str, Numbers], after: Mapping[str, Numbers]) -> dict[str, tuple[float | None, float | None]]:
    """The metrics that both have, as ``test/loss``."""
    return {
        f"{split}/{name}": (value, after[split][name])
        for split in before
        for name, value in before[split].items()
        if name in after.get(split, {})
    }


def _beyond(
    before: Mapping[str, Numbers], after: Mapping[str, Numbers], precision: str
) -> dict[str, tuple[float | None, float | None]]:
    """The metrics of both that are not the same within rounding."""
    found = {}
    for name, (one, two) in _both(before, after).items():
        same = one == two
        if one is not None and two is not None:
            same = math.isclose(one, two, rel_tol=rounding(precision), abs_tol=resolution(precision))
        if not same:
            found[name] = (one, two)
    return found


def _alike(one: Mapping[str, Series], two: Mapping[str, Series], precision: str) -> bool:
    tolerance = {"rtol": rounding(precision), "atol": resolution(precision)}
    return all(
        np.array_equal(mine.steps, two[name].steps)
        and mine.values.shape == two[name].values.shape
        and bool(np.isclose(mine.values, two[name].values, equal_nan=True, **tolerance).all())
        for name, mine in one.items()
        if name in two
    )
