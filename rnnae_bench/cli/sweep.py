"""``rnnae-bench sweep``: many trials, from a grid or a search to a record for each."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rnnae_bench.api.reading import begun, load
from rnnae_bench.api.results import Results
from rnnae_bench.api.sweep_progress import SweepProgress
from rnnae_bench.api.sweeping import forecast, run_sweep
from rnnae_bench.cli.common import logger_names, remarks_told, say_where_logged
from rnnae_bench.cli.search_table import table as search_table
from rnnae_bench.cli.table import print_table
from rnnae_bench.records.document import document_of
from rnnae_bench.records.legible import printable
from rnnae_bench.report import equivalence_tables, tables
from rnnae_bench.sweeps.config import SweepOptions, parse

if TYPE_CHECKING:
    from rnnae_bench.sweeps.study import Found


def main(arguments: list[str]) -> int:
    """Run the sweep that the arguments ask for."""
    options = parse(arguments)
    if options.collect:
        return _collect(options)
    loggers = logger_names(options.logger)
    view = SweepProgress(Console(stderr=True))
    if options.dry_run:
        with view:
            rows = forecast(options, view)
        _print_plan(rows, options.json)
        return 0
    try:
        with view:
            swept = run_sweep(options, view, ("rnnae-bench", "sweep", *arguments), loggers)
    except KeyboardInterrupt:
        view.notes("stopped; the same command goes on with what is left")
        return 1
    logged = [record.id for record in swept.records]
    say_where_logged(Console(stderr=True), Path(options.out), loggers, logged)
    if swept.found is None:
        _show(swept, options.json)
    else:
        _show_found(swept.found, options.json)
    if swept.refused and not options.json:
        print_table(["not run", "why"], list(swept.refused.items()))
    return 0 if swept.went_well else 1


def _print_plan(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    shown = [head for head in rows[0] if head not in ("apart", "basis")]
    print_table(shown, [[_cell(row[head]) for head in shown] for row in rows])
    to_run = [row for row in rows if row["state"] == "to run"]
    known = [float(row["seconds"]) for row in to_run if isinstance(row["seconds"], float)]
    unknown = f", and {len(to_run) - len(known)} that nothing is known of" if len(known) < len(to_run) else ""
    print(f"{len(to_run)} of {len(rows)} trials to run; about {sum(known):.0f} s of training{unknown}")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return tables.number(value) if isinstance(value, float) else str(value)


def _collect(options: SweepOptions) -> int:
    """The tables of what there is, while a sweep runs or after it."""
    with remarks_told():
        found = load(options.out)
    _show(found, options.json)
    if not options.json:
        for record in begun(options.out):
            budget = record.configuration.task["protocol"]["max_steps"]
            print(f"begun: {printable(record.trial)}, step {record.measures.steps} of {budget}")
    return 0


def _show(results: Results, as_json: bool) -> None:
    if as_json:
        print(json.dumps([document_of(record) for record in results.records], indent=1))
        return
    out = Console()
    for table in tables.terminal(results.records, out):
        out.print(table)
    for table in equivalence_tables.terminal(results.equivalences()):
        out.print(table)


def _show_found(found: "Sequence[Found]", as_json: bool) -> None:
    if as_json:
        print(json.dumps([one.as_dict() for one in found], indent=1))
        return
    out = Console()
    out.print(search_table(found))
    for one in found:
        best = f"best of {one.study}: {one.command}" if one.command else f"{one.study}: nothing ended well"
        # As it is: rich would take options in brackets for its own markup.
        out.print(printable(best), highlight=False, markup=False, soft_wrap=True)
