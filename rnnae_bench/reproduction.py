"""A record's trial run again: what differs here from where it was made, and whether the result agrees."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rnnae_bench import environment
from rnnae_bench.nested import flatten
from rnnae_bench.results.history import Series
from rnnae_bench.results.standing import standings
from rnnae_bench.statistics.estimates import t_quantile
from rnnae_bench.trial import Trial

ROUNDING = 1e-3
"""Relative difference up to which two numbers count as the same but for rounding, which training amplifies."""


def here_threads(record: Mapping[str, Any]) -> int:
    """The threads to run a record with: as many as it had, at most one a core of this machine."""
    return max(1, min(record["environment"]["threads"], environment.cores() or 1))


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


def differences(record: Mapping[str, Any], trial: Trial) -> list[Difference]:
    """What differs here from where the record was made: versions, machine, source, data, options, id."""
    there, here = record["environment"], trial.unmeasured("skipped", "")["environment"]
    pairs: list[tuple[str, Any, Any]] = []
    for part, title in (("versions", ""), ("plugins", "plugin "), ("host", "host ")):
        pairs += [
            (f"{title}{name}", there[part].get(name), here[part].get(name)) for name in {**there[part], **here[part]}
        ]
    pairs += [(name, there[name], here[name]) for name in ("device", "threads", "accelerator", "devices", "precision")]
    for name in ("commit", "dirty"):
        pairs.append((f"git {name}", (there["git"] or {}).get(name), (here["git"] or {}).get(name)))
    prints = record["fingerprints"], trial.fingerprints
    pairs += [(f"data: {name}", prints[0].get(name), prints[1].get(name)) for name in {**prints[0], **prints[1]}]
    options, now = flatten(record["configuration"]), flatten(trial.options)
    pairs += [(f"option {name}", options.get(name, "absent"), now[name]) for name in now]
    pairs.append(("id", record["id"], trial.identity))
    shown = {None: "-"}
    return [
        Difference(what, str(shown.get(one, one)), str(shown.get(two, two)))
        for what, one, two in pairs
        if one != two and not isinstance(one, dict | list)
    ]


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
    """Of metrics and histories: bit for bit the same, the same to within `ROUNDING`, or different."""
    column: str | None
    """The history that differs first, None where none does."""
    step: int | None
    """The first optimiser step at which it does; None where the histories are of other steps or columns."""
    interval: tuple[float, float] | None
    """Where one more trial of the row lies with 95 % probability; None below three seeds."""
    seeds: int
    """That the row has."""

    @property
    def inside(self) -> bool | None:
        """Whether the new value lies in the interval; None where there is no interval or no value."""
        if self.interval is None or self.value_after is None:
            return None
        low, high = self.interval
        room = ROUNDING * max(abs(low), abs(high))
        return low - room <= self.value_after <= high + room

    @property
    def reproduced(self) -> bool:
        """Whether it ended as before, and the metric agrees or lies in the row's interval."""
        return self.before == self.after and (self.agreement != "different" or self.inside is True)


def compare(
    record: Mapping[str, Any],
    series: Mapping[str, Series],
    again: Mapping[str, Any],
    series_again: Mapping[str, Series],
    records: Sequence[Mapping[str, Any]],
) -> Reproduction:
    """Set a record beside what running it again gave.

    Args:
        record: The record.
        series: Its histories.
        again: The new record.
        series_again: Its histories.
        records: The records that the first lies among: its row tells how far apart trials of it are.
    """
    values = _values_of_row(record, records)
    column, step = _first_difference(series, series_again)
    same = column is None and record["metrics"] == again["metrics"]
    close = all(
        set(record["metrics"][split]) == set(again["metrics"][split])
        and all(_close(value, again["metrics"][split][name]) for name, value in record["metrics"][split].items())
        for split in ("test", "validation")
    )
    close = (
        close
        and set(series) == set(series_again)
        and all(_alike(one, series_again[name]) for name, one in series.items())
    )
    return Reproduction(
        before=record["status"],
        after=again["status"],
        value_before=record["primary"]["value"],
        value_after=again["primary"]["value"],
        agreement="exact" if same else "rounding" if close else "different",
        column=column,
        step=step,
        interval=prediction_interval(values),
        seeds=len(values),
    )


def _values_of_row(record: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[float]:
    names = ("task", "variant", "model")
    alike = [one for one in records if all(one[name] == record[name] for name in names)]
    for standing in standings(alike):
        for entry in standing.entries:
            if record["id"] in entry.row.ids:
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
    for name in {**one, **two}:
        if name not in one or name not in two or not np.array_equal(one[name].steps, two[name].steps):
            return name, None
        if one[name].values.shape != two[name].values.shape:
            return name, None
        differs = ~((one[name].values == two[name].values) | (np.isnan(one[name].values) & np.isnan(two[name].values)))
        rows = np.flatnonzero(differs.reshape(len(differs), -1).any(axis=1))
        if len(rows):
            found.append((int(one[name].steps[rows[0]]), name))
    step, column = min(found, default=(None, None))
    return column, step


def _close(one: float | None, two: float | None) -> bool:
    if one is None or two is None:
        return one is two
    return math.isclose(one, two, rel_tol=ROUNDING, abs_tol=1e-6)


def _alike(one: Series, two: Series) -> bool:
    if not np.array_equal(one.steps, two.steps) or one.values.shape != two.values.shape:
        return False
    return bool(np.isclose(one.values, two.values, rtol=ROUNDING, atol=1e-6, equal_nan=True).all())
