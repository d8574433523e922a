"""``rnnae-bench query``: SQL over the records in a folder."""

import argparse
import csv
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnae_bench.cli.common import RUNS, read_records
from rnnae_bench.cli.table import print_table
from rnnae_bench.errors import UserError
from rnnae_bench.records.legible import printable

if TYPE_CHECKING:
    from rnnae_bench.records.query import Answer
    from rnnae_bench.records.store import Store


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="rnnae-bench query",
        description="Ask the records in SQL (DuckDB's), as in: select model, avg(score) from trials where "
        "task = 'copy' group by model. Tables: trials, a row a record; histories and profiles, a row a number that "
        "was measured while training. A query can read the records, and nothing else, and changes nothing.",
        allow_abbrev=False,
    )
    parser.add_argument("sql", nargs="?", metavar="SQL", help="one SELECT; - reads it from standard input")
    parser.add_argument(
        "--from", dest="source", default=RUNS, metavar="FOLDER", help=f"folder of records (default: {RUNS})"
    )
    parser.add_argument("--columns", action="store_true", help="list the columns, with a word on each")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the answer as a JSON list of rows")
    form.add_argument("--csv", action="store_true", help="the answer as CSV")
    return parser


def main(arguments: list[str]) -> int:
    """Print the answer; 0 also where it has no row."""
    options = parser().parse_args(arguments)
    from rnnae_bench.records.store import Store

    store = Store(Path(options.source))
    if options.columns:
        return _print_columns(store, options.json)
    if options.sql is None:
        raise UserError('no query was given; write one, such as "select model, score from trials", or --columns')
    from rnnae_bench.records.query import query

    sql = sys.stdin.read() if options.sql == "-" else options.sql
    answer = query(sql, read_records(store.folder), store)
    for identity, reason in answer.without_histories.items():
        print(f"rnnae-bench: the histories of record {identity} are left out: {printable(reason)}", file=sys.stderr)
    if options.json:
        print(json.dumps(_rows(answer), indent=1, allow_nan=False))
    elif options.csv:
        from rnnae_bench.report.tables import spreadsheet_cell

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(map(spreadsheet_cell, answer.columns))
        writer.writerows(map(spreadsheet_cell, row) for row in answer.rows)
    else:
        _print(answer)
    return 0


def _print_columns(store: "Store", as_json: bool) -> int:
    from rnnae_bench.records import flat
    from rnnae_bench.records.query import TABLES

    columns = flat.columns_of(read_records(store.folder)) if store.folder.is_dir() else list(flat.COLUMNS)
    if as_json:
        print(json.dumps([{"name": one.name, "type": one.type, "explanation": one.explanation} for one in columns]))
        return 0
    print_table(("table", "rows"), list(TABLES.items()))
    print()
    print_table(("column of trials", "type", ""), [(one.name, one.type, one.explanation) for one in columns])
    return 0


def _rows(answer: "Answer") -> list[dict[str, Any]]:
    return [
        {name: _plain(value, type) for name, type, value in zip(answer.columns, answer.types, row, strict=True)}
        for row in answer.rows
    ]


def _plain(value: Any, type: str) -> Any:
    """A value of DuckDB's as JSON has it; a column of JSON is put in as it is."""
    from rnnae_bench.records.legible import finite

    if type == "JSON" and isinstance(value, str):
        return json.loads(value)
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, dict | list | tuple | str | int | float | None):
        return finite(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _print(answer: "Answer") -> None:
    from rich.console import Console

    from rnnae_bench.report.tables import empty, number
    from rnnae_bench.report.text import Text

    table = empty()
    is_number = [kind in _NUMBERS or kind.startswith("DECIMAL") for kind in answer.types]
    for name, right in zip(answer.columns, is_number, strict=True):
        table.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in answer.rows:
        cells = (number(value) if isinstance(value, float) else "-" if value is None else str(value) for value in row)
        table.add_row(*map(Text, cells))
    # As wide as it needs where nobody's terminal folds it.
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)
    print(f"{len(answer.rows)} row{'' if len(answer.rows) == 1 else 's'}")


_NUMBERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UBIGINT", "FLOAT", "DOUBLE"}
