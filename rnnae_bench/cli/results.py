"""``rnnae-bench results``: a table over the records in a folder."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rnnae_bench.cli.common import RUNS, remarks_told
from rnnae_bench.cli.source import add_source, source_of
from rnnae_bench.errors import UserError
from rnnae_bench.records.files import require_writable_file
from rnnae_bench.records.legible import printable
from rnnae_bench.records.record import Status

if TYPE_CHECKING:
    from rnnae_bench.api.results import Results


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="rnnae-bench results",
        description="Show what was measured: a table a task variant, one row a model setting, over all its seeds.",
        allow_abbrev=False,
    )
    add_source(parser, RUNS)
    parser.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="NAME[:VARIANT]",
        help="only this task (all variants if none is named)",
    )
    parser.add_argument("--model", action="append", default=[], metavar="NAME", help="only this model")
    parser.add_argument(
        "--status", action="append", default=[], choices=get_args(Status), help="only trials that ended so"
    )
    parser.add_argument(
        "--superseded",
        action="store_true",
        help="a line for each record that a later run of the same trial replaced; its folder is one of records too",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the table's rows as JSON")
    form.add_argument("--csv", action="store_true", help="one line a record")
    form.add_argument("--markdown", action="store_true", help="the tables in Markdown")
    form.add_argument("--latex", action="store_true", help="the tables in LaTeX (booktabs), the best and its ties bold")
    form.add_argument(
        "--html", metavar="FILE", help="write a page with tables and pictures that opens without a network"
    )
    return parser


def main(arguments: list[str]) -> int:
    """Print the table; 0 also where nothing matches."""
    options = parser().parse_args(arguments)
    if options.superseded and (options.csv or options.markdown or options.latex or options.html):
        raise UserError("results --superseded prints lines or --json; leave out --csv, --markdown, --latex and --html")
    from rnnae_bench.api.reading import load

    folder = source_of(options)
    with remarks_told():
        found = load(Path(folder), superseded=options.superseded)
    chosen = found.where(task=options.task, model=options.model, status=options.status)
    if options.superseded:
        _show_superseded(chosen, folder, options.json, len(found))
        return 0
    from rnnae_bench.report import tables

    records, among = chosen.records, found.records
    if options.json:
        print(json.dumps(tables.plain(records, among), indent=1))
    elif options.csv:
        print(tables.comma_separated(records), end="")
    elif options.markdown:
        print(tables.markdown(records, among))
    elif options.latex:
        from rnnae_bench.report import latex_tables

        print(latex_tables.results(records, among))
    elif options.html:
        _write_page(Path(options.html), chosen, found)
    elif not records:
        print(f"no record in {printable(folder)} matches ({len(found)} in all)")
    else:
        from rich.console import Console

        console = Console()
        for table in tables.terminal(records, console, among):
            console.print(table)
    return 0


def _show_superseded(results: "Results", folder: str, as_json: bool, of: int) -> None:
    """A row for each record that another one replaced, the oldest first."""
    rows = [
        {
            "file": str(one.path),
            "trial": one.record.trial,
            "status": one.record.status,
            "metric": one.record.primary.metric,
            "value": one.record.primary.value,
            "finished": one.record.finished,
        }
        for one in results
    ]
    if as_json:
        print(json.dumps(rows, indent=1))
    elif not rows:
        print(f"no superseded record in {printable(folder)} matches ({of} in all)")
    else:
        from rnnae_bench.cli.table import print_table

        print_table(list(rows[0]), [["-" if cell is None else str(cell) for cell in row.values()] for row in rows])


def _write_page(path: Path, chosen: "Results", found: "Results") -> None:
    require_writable_file(path, "the page")
    content = chosen.page(among=found)
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write the page {path}: {error.strerror}") from error
    print(printable(f"page {path}"))
