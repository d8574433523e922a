"""Which rows a figure draws: of which records, in which order, under which names."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnae_bench.api.reading import of_tasks
from rnnae_bench.api.results import Result, Results
from rnnae_bench.errors import UserError
from rnnae_bench.rankings.rows import Row, summarize
from rnnae_bench.rankings.standing import Entry, standings

if TYPE_CHECKING:
    from rnnae_bench.report.paper.rows import Panel


def chosen_records(
    found: Results, ids: Sequence[str], task: str | Sequence[str], source: "str | Path | Results"
) -> Results:
    """Those records that are asked for.

    Args:
        found: All that there are.
        ids: Only these, each by its id or the id's beginning; empty for all.
        task: Only of these.
        source: Where they are from, for the refusals.

    Raises:
        UserError: there is no record of a task, an id is none's or several records', or there is nothing at all.
    """
    where = "the results" if isinstance(source, Results) else source
    chosen = of_tasks(found, task, where)
    if ids:
        chosen = Results(_named(chosen, beginning, where) for beginning in dict.fromkeys(ids))
    if not chosen:
        raise UserError(f"there is nothing to draw: no record in {where}")
    return chosen


def _named(found: Results, beginning: str, where: object) -> Result:
    fitting = [one for one in found if one.record.id.startswith(beginning)]
    if len(fitting) == 1:
        return fitting[0]
    said = f"{len(fitting)} records' ids begin with" if fitting else "there is no record"
    raise UserError(f"{said} {beginning} in {where}; 'rnnae-bench results {where} --csv' lists the ids")


def panels_of(found: Results, chosen: Results, labels: Sequence[str]) -> "list[Panel]":
    """The rows of the chosen records, by task setting, named and coloured as all of the folder's are.

    Args:
        found: All records that there are.
        chosen: Those that are asked for.
        labels: Of the rows to draw, by label or by key where several have it, in this order; empty for all.

    Raises:
        UserError: a label is no row's.
    """
    from rnnae_bench.report.paper.rows import DrawnRow, Panel
    from rnnae_bench.report.paper.style import looks

    everything = found.records
    named = _names(summarize(everything))
    known = looks(named.values())
    shown = standings(chosen.records, among=everything)
    by_id = {record.id: record for record in chosen.records}
    panels = []
    for standing in shown:
        rows = [
            DrawnRow(name, known[name], entry, tuple(by_id[identity] for identity in entry.row.ids))
            for entry in _ordered(standing.entries, labels)
            for name in [named[_place(entry.row)]]
        ]
        if rows:
            panels.append(Panel(standing, tuple(rows)))
    there = {name for one in shown for entry in one.entries for name in (entry.row.label, entry.key)}
    missing = [label for label in labels if label not in there]
    if missing:
        models = ", ".join(sorted({entry.row.label for one in shown for entry in one.entries}))
        raise UserError(f"there is no record of {', '.join(missing)} among those chosen; models there: {models}")
    return panels


def _place(row: Row) -> tuple[str, str, str]:
    return row.setting, row.label, row.layout


def _names(rows: Sequence[Row]) -> dict[tuple[str, str, str], str]:
    """What each row is called: its label, with the layout where several of its setting have that label."""
    labels = Counter((row.setting, row.label) for row in rows)
    return {
        _place(row): row.label if labels[row.setting, row.label] == 1 else f"{row.label}, {row.layout}" for row in rows
    }


def _ordered(entries: Sequence[Entry], labels: Sequence[str]) -> list[Entry]:
    """Those that are asked for, in that order; without any asked for, all of them."""
    if not labels:
        return list(entries)
    found = {one.key: one for label in labels for one in entries if label in (one.row.label, one.key)}
    return list(found.values())
