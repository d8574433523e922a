"""Histories of a trial: what was measured at which optimiser step, as one Parquet table."""

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnae_bench.errors import in_a_line
from rnnae_bench.options.limits import bounded

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


@dataclass(frozen=True)
class Series:
    """One quantity over training: a number, or a profile of numbers, at each step where it was measured."""

    steps: np.ndarray
    """Optimiser steps, from 1, rising: int64 ``[n]``."""
    values: np.ndarray
    """What was measured there: numbers, float64 ``[n]``, or profiles, float32 ``[n lags]``."""


EXAMPLES = "test/examples/"
"""What the name of a column of scores begins with, one of each example of the test set; the metric's follows."""


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


def fields(path: Path) -> "list[pa.Field]":
    """The columns of a Parquet file of histories, ``step`` among them, from its footer alone.

    Raises:
        OSError: there is no such file, or it is broken.
        ValueError: it holds no histories, or more than `LARGEST` bytes of them.
    """
    with _opened(path) as file:
        found = list(file.schema_arrow)
        _require_small(file, [one.name for one in found])
        return found


def read(path: Path, wanted: Callable[[str], bool] | None = None) -> dict[str, Series]:
    """The series of a Parquet file, by column; nulls are left out, numbers that are not finite stay.

    The file may be another's: it is not decoded unless its footer says that it holds histories that fit into
    `LARGEST` bytes, and where the footer lies, reading ends when they don't.

    Args:
        path: The file.
        wanted: Says of a column's name whether to read it; all of them where it is None.

    Raises:
        OSError: there is no such file, or it is broken.
        ValueError: it holds no histories, or more than `LARGEST` bytes of them.
    """
    import pyarrow as pa

    with _opened(path) as file:
        names = [name for name in file.schema_arrow.names if name == "step" or not wanted or wanted(name)]
        _require_small(file, names)
        try:
            with bounded("reading it", memory=3 * LARGEST):
                # Threads cost more than they win on files this small.
                table = file.read(names, use_threads=False)
            steps = table["step"].to_numpy()
            return {name: _series(steps, table[name].combine_chunks()) for name in names if name != "step"}
        except (pa.ArrowException, ValueError, TypeError, NotImplementedError) as error:
            raise ValueError(f"the histories in {path.name} can't be read: {in_a_line(error)}") from error


@contextmanager
def _opened(path: Path) -> "Iterator[pq.ParquetFile]":
    """A Parquet file that has the form of histories."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path.name} is larger than {LARGEST:,} bytes")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, ValueError, TypeError, NotImplementedError) as error:
        raise ValueError(f"the histories in {path.name} can't be read: {in_a_line(error)}") from error
    with file:
        _require_form(file.schema_arrow, path)
        yield file


def _require_form(schema: "pa.Schema", path: Path) -> None:
    import pyarrow as pa

    if "step" not in schema.names or not pa.types.is_signed_integer(schema.types[schema.names.index("step")]):
        raise ValueError(f"{path.name} has no column of whole steps")
    if len(set(schema.names)) < len(schema.names):
        raise ValueError(f"{path.name} has two columns of one name")
    for field in schema:
        number = field.type.value_type if pa.types.is_list(field.type) else field.type
        if field.name != "step" and not pa.types.is_floating(number):
            raise ValueError(f"{field.name} in {path.name} is not of numbers at whole steps")


def _require_small(file: "pq.ParquetFile", names: Sequence[str]) -> None:
    """Raise ValueError where the columns take too much when read, by what the footer says of each."""
    # A column of numbers, or of lists of numbers, is one of the file's columns each, in this order.
    places = [place for place, name in enumerate(file.schema_arrow.names) if name in set(names)]
    parts = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
    # What it takes packed (`total_uncompressed_size`) says little: a number that repeats is packed once.
    size = sum(
        max(8 * part.column(place).num_values, part.column(place).total_uncompressed_size)
        for part in parts
        for place in places
    )
    if max(size, 8 * len(places) * file.metadata.num_rows) > LARGEST:
        raise ValueError(f"the histories take more than {LARGEST:,} bytes when read")


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
