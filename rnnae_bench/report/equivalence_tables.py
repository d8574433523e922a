"""The table of precisions and devices, for the terminal."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from rich.console import Group

from rnnae_bench.rankings.equivalence import Comparison
from rnnae_bench.report.tables import empty, framed
from rnnae_bench.report.text import Text


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    head: str
    cell: Callable[[Comparison], str]


def _difference(row: Comparison) -> str:
    if row.difference is None:
        return "-"
    if row.interval is None:
        return f"{row.difference:+.2g} (one seed)" if row.seeds == 1 else f"{row.difference:+.2g}"
    return f"{row.difference:+.2g} [{row.interval[0]:+.2g}, {row.interval[1]:+.2g}]"


def _unless_reference(cell: Callable[[Comparison], str]) -> Callable[[Comparison], str]:
    return lambda row: "" if row.verdict == "reference" else cell(row)


def _factor(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def _failed(row: Comparison) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(row.statuses.items()) if status != "ok") or "-"


COLUMNS = (
    Column("on", lambda row: row.layout.removesuffix(" x1")),
    Column("n", lambda row: str(row.seeds)),
    Column("difference", _unless_reference(_difference)),
    Column("verdict", lambda row: row.verdict),
    Column("speed", _unless_reference(lambda row: _factor(row.speed_up))),
    Column("memory", _unless_reference(lambda row: _factor(row.memory))),
    Column("under-\nflow", lambda row: "-" if row.underflow is None else f"{row.underflow:.2%}"),
)

_FAILED = Column("not ok", _failed)


def terminal(rows: Iterable[Comparison]) -> Iterator[Group]:
    """Rich tables, one for each model on each task, the reference first."""
    for (setting, accelerator), group in groupby(rows, key=lambda row: (row.setting, row.accelerator)):
        mine = list(group)
        first = mine[0]
        table = empty()
        columns = [*COLUMNS, _FAILED] if any(_failed(row) != "-" for row in mine) else COLUMNS
        for column in columns:
            table.add_column(column.head, justify="left" if column.head == "on" else "right", overflow="fold")
        for row in mine:
            table.add_row(*(Text(column.cell(row)) for column in columns))
        yield framed(
            f"{setting} on {accelerator}: {first.metric} against {first.reference.removesuffix(' x1')}",
            table,
            "n seeds, 95 % interval; equivalent: within half the spread over seeds, and a tenth of the way to the best "
            "baseline; speed and memory are factors",
        )
