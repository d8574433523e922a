"""Histories of a trial: what was measured at which optimiser step, as one Parquet table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Series:
    """One quantity over training: a number, or a profile of numbers, at each step where it was measured."""

    steps: np.ndarray
    """Optimiser steps, from 1, rising: int64 ``[n]``."""
    values: np.ndarray
    """What was measured there: numbers, float64 ``[n]``, or profiles, float32 ``[n lags]``."""


def encode(series: Mapping[str, Series]) -> bytes:
    """The series as a Parquet file: one row a step, one column a series, null where nothing was measured.

    A column of profiles holds lists of float32, all of one length. A number that is not finite, alone or within a
    profile, is kept as it is and is no null.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    steps = np.unique(np.concatenate([one.steps for one in series.values()] or [np.empty(0, np.int64)]))
    columns: dict[str, pa.Array] = {"step": pa.array(steps, pa.int64())}
    for name, one in series.items():
        if len(one.steps) != len(one.values):
            raise ValueError(f"{name} has {len(one.values)} values at {len(one.steps)} steps")
        absent = np.ones(len(steps), dtype=bool)
        absent[np.searchsorted(steps, one.steps)] = False
        if one.values.ndim == 2:
            # Not fixed-size lists: readers older than 2026 refuse nulls among those.
            starts = np.concatenate([[0], np.cumsum(~absent * one.values.shape[1])])
            numbers = pa.array(np.ascontiguousarray(one.values, dtype=np.float32).reshape(-1), from_pandas=False)
            columns[name] = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), numbers, mask=pa.array(absent))
        else:
            values = np.zeros(len(steps))
            values[~absent] = one.values
            columns[name] = pa.array(values, mask=absent, from_pandas=False)
    buffer = BytesIO()
    # Hardly a number comes twice, so a dictionary only adds to the file; split by weight, bytes compress better.
    split = [f"{name}.list.element" if one.values.ndim == 2 else name for name, one in series.items()]
    pq.write_table(
        pa.table(columns), buffer, compression="zstd", use_dictionary=False, use_byte_stream_split=split or False
    )
    return buffer.getvalue()


LARGEST = 2**30
"""Bytes that the histories of a trial take at most, on disk and when read."""


def read(path: Path, wanted: Callable[[str], bool] | None = None) -> dict[str, Series]:
    """The series of a Parquet file, by column; nulls are left out, numbers that are not finite stay.

    The file may be a stranger's.

    Args:
        path: The file.
        wanted: Says of a column's name whether to read it; all of them where it is None.

    Raises:
        OSError: there is no such file, or it is broken.
        ValueError: it holds no histories, or more than `LARGEST` bytes of them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path.name} is larger than {LARGEST:,} bytes")
    try:
        # Threads cost more than they win on files this small.
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
            if sum(group.total_byte_size for group in groups) > LARGEST:
                raise ValueError(f"they take more than {LARGEST:,} bytes when read")
            names = file.schema_arrow.names
            table = file.read(
                [name for name in names if name == "step" or not wanted or wanted(name)], use_threads=False
            )
        steps = table["step"].to_numpy()
        series = {name: _series(steps, table[name].combine_chunks()) for name in table.column_names if name != "step"}
    except (pa.ArrowException, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise ValueError(f"the histories in {path.name} can't be read: {error}") from error
    for name, one in series.items():
        if one.steps.dtype.kind != "i" or one.values.dtype.kind != "f":
            raise ValueError(f"{name} in {path.name} is not of numbers at whole steps")
    return series


def _series(steps: np.ndarray, column: "pa.Array") -> Series:
    import pyarrow as pa

    measured = column.drop_null()
    if pa.types.is_list(column.type):
        lags = len(measured[0]) if len(measured) else 0
        values = measured.flatten().to_numpy().reshape(len(measured), lags)
    else:
        values = measured.to_numpy()
    return Series(steps[np.asarray(column.is_valid())], values)


def read_named(path: Path, columns: Sequence[str]) -> dict[str, Series]:
    """The series of a Parquet file that should have these columns, ``step`` first, and no others.

    Raises:
        OSError: there is no such file, or it is broken.
        ValueError: it has other columns, or holds no histories.
    """
    series = read(path)
    if ["step", *series] != list(columns):
        raise ValueError(f"{path.name} has other columns than its record names")
    return series
