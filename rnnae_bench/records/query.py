"""SQL over a folder of records, by DuckDB, which can read them and nothing else, and can write nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnae_bench.errors import UserError, in_a_line, missing_extra
from rnnae_bench.options.limits import bounded
from rnnae_bench.records import flat, history
from rnnae_bench.records.frame import arrow
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

TABLES = {
    "trials": "a row a record",
    "histories": "id, name, step, value: a row a number that was measured while training",
    "profiles": "id, name, step, lag, value: gradients through sequence time, log10 of their norm by lag",
    "examples": "id, name, step, example, value: the primary metric of each example of the test set",
}
"""What can be asked for. All but ``trials`` is read from the Parquet files, as far as a query needs it."""

MEMORY = 2 * 2**30
"""Bytes that DuckDB may take."""

MOST = 20_000_000
"""Values that an answer has at most."""


@dataclass(frozen=True)
class Answer:
    """What a query gives."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    """DuckDB's names, as ``DOUBLE``."""
    rows: list[tuple[Any, ...]]
    without_histories: dict[str, str] = field(default_factory=dict)
    """Ids of records whose histories can't be read, with the reason; as far as the query needed histories."""


def query(sql: str, records: Sequence[Record], store: Store) -> Answer:
    """Answer an SQL query over records.

    The query is one SELECT over the views of `TABLES`, in a database without any file of its own. No file, no network
    and no setting can be reached from it, for reading or for writing, so another's query can be run. It may take
    `MEMORY` bytes and give `MOST` values.

    Args:
        sql: The query, in DuckDB's dialect.
        records: What it is about.
        store: Where their histories lie; a record whose Parquet file can't be read has none.

    Raises:
        UserError: DuckDB is not installed, or the query is not a single SELECT, is wrong, takes too much, or fails.
    """
    try:
        import duckdb
    except ImportError as error:
        raise missing_extra("a query", "DuckDB", "query") from error

    tables: dict[str, Path] = {}
    without: dict[str, str] = {}
    try:
        _require_one_select(sql, duckdb)
        # DuckDB can name the tables of a query only once they are there.
        if any(table in sql.lower() for table in ("histories", "profiles", "examples")):
            tables = {record.id: store.folder / record.history.file for record in records}
        try:
            return _answer(sql, records, tables, without)
        except duckdb.Error:
            # A file may be broken behind its footer, which only reading it tells; the others shall be answered for.
            broken = _broken((one, path) for one, path in tables.items() if one not in without)
            if not broken:
                raise
            return _answer(sql, records, tables, without | broken)
    except duckdb.Error as error:
        hint = ""
        if isinstance(error, duckdb.BinderException | duckdb.CatalogException):
            known = ", ".join(column.name for column in flat.COLUMNS)
            hint = f"; tables: {', '.join(TABLES)}; columns of trials: {known}, and more (--columns lists all)"
        raise UserError(f"the query failed: {_first_lines(error)}{hint}") from error


def _answer(sql: str, records: Sequence[Record], tables: Mapping[str, Path], without: dict[str, str]) -> Answer:
    """The answer, with the histories of `tables` but for those of `without`, to which it adds."""
    import duckdb

    settings: dict[str, Any] = {
        "memory_limit": f"{MEMORY}B",
        "temp_directory": "",
        "autoinstall_known_extensions": False,
    }
    with duckdb.connect(":memory:", config=settings) as connection:
        # Views only, of data that DuckDB does not own: there is nothing that a query could change.
        connection.register("given", arrow(records))
        connection.execute(f"create view trials as select {_selected(records)} from given")
        _add_histories(connection, {one: path for one, path in tables.items() if one not in without}, without)
        _lock(connection)
        with bounded("the query", memory=2 * MEMORY):
            cursor = connection.execute(sql)
            described = cursor.description or []
            rows: list[tuple[Any, ...]] = []
            while part := cursor.fetchmany(10_000):
                rows += part
                if len(rows) * len(described) > MOST:
                    raise UserError(f"the query gives more than {MOST:,} values; aggregate, or add a LIMIT")
        names, types = (tuple(str(column[place]) for column in described) for place in (0, 1))
        return Answer(names, types, rows, without)


def _require_one_select(sql: str, duckdb: Any) -> None:
    # EXPLAIN is no SELECT: EXPLAIN ANALYZE runs what it explains, whatever that is.
    statements = duckdb.extract_statements(sql)
    if [one.type for one in statements] != [duckdb.StatementType.SELECT]:
        kinds = ", ".join(str(one.type).rpartition(".")[2] for one in statements) or "nothing"
        raise UserError(f"a query is one SELECT over the records; this is {kinds}: {sql.strip()[:80]}")


