"""Measure rows of the table, one after the other."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path

from rnnae_bench.api.sweeping import sweep
from rnnae_bench.api.truth.row import Finding, Row, Training
from rnnae_bench.errors import in_a_line


def measured(rows: Iterable[Row], out: Path, progress: bool) -> Iterator[Finding]:
    """Each row's finding, as it is made.

    Args:
        rows: To be measured.
        out: Folder for the records of trainings; what has a record there is not trained again.
        progress: Whether to show that of trainings.
    """
    for row in rows:
        start = time.perf_counter()
        failure = ""
        values: tuple[float, ...] = ()
        try:
            values = tuple(_values(row, out, progress))
        except Exception as error:
            failure = f"{type(error).__name__}: {in_a_line(error)}"
        yield Finding(row, values, time.perf_counter() - start, failure)


def _values(row: Row, out: Path, progress: bool) -> list[float]:
    if isinstance(row.measure, Training):
        return _trained(row.measure, out, progress)
    module, _, function = row.measure.partition(":")
    measure: Callable[[str], list[float]] = getattr(import_module(f"rnnae_bench.api.truth.{module}"), function)
    return measure(row.name)


def _trained(training: Training, out: Path, progress: bool) -> list[float]:
    found = sweep(training.task, training.model, seeds=training.seeds, out=out, progress=progress)
    records = [one.record for one in found]
    broken = [record for record in records if record.status != "ok"]
    if broken:
        failure = broken[0].failure
        raise RuntimeError(f"seed {broken[0].seed}: {broken[0].status}: {failure.message if failure else ''}")
    values = [record.metrics[training.on][training.metric] for record in records]
    return [math.nan if value is None else float(value) for value in values]
