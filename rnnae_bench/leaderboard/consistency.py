"""What within a record and its histories contradicts itself, or is no text for others to read."""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from rnnae_bench.options.nested import flatten
from rnnae_bench.records.document import document_of
from rnnae_bench.records.history import Series
from rnnae_bench.records.record import Record

LONGEST_TEXT = 2000
"""Characters that a text in a record has at most, outside its failure."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def unreadable_text(record: Record) -> Iterator[str]:
    """What of a record's names and texts nobody could read."""
    for key, name in (("task", record.task), ("variant", record.variant), ("model", record.model)):
        if not _NAME.fullmatch(name):
            yield f"{key} {name!r} is no name: lower-case letters, digits, '_', '.' and '-'"
    free = {key: value for key, value in document_of(record).items() if key != "failure"}
    if any(not text.isprintable() for text in _texts(free)):
        yield "it holds control characters"
    if any(len(text) > LONGEST_TEXT for text in _texts(free)):
        yield f"it holds a text of more than {LONGEST_TEXT:,} characters"


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(data, list):
        for value in data:
            yield from _texts(value)


def inconsistent(record: Record, series: Mapping[str, Series]) -> Iterator[str]:
    """What contradicts itself within a record and its histories."""
    yield from _inconsistent_value(record)
    yield from _inconsistent_steps(record, series)
    yield from _inconsistent_times(record)
    yield from _inconsistent_match(record)


def _inconsistent_value(record: Record) -> Iterator[str]:
    primary, test = record.primary, record.metrics["test"]
    value, floor, ceiling = primary.value, primary.floor, primary.ceiling
    if (ceiling > floor) != primary.rises or ceiling == floor:
        yield f"to {primary.direction}, a ceiling of {ceiling} does not fit a floor of {floor}"
        return
    points = ("floor", floor, primary.floor_baseline), ("ceiling", ceiling, primary.ceiling_baseline)
    for point, stated, name in points:
        if name is not None and record.baselines.get(name, {}).get(primary.metric) != stated:
            yield f"its {point} {stated} is not what its baseline '{name}' gives"
    if (record.status == "ok") != (record.failure is None):
        yield f"its status is {record.status}, and its failure says otherwise"
    if record.status != "ok" or value is None:
        if record.status == "ok":
            yield "it ended ok without a value"
        elif value is not None or primary.score is not None or primary.solved:
            yield f"its status is {record.status}, and yet it has a value, a score, or is solved"
        return
    if primary.metric not in test:
        yield f"its test metrics lack the primary one, {primary.metric}"
    elif test[primary.metric] != value:
        yield f"its value is {value}, and its test metrics say {test[primary.metric]}"
    score = primary.scored(value)
    if primary.score is None or not math.isclose(primary.score, score, rel_tol=1e-9, abs_tol=1e-12):
        yield f"its score is {primary.score}, and its value gives {score:.6g}"
    if score > 1 + 1e-6:
        yield f"its value {value} is beyond the ceiling, {ceiling}"
    if primary.solved != primary.solves(value):
        yield f"solved is {primary.solved}, and its value {value} says otherwise (from {primary.solved_at} on)"


def _inconsistent_steps(record: Record, series: Mapping[str, Series]) -> Iterator[str]:
    protocol = record.configuration.task.get("protocol")
    budget = protocol.get("max_steps") if isinstance(protocol, Mapping) else None
    steps = record.measures.steps
    # Whether its model does train itself is checked where the model is at hand.
    fitted = steps == 0 and "loss" in record.absent
    if not isinstance(budget, int):
        yield "its configuration has no budget (task.protocol.max_steps)"
    elif steps > budget:
        yield f"it took {steps} steps of a budget of {budget}"
    elif record.status == "ok" and steps != budget and not fitted:
        yield f"it ended ok after {steps} of {budget} steps"
    for name, one in series.items():
        if len(one.steps) and (one.steps[0] < 0 or one.steps[-1] > steps or (np.diff(one.steps) <= 0).any()):
            yield f"the steps of {name} in its histories are not from 0 to {steps}, rising"
            return
    if record.status != "ok":
        return
    for column in () if fitted else ("loss", "gradient_norm"):
        if column not in series or len(series[column].steps) != steps:
            yield f"its histories lack {column} at some of its {steps} steps"
    for name, value in record.metrics["validation"].items():
        last = series.get(f"validation/{name}")
        found = None if last is None or last.values.ndim != 1 or not len(last.values) else float(last.values[-1])
        if found != value and not (value is None and found is not None and not math.isfinite(found)):
            yield f"its last validation {name} is {value}, and its histories say {found}"


def _inconsistent_times(record: Record) -> Iterator[str]:
    try:
        started, finished = map(datetime.fromisoformat, (record.started, record.finished))
        taken = (finished - started).total_seconds()
        ahead = finished - datetime.now(UTC)
    except (ValueError, TypeError, OverflowError):
        yield "when it started and finished are no times with a time zone"
        return
    if taken < 0:
        yield "it finished before it started"
    if ahead > timedelta(days=1):
        yield f"it finished in the future ({record.finished})"
    seconds = record.measures.training_seconds
    # Times are of whole seconds, so two roundings.
    if seconds is not None and not 0 <= seconds <= max(taken, 0) + 2:
        yield f"it says {seconds:.6g} seconds of training, and took {taken:.0f} in all"


def _inconsistent_match(record: Record) -> Iterator[str]:
    match, measures = record.match, record.measures
    if match is None:
        return
    # Seconds were an estimate.
    has = {"parameters": measures.parameters, "state": measures.state_size, "seconds": None}[match.quantity]
    if has is not None and has != match.got:
        yield f"its width was matched to {match}, and its measures say {has:,}"
    value = flatten(record.configuration.model).get(match.option)
    if match.width not in (value, max(value, default=None) if isinstance(value, list) else None):
        yield f"its width was matched by {match.option} {match.width}, and its configuration says {value}"