def _selected(records: Sequence[Record]) -> str:
    return ", ".join(
        f"{_quoted(column.name)}::JSON as {_quoted(column.name)}" if column.type == flat.JSON else _quoted(column.name)
        for column in flat.columns_of(records)
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


def _add_histories(
    connection: "duckdb.DuckDBPyConnection", tables: Mapping[str, Path], without: dict[str, str]
) -> None:
    """Make the views ``histories``, ``profiles`` and ``examples`` of Parquet files by their record's id.

    A view is a union over columns and over the files that have the same ones, which Arrow reads: a query that asks
    for some names and ids reads these columns and files only.
    """
    parts: dict[str, list[str]] = {"histories": [], "profiles": [], "examples": []}
    for fields, paths in _by_fields(tables, without).items():
        for layer in _distinct(fields):
            given, owner = f"given {' '.join(str(len(part)) for part in parts.values())}", _new_name(layer)
            connection.register(given, _dataset(layer, paths, owner))
            for one in layer:
                what = f"select {_quoted(owner)} as id, {_text(one.name)} as name, step"
                column = _quoted(one.name)
                if _is_list(one):
                    view = "examples" if one.name.startswith(history.EXAMPLES) else "profiles"
                    each = f"unnest(range(len({column}))) as {_INDEX[view]}, unnest({column})::DOUBLE as value"
                    parts[view].append(f"{what}, {each} from {_quoted(given)}")
                elif one.name != "step":
                    value = f"{column}::DOUBLE as value from {_quoted(given)} where {column} is not null"
                    parts["histories"].append(f"{what}, {value}")
    for view, selects in parts.items():
        index = f", null::BIGINT as {_INDEX[view]}" if view in _INDEX else ""
        nothing = (
            f"select null::VARCHAR as id, null::VARCHAR as name, null::BIGINT as step{index}, null::DOUBLE as value "
            "where false"
        )
        connection.execute(f"create view {view} as {' union all '.join([nothing, *selects])}")


def _by_fields(tables: Mapping[str, Path], without: dict[str, str]) -> "dict[tuple[pa.Field, ...], dict[str, Path]]":
    """The Parquet files that can be read, by their columns; why the others can't goes to `without`."""
    found: dict[tuple[pa.Field, ...], dict[str, Path]] = {}
    for identity, path in tables.items():
        try:
            found.setdefault(tuple(history.fields(path)), {})[identity] = path
        except (OSError, ValueError) as error:
            without[identity] = in_a_line(error)
    return found


def _distinct(fields: "Iterable[pa.Field]") -> "list[list[pa.Field]]":
    """Columns in as few lists as keep names apart that DuckDB takes for one (``W`` and ``w``); each has ``step``."""
    step, *others = sorted(fields, key=lambda one: one.name != "step")
    layers: list[list[pa.Field]] = []
    for one in others:
        for layer in layers:
            if one.name.casefold() not in {each.name.casefold() for each in layer}:
                layer.append(one)
                break
        else:
            layers.append([step, one])
    return layers


def _dataset(fields: "Sequence[pa.Field]", paths: Mapping[str, Path], owner: str) -> Any:
    """Parquet files as one table of these columns, with the id of each file's record in the column `owner`."""
    import pyarrow as pa
    from pyarrow import dataset, fs

    form, local = dataset.ParquetFileFormat(), fs.LocalFileSystem()
    files = [
        form.make_fragment(str(path.absolute()), local, dataset.field(owner) == identity)
        for identity, path in paths.items()
    ]
    return dataset.FileSystemDataset(files, pa.schema([*fields, pa.field(owner, pa.string())]), form, local)


def _new_name(fields: "Iterable[pa.Field]") -> str:
    """A name for a column that none of them has."""
    taken, name = {one.name.casefold() for one in fields}, "id"
    while name in taken:
        name += "_"
    return name


_INDEX = {"profiles": "lag", "examples": "example"}
"""What counts the values of a list, in the views of lists."""


def _is_list(field: "pa.Field") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(field.type))


def _broken(tables: Iterable[tuple[str, Path]]) -> dict[str, str]:
    """Those of the Parquet files that can't be read to their end, by id, with the reason."""
    found = {}
    for identity, path in tables:
        try:
            history.read(path)
        except (OSError, ValueError) as error:
            found[identity] = in_a_line(error)
    return found


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _text(value: str) -> str:
    escaped = value.replace("'", "''")
    return f"'{escaped}'"


def _first_lines(error: Exception) -> str:
    """DuckDB's message in one line, without the picture of the place or Python's traceback."""
    return " ".join(str(error).partition("\nLINE ")[0].partition(", due to the following")[0].split())
