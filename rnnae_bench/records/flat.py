"""Records as one flat table, a row a record: the columns that CSV, SQL and data frames have in common."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from msgspec.structs import asdict

from rnnae_bench.records.record import Measure, Record

TEXT, WHOLE, NUMBER, TRUTH, TIME, JSON = "text", "whole number", "number", "true or false", "time", "JSON"
"""The types of columns."""

MOST = float(2**1023)
"""A whole number beyond it is no float."""


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    name: str
    type: str
    """One of the types above; a time is in UTC, JSON is text."""
    explanation: str
    value: Callable[[Record], Any]
    """What a record has there."""

    def cell(self, record: Record) -> Any:
        """The record's value as the column's type; None where it is none of it (a foreign record's 1.5 steps, say)."""
        value = self.value(record)
        if self.type in (WHOLE, NUMBER) and not isinstance(value, int | float):
            return None
        if isinstance(value, int | float) and self.type == WHOLE:
            return int(value) if value == int(value) and abs(value) < 2**63 else None
        if isinstance(value, int | float) and self.type == NUMBER:
            return float(value) if abs(value) <= MOST else None
        return str(value) if self.type == TEXT and value is not None else value


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


COLUMNS = (
    Column("id", TEXT, "hash of what determines the result; the record's file name", lambda one: one.id),
    Column(
        "status", TEXT, "how it ended: ok, diverged, oom, timeout, error, interrupted, skipped", lambda one: one.status
    ),
    Column("task", TEXT, "the task", lambda one: one.task),
    Column("variant", TEXT, "its variant", lambda one: one.variant),
    Column("setting", TEXT, "task:variant, with what differs from the frozen variant", lambda one: one.setting),
    Column("model", TEXT, "the model", lambda one: one.model),
    Column("label", TEXT, "the model, with what differs from its defaults", lambda one: one.label),
    Column("seed", WHOLE, "of weights and noise", lambda one: one.seed),
    Column("data_seed", WHOLE, "of the training data", lambda one: one.data_seed),
    Column("data_version", TEXT, "of the task's data, as its card has it", lambda one: one.data_version),
    Column("needed_lag", WHOLE, "steps that a gradient has to bridge", lambda one: one.needed_lag),
    Column("tuned", TRUTH, "whether the card has hyper-parameters tuned for the model", lambda one: one.tuned),
    Column(
        "match",
        JSON,
        "what the model's width was chosen by: quantity, asked, got, option, width; null where it was not",
        lambda one: one.match and _json(asdict(one.match)),
    ),
    Column("metric", TEXT, "name of the primary metric", lambda one: one.primary.metric),
    Column("direction", TEXT, "maximize or minimize", lambda one: one.primary.direction),
    Column(
        "value",
        NUMBER,
        "the primary metric on the test set; null where it was not reached",
        lambda one: one.primary.value,
    ),
    Column("score", NUMBER, "0 = floor, 1 = ceiling; null as the value is", lambda one: one.primary.score),
    Column("solved", TRUTH, "whether the value reached the solved threshold", lambda one: one.primary.solved),
    Column("floor", NUMBER, "the value that scores 0", lambda one: one.primary.floor),
    Column("ceiling", NUMBER, "the value that scores 1", lambda one: one.primary.ceiling),
    Column("solved_at", NUMBER, "the solved threshold", lambda one: one.primary.solved_at),
    Column("steps", WHOLE, "optimiser steps done", lambda one: one.measures.steps),
    Column(
        "training_seconds",
        NUMBER,
        "seconds of training, without evaluations",
        lambda one: one.measures.training_seconds,
    ),
    Column("steps_per_second", NUMBER, "optimiser steps a second", lambda one: one.measures.steps_per_second),
    Column(
        "peak_memory_bytes",
        WHOLE,
        "largest memory in use; memory_kind says of what",
        lambda one: one.measures.peak_memory_bytes,
    ),
    Column("parameters", WHOLE, "trainable weights", lambda one: one.measures.parameters),
    Column(
        "state_size", WHOLE, "numbers that the model carries from step to step", lambda one: one.measures.state_size
    ),
    Column(
        "state_size_per_step",
        WHOLE,
        "numbers that a state which grows gains a step",
        lambda one: one.measures.state_size_per_step,
    ),
    Column(
        "steps_to_solved",
        WHOLE,
        "steps at the first evaluation that found it solved",
        lambda one: one.measures.steps_to_solved,
    ),
    Column(
        "seconds_to_solved",
        NUMBER,
        "seconds until then, evaluations included",
        lambda one: one.measures.seconds_to_solved,
    ),
    Column(
        "clipped_fraction",
        NUMBER,
        "share of the steps whose gradient was clipped",
        lambda one: one.measures.clipped_fraction,
    ),
    Column("accelerator", TEXT, "cpu or cuda", lambda one: one.environment.accelerator),
    Column("device", TEXT, "name of the CPU or GPU", lambda one: one.environment.device),
    Column("devices", WHOLE, "how many of them", lambda one: one.environment.devices),
    Column("precision", TEXT, "as Lightning names it", lambda one: one.environment.precision),
    Column("threads", WHOLE, "CPU threads", lambda one: one.environment.threads),
    Column(
        "members",
        WHOLE,
        "trials trained as one with it, itself included; null where alone",
        lambda one: one.environment.vectorized and one.environment.vectorized.members,
    ),
    Column(
        "git_commit",
        TEXT,
        "the suite's checkout; null where it was installed",
        lambda one: one.environment.git and one.environment.git.commit,
    ),
    Column(
        "git_dirty", TRUTH, "whether that had changes", lambda one: one.environment.git and one.environment.git.dirty
    ),
    Column("failure", TEXT, "what went wrong; null for ok", lambda one: one.failure and one.failure.message),
    Column("failure_step", WHOLE, "at which optimiser step", lambda one: one.failure and one.failure.step),
    Column("started", TIME, "when, in UTC", lambda one: _time(one.started)),
    Column("finished", TIME, "when, in UTC", lambda one: _time(one.finished)),
    Column("overrides", JSON, "options that differ from the pair's defaults", lambda one: _json(one.overrides)),
    Column("configuration", JSON, "all options: task, model, trainer", lambda one: _json(asdict(one.configuration))),
    Column("measures", JSON, "all measures under their own names", lambda one: _json(one.measures.by_name)),
    Column("test", JSON, "all metrics on the test set", lambda one: _json(one.metrics["test"])),
    Column(
        "validation",
        JSON,
        "all metrics at the last evaluation on the validation set",
        lambda one: _json(one.metrics["validation"]),
    ),
    Column("baselines", JSON, "all metrics of the baselines", lambda one: _json(one.baselines)),
    Column("fingerprints", JSON, "hashes of the data", lambda one: _json(one.fingerprints)),
    Column("versions", JSON, "of Python and libraries", lambda one: _json(one.environment.versions)),
)
"""The columns that every table has."""


def columns_of(records: Sequence[Record]) -> list[Column]:
    """All columns of the table over these records: `COLUMNS`, then one for every other number among them.

    These are measures, then ``test_METRIC``, ``validation_METRIC`` and those of further evaluation sets. A name's
    characters other than letters and digits become underscores, as in ``gradient_norm_median``. A name that another
    column has already is left to the JSON columns.
    """
    columns = {column.name: column for column in COLUMNS}
    sets = dict.fromkeys(["test", "validation", *(name for record in records for name in record.metrics)])
    for group in ("", *sets):
        for name, values in _values(records, group).items():
            column = re.sub(r"[^a-z0-9]+", "_", f"{group} {name}".lower()).strip("_")
            if column and column not in columns:
                kind = TEXT if any(isinstance(value, str) for value in values) else NUMBER
                what = f"{_WHERE.get(group, f'on {group}:')} {name}" if group else f"measure {name}"
                columns[column] = Column(column, kind, what, partial(_found, group, name))
    return list(columns.values())


_WHERE = {"test": "on the test set:", "validation": "at the last evaluation on the validation set:"}


def _named(record: Record, group: str) -> Mapping[str, Measure]:
    """A record's metrics on an evaluation set, or its measures where none is named."""
    return record.metrics.get(group, {}) if group else record.measures.by_name


def _found(group: str, name: str, record: Record) -> Measure:
    return _named(record, group).get(name)


def _values(records: Iterable[Record], group: str) -> dict[str, list[Measure]]:
    found: dict[str, list[Measure]] = {}
    for record in records:
        for name, value in _named(record, group).items():
            found.setdefault(name, []).append(value)
    return found
