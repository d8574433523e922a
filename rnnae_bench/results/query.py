"""SQL over a folder of records, by DuckDB, which can read them and nothing else."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnae_bench.errors import UserError, missing_extra
from rnnae_bench.results import frame
from rnnae_bench.results.store import Store

if TYPE_CHECKING:
    import duckdb

TABLES = {
    "trials": "a row a record",
    "histories": "id, name, step, value: a row a number that was measured while training",
    "profiles": "id, name, step, lag, value: gradients through sequence time, log10 of their norm by lag",
}
"""What can be asked for. All but ``trials`` is read from the Parquet files, as far as a query needs it."""


@dataclass(frozen=True)
class Answer:
    """What a query gives."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    """DuckDB's names, as ``DOUBLE``."""
    rows: list[tuple[Any, ...]]


def query(sql: str, records: Sequence[Mapping[str, Any]], store: Store) -> Answer:
    """Answer an SQL query over records.

    The query is one SELECT. It sees the tables of `TABLES`; no other file, no network, no setting can be reached from
    it, so one that a stranger wrote can be run.

    Args:
        sql: The query, in DuckDB's dialect.
        records: What it is about.
        store: Where their histories lie; a record whose Parquet file can't be read has none.

    Raises:
        UserError: DuckDB is not installed, or the query is not a single SELECT, is wrong, or fails.
    """
    try:
        import duckdb
    except ImportError as error:
        raise missing_extra("a query", "DuckDB", "query") from error

    with duckdb.connect(":memory:", config={"autoinstall_known_extensions": False}) as connection:
        try:
            _require_one_select(sql, connection.extract_statements(sql), duckdb)
            # A copy, since DuckDB reads an Arrow table that it does not own only while files may be read too.
            rows = frame.arrow(records)
            connection.register("given", rows)
            connection.execute(f"create table trials as select {_selected(records)} from given")
            connection.unregister("given")
            # DuckDB can name the tables of a query only once they are there.
            if any(table in sql.lower() for table in ("histories", "profiles")):
                _add_histories(connection, records, store)
            _lock(connection)
            cursor = connection.execute(sql)
            described = cursor.description or []
            return Answer(
                tuple(str(column[0]) for column in described),
                tuple(str(column[1]) for column in described),
                cursor.fetchall(),
            )
        except duckdb.Error as error:
            hint = ""
            if isinstance(error, duckdb.BinderException | duckdb.CatalogException):
                known = ", ".join(column.name for column in frame.COLUMNS)
                hint = f"; tables: {', '.join(TABLES)}; columns of trials: {known}, and more (--columns lists all)"
            raise UserError(f"the query failed: {_first_lines(error)}{hint}") from error


def _require_one_select(sql: str, statements: Sequence[Any], duckdb: Any) -> None:
    allowed = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
    if len(statements) != 1 or statements[0].type not in allowed:
        kinds = ", ".join(str(one.type).rpartition(".")[2] for one in statements) or "nothing"
        raise UserError(f"a query is one SELECT over the records; this is {kinds}: {sql.strip()[:80]}")


def _selected(records: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(
        f"{_quoted(column.name)}::JSON as {_quoted(column.name)}" if column.type == frame.JSON else _quoted(column.name)
        for column in frame.columns_of(records)
    )


def _lock(connection: "duckdb.DuckDBPyConnection") -> None:
    """Take files, the network, Python's variables and all settings out of the query's reach."""
    for setting in (
        "python_enable_replacements = false",
        "autoload_known_extensions = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"set {setting}")


def _add_histories(connection: "duckdb.DuckDBPyConnection", records: Iterable[Mapping[str, Any]], store: Store) -> None:
    """Make the views ``histories`` and ``profiles``.

    A view is a union over columns and over the files that have the same ones, so that a query that asks for some
    names and ids reads these columns and files only.
    """
    scans: dict[str, list[str]] = {"histories": [], "profiles": []}
    readable: list[str] = []
    for columns, files in _files_by_columns(records, store).items():
        readable += files
        listed = f"read_parquet([{', '.join(map(_text, files))}], filename = true)"
        for name, is_profile in columns:
            what = f"select parse_filename(filename, true) as id, {_text(name)} as name, step"
            if is_profile:
                each = f"unnest(range(len({_quoted(name)}))) as lag, unnest({_quoted(name)})::DOUBLE as value"
                scans["profiles"].append(f"{what}, {each} from {listed}")
            else:
                value = f"{_quoted(name)}::DOUBLE as value"
                scans["histories"].append(f"{what}, {value} from {listed} where {_quoted(name)} is not null")
    connection.execute(f"set allowed_paths = [{', '.join(map(_text, readable))}]")
    for view, parts in scans.items():
        lag = ", null::BIGINT as lag" if view == "profiles" else ""
        nothing = (
            f"select null::VARCHAR as id, null::VARCHAR as name, null::BIGINT as step{lag}, null::DOUBLE as value "
            "where false"
        )
        connection.execute(f"create view {view} as {' union all '.join([nothing, *parts])}")


def _files_by_columns(
    records: Iterable[Mapping[str, Any]], store: Store
) -> dict[tuple[tuple[str, bool], ...], list[str]]:
    """The Parquet files that can be read, by their columns and whether these hold profiles."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: dict[tuple[tuple[str, bool], ...], list[str]] = {}
    for record in records:
        path = (store.folder / f"{record['id']}.parquet").absolute()
        try:
            schema = pq.read_schema(path)
        except (OSError, pa.ArrowException):
            continue
        if "step" in schema.names:
            columns = tuple(_measured(schema))
            found.setdefault(columns, []).append(str(path))
    return found


def _measured(schema: Any) -> Iterator[tuple[str, bool]]:
    import pyarrow as pa

    for field in schema:
        if pa.types.is_floating(field.type) or pa.types.is_list(field.type):
            yield field.name, pa.types.is_list(field.type)


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _text(value: str) -> str:
    escaped = value.replace("'", "''")
    return f"'{escaped}'"


def _first_lines(error: Exception) -> str:
    """DuckDB's message in one line, without the picture of the place or Python's traceback."""
    return " ".join(str(error).partition("\nLINE ")[0].partition(", due to the following")[0].split())
