"""The table of precisions and devices, for the terminal."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from rnnae_bench.leaderboard.tables import number
from rnnae_bench.results.precision import Comparison


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    head: str
    cell: Callable[[Comparison], str]


def _interval(row: Comparison) -> str:
    if row.interval is not None:
        return f"[{row.interval[0]:+.2g}, {row.interval[1]:+.2g}]"
    return "one seed" if row.seeds == 1 else "-"


def _unless_reference(cell: Callable[[Comparison], str]) -> Callable[[Comparison], str]:
    return lambda row: "" if row.verdict == "reference" else cell(row)


def _factor(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def _failed(row: Comparison) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(row.statuses.items()) if status != "ok") or "-"


COLUMNS = (
    Column("on", lambda row: row.layout),
    Column("seeds", lambda row: str(row.seeds)),
    Column("difference", _unless_reference(lambda row: "-" if row.difference is None else f"{row.difference:+.2g}")),
    Column("95 % interval", _unless_reference(_interval)),
    Column("verdict", lambda row: row.verdict),
    Column("speed", _unless_reference(lambda row: _factor(row.speed_up))),
    Column("memory", _unless_reference(lambda row: _factor(row.memory))),
    Column("underflow", lambda row: "-" if row.underflow is None else f"{row.underflow:.2%}"),
    Column("failed", _failed),
)


def terminal(rows: Iterable[Comparison]) -> Iterator[Table]:
    """Rich tables, one for each model on each task, the reference first."""
    for (setting, accelerator), group in groupby(rows, key=lambda row: (row.setting, row.accelerator)):
        mine = list(group)
        first = mine[0]
        table = Table(
            title=f"{setting} on {accelerator}: {first.metric} against {first.reference}",
            caption=f"equivalent within ±{number(first.margin)}; speed and memory as factors of the reference's",
            title_justify="left",
            caption_justify="left",
            title_style="bold",
            box=SIMPLE_HEAD,
            padding=(0, 1),
            pad_edge=False,
        )
        for column in COLUMNS:
            table.add_column(column.head, justify="left" if column.head == "on" else "right", no_wrap=True)
        for row in mine:
            table.add_row(*(Text(column.cell(row)) for column in COLUMNS))
        yield table
