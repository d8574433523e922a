"""Histories of a trial: what was measured at which optimiser step, as one Parquet table."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Series:
    """One quantity over training."""

    steps: np.ndarray
    """Optimiser steps, from 1, rising: int64 ``[n]``."""
    values: np.ndarray
    """What was measured there: float64 ``[n]``."""


def encode(series: Mapping[str, Series]) -> bytes:
    """The series as a Parquet file: one row a step, one column a series, null where nothing was measured."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    steps = np.unique(np.concatenate([one.steps for one in series.values()] or [np.empty(0, np.int64)]))
    columns: dict[str, pa.Array] = {"step": pa.array(steps, pa.int64())}
    for name, one in series.items():
        values = np.full(len(steps), np.nan)
        missing = np.ones(len(steps), dtype=bool)
        places = np.searchsorted(steps, one.steps)
        values[places] = one.values
        missing[places] = False
        columns[name] = pa.array(values, pa.float64(), mask=missing)
    buffer = BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def read(path: Path) -> dict[str, Series]:
    """The series of a Parquet file, by column; nulls are left out, numbers that are not finite stay."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    steps = table["step"].to_numpy()
    series = {}
    for name in table.column_names:
        if name != "step":
            column = table[name].combine_chunks()
            kept = np.asarray(column.is_valid())
            series[name] = Series(steps[kept], column.drop_null().to_numpy())
    return series
