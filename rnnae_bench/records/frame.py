"""Records as a data frame: the flat table in pandas' and in Arrow's form."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnae_bench.errors import missing_extra
from rnnae_bench.records.flat import JSON, NUMBER, TEXT, TIME, TRUTH, WHOLE, columns_of
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store

if TYPE_CHECKING:
    import pandas
    import pyarrow


def arrow(records: Sequence[Record]) -> "pyarrow.Table":
    """The table over records: one row a record, in their order, with those columns."""
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
        [pa.array([column.cell(record) for record in records], types[column.type]) for column in columns],
        names=[column.name for column in columns],
    )


def frame(folder: str | Path = "runs") -> "pandas.DataFrame":
    """The records of a folder as a pandas data frame.

    One row a record, with the columns of ``rnnae-bench query --columns``; a time is in UTC, JSON is text. Files that
    are no records are left out, with a warning.

    Raises:
        UserError: there is no such folder, or pandas is not installed.
    """
    import warnings

    found = Store(Path(folder)).read()
    for path, reason in found.unreadable.items():
        warnings.warn(f"{path} is no record, left out: {reason}", stacklevel=2)
    return data_frame(found.records)


def data_frame(records: Sequence[Record]) -> "pandas.DataFrame":
    """Records as a pandas data frame, as `frame` has them.

    Raises:
        UserError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise missing_extra("a data frame", "pandas", "query") from error
    import pyarrow as pa

    # pandas' own types for these have no word for null.
    types = {pa.int64(): pandas.Int64Dtype(), pa.bool_(): pandas.BooleanDtype()}
    return arrow(records).to_pandas(types_mapper=types.get)
