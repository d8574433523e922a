"""Records as one flat table: a row a record, for SQL and for data frames."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnae_bench.errors import missing_extra
from rnnae_bench.records.store import Store
from rnnae_bench.standings.rows import label, setting

if TYPE_CHECKING:
    import pandas
    import pyarrow

TEXT, WHOLE, NUMBER, TRUTH, TIME, JSON = "text", "whole number", "number", "true or false", "time", "JSON"
"""The types of columns."""


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    name: str
    type: str
    """One of the types above; a time is in UTC, JSON is text."""
    explanation: str
    cell: Callable[[Mapping[str, Any]], Any]
    """Its value for a record."""


def _at(*keys: str) -> Callable[[Mapping[str, Any]], Any]:
    def cell(record: Mapping[str, Any]) -> Any:
        value: Any = record
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    return cell


def _label(record: Mapping[str, Any]) -> str:
    return label(record["model"], record["overrides"])


def _setting(record: Mapping[str, Any]) -> str:
    return setting(record["task"], record["variant"], record["overrides"])


def _time(key: str) -> Callable[[Mapping[str, Any]], datetime | None]:
    def cell(record: Mapping[str, Any]) -> datetime | None:
        try:
            return datetime.fromisoformat(record[key]).astimezone(UTC).replace(tzinfo=None)
        except (ValueError, OverflowError):
            return None

    return cell


def _json(*keys: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda record: json.dumps(_at(*keys)(record), sort_keys=True)


COLUMNS = (
    Column("id", TEXT, "hash of what determines the result; the record's file name", _at("id")),
    Column("status", TEXT, "how it ended: ok, diverged, oom, timeout, error, interrupted, skipped", _at("status")),
    Column("task", TEXT, "the task", _at("task")),
    Column("variant", TEXT, "its variant", _at("variant")),
    Column("setting", TEXT, "task:variant, with what differs from the frozen variant", _setting),
    Column("model", TEXT, "the model", _at("model")),
    Column("label", TEXT, "the model, with what differs from its defaults", _label),
    Column("seed", WHOLE, "of weights and noise", _at("seed")),
    Column("data_seed", WHOLE, "of the training data", _at("data_seed")),
    Column("metric", TEXT, "name of the primary metric", _at("primary", "metric")),
    Column("direction", TEXT, "maximize or minimize", _at("primary", "direction")),
    Column(
        "value", NUMBER, "the primary metric on the test set; null where it was not reached", _at("primary", "value")
    ),
    Column("score", NUMBER, "0 = floor, 1 = ceiling; null as the value is", _at("primary", "score")),
    Column("solved", TRUTH, "whether the value reached the solved threshold", _at("primary", "solved")),
    Column("floor", NUMBER, "the value that scores 0", _at("primary", "floor")),
    Column("ceiling", NUMBER, "the value that scores 1", _at("primary", "ceiling")),
    Column("solved_at", NUMBER, "the solved threshold", _at("primary", "solved_at")),
    Column("steps", WHOLE, "optimiser steps done", _at("measures", "steps")),
    Column(
        "training_seconds",
        NUMBER,
        "seconds of training, without looks at validation",
        _at("measures", "training_seconds"),
    ),
    Column("steps_per_second", NUMBER, "optimiser steps a second", _at("measures", "steps_per_second")),
    Column(
        "peak_memory_bytes",
        WHOLE,
        "largest memory in use; memory_kind says of what",
        _at("measures", "peak_memory_bytes"),
    ),
    Column("parameters", WHOLE, "trainable weights", _at("measures", "parameters")),
    Column("state_size", WHOLE, "numbers that the model carries from step to step", _at("measures", "state_size")),
    Column(
        "steps_to_solved", WHOLE, "steps at the first look that found it solved", _at("measures", "steps_to_solved")
    ),
    Column("seconds_to_solved", NUMBER, "seconds until then, looks included", _at("measures", "seconds_to_solved")),
    Column(
        "clipped_fraction", NUMBER, "share of the steps whose gradient was clipped", _at("measures", "clipped_fraction")
    ),
    Column("accelerator", TEXT, "cpu or cuda", _at("environment", "accelerator")),
    Column("device", TEXT, "name of the CPU or GPU", _at("environment", "device")),
    Column("devices", WHOLE, "how many of them", _at("environment", "devices")),
    Column("precision", TEXT, "as Lightning names it", _at("environment", "precision")),
    Column("threads", WHOLE, "CPU threads", _at("environment", "threads")),
    Column(
        "members",
        WHOLE,
        "trials trained as one with it, itself included; null where alone",
        _at("environment", "vectorized", "members"),
    ),
    Column(
        "git_commit", TEXT, "the suite's checkout; null where it was installed", _at("environment", "git", "commit")
    ),
    Column("git_dirty", TRUTH, "whether that had changes", _at("environment", "git", "dirty")),
    Column("failure", TEXT, "what went wrong; null for ok", _at("failure", "message")),
    Column("failure_step", WHOLE, "at which optimiser step", _at("failure", "step")),
    Column("started", TIME, "when, in UTC", _time("started")),
    Column("finished", TIME, "when, in UTC", _time("finished")),
    Column("overrides", JSON, "options that differ from the pair's defaults", _json("overrides")),
    Column("configuration", JSON, "all options: task, model, trainer", _json("configuration")),
    Column("measures", JSON, "all measures under their own names", _json("measures")),
    Column("test", JSON, "all metrics on the test set", _json("metrics", "test")),
    Column("validation", JSON, "all metrics at the last look at the validation set", _json("metrics", "validation")),
    Column("baselines", JSON, "all metrics of the baselines", _json("baselines")),
    Column("fingerprints", JSON, "hashes of the data", _json("fingerprints")),
    Column("versions", JSON, "of Python and libraries", _json("environment", "versions")),
)
"""The columns that every table has; those of `further_columns` follow."""


def further_columns(records: Iterable[Mapping[str, Any]]) -> list[Column]:
    """A column for every other number among the records: measures, then ``test_METRIC`` and ``validation_METRIC``.

    A name's characters other than letters and digits become underscores, as in ``gradient_norm_median``. A name that
    another column has already is left to the JSON columns.
    """
    found: dict[str, Column] = {}
    taken = {column.name for column in COLUMNS}
    sources = (
        ("", "measure", ("measures",)),
        ("test_", "on the test set:", ("metrics", "test")),
        ("validation_", "at the last look at the validation set:", ("metrics", "validation")),
    )
    groups: list[dict[str, list[Any]]] = [{} for _ in sources]
    for record in records:
        for group, (_, _, keys) in zip(groups, sources, strict=True):
            for name, value in _at(*keys)(record).items():
                group.setdefault(name, []).append(value)
    for group, (prefix, word, keys) in zip(groups, sources, strict=True):
        for name, values in group.items():
            column = re.sub(r"[^a-z0-9]+", "_", f"{prefix}{name}".lower()).strip("_")
            if column and column not in taken:
                taken.add(column)
                type = TEXT if any(isinstance(value, str) for value in values) else NUMBER
                found[column] = Column(column, type, f"{word} {name}", _at(*keys, name))
    return list(found.values())


def columns_of(records: Sequence[Mapping[str, Any]]) -> list[Column]:
    """All columns of the table over these records."""
    return [*COLUMNS, *further_columns(records)]


def arrow(records: Sequence[Mapping[str, Any]]) -> "pyarrow.Table":
    """The table over records: one row a record, in their order, with the columns of `columns_of`."""
    import pyarrow as pa

    types = {
        TEXT: pa.string(),
        WHOLE: pa.int64(),
        NUMBER: pa.float64(),
        TRUTH: pa.bool_(),
        TIME: pa.timestamp("us"),
        JSON: pa.string(),
    }
    columns = columns_of(records)
    return pa.table(
        [
            pa.array([_fit(column.cell(record), column.type) for record in records], types[column.type])
            for column in columns
        ],
        names=[column.name for column in columns],
    )


def _fit(value: Any, type: str) -> Any:
    """The value as the column's type; None where it is none of it (a foreign record's 1.5 steps, say)."""
    if value is None:
        return None
    if type == WHOLE:
        return int(value) if not isinstance(value, str) and value == int(value) and abs(value) < 2**63 else None
    if type == NUMBER:
        return float(value) if not isinstance(value, str) and abs(value) <= MOST else None
    if type == TEXT:
        return str(value)
    return value


MOST = float(2**1023)
"""A whole number beyond it is no float."""


def frame(folder: str | Path = "runs") -> "pandas.DataFrame":
    """The records of a folder as a pandas data frame.

    One row a record, with the columns of ``rnnae-bench query --columns``; a time is in UTC, JSON is text. Files that
    are no records are left out, with a warning.

    Raises:
        UserError: there is no such folder, or pandas is not installed.
    """
    import warnings

    try:
        import pandas
    except ImportError as error:
        raise missing_extra("a data frame", "pandas", "query") from error
    import pyarrow as pa

    found = Store(Path(folder)).read()
    for path, reason in found.unreadable.items():
        warnings.warn(f"{path} is no record, left out: {reason}", stacklevel=2)
    # pandas' own types for these have no word for null.
    types = {pa.int64(): pandas.Int64Dtype(), pa.bool_(): pandas.BooleanDtype()}
    return arrow(found.records).to_pandas(types_mapper=types.get)
