"""The table over records, for the terminal, as Markdown, as CSV."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Protocol, TypeVar, runtime_checkable

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table

from rnnae_bench.rankings.rows import Row, baselines, summarize
from rnnae_bench.records.flat import columns_of
from rnnae_bench.records.legible import printable
from rnnae_bench.records.record import Record
from rnnae_bench.report.text import Text


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    head: str
    """Its lines are those of the terminal's table."""
    cell: Callable[[Row], str]
    explanation: str


def number(value: float | int | None) -> str:
    """A number with four significant digits; a dash for None.

    >>> number(0.99963), number(0.000123456), number(None)
    ('0.9996', '0.0001235', '-')
    """
    return "-" if value is None else f"{value:z.4g}"


def _spread(row: Row) -> str:
    return number(row.mean) if row.sd is None else f"{number(row.mean)} ± {row.sd:.2g}"


def solved(row: Row, to: str = "-") -> str:
    """How many of the trials solved the task, with the interval of P(solve): ``3/5 (.23-.88)``.

    Args:
        row: The row.
        to: What stands between the interval's ends.
    """
    found = row.solve_probability
    if found is None or found.low is None or found.high is None:
        return f"{row.solved}/{row.tried}"
    return f"{row.solved}/{row.tried} ({_share(found.low)}{to}{_share(found.high)})"


def _share(value: float) -> str:
    """A share to two places without the zero that all have: ``.23``, ``0``, ``1``."""
    return f"{value:g}" if value in (0, 1) else f"{value:.2f}".removeprefix("0")


def steps_to_solve(row: Row) -> str:
    """The median of the steps to solve; a dash where half of the trials did not."""
    return number(None if row.steps_to_solve is None else row.steps_to_solve.value)


FAILURE_COUNTS = (
    "a failed trial counts as the worst of its task variant that finished, or as the floor if that is worse"
)
"""What a table with failed trials says below."""

_ON = Column("on", lambda row: row.layout, "devices, their kind, and the precision")
_COUNTED = Column("solved", lambda row: f"{row.solved}/{row.tried}", "trials that reached the solved threshold")
_FAILED = Column("not ok", lambda row: row.failures or "-", "trials that did not end ok, by status")
COLUMNS = (
    Column("model", lambda row: row.label, "the model, with what differs from its defaults"),
    Column("seeds", lambda row: str(row.trials), "trials, one a seed"),
    Column(
        "metric",
        _spread,
        "the primary metric on the test set: mean ± standard deviation over seeds",
    ),
    Column(
        "score", lambda row: "-" if row.score is None else f"{row.score:z.3f}", "of the mean: 0 = floor, 1 = ceiling"
    ),
    Column("solved", solved, "trials that reached the solved threshold, and the 95 % interval of that probability"),
    Column(
        "steps to\nsolve",
        steps_to_solve,
        "steps by which half of all trials had reached the threshold on the validation set; a dash where fewer did",
    ),
    Column(
        "training\nseconds",
        lambda row: "-" if row.training_seconds is None else f"{row.training_seconds:.0f}",
        "seconds of the whole training, whether it was solved or not: the mean",
    ),
    Column("weights", lambda row: "-" if row.parameters is None else f"{row.parameters:,}", "trained parameters"),
    _FAILED,
    _ON,
)

_DISPENSABLE = ("weights", "training\nseconds", "solved", "steps to\nsolve", "score", "on")
"""Columns that a narrow console does without, the first to go first."""


@dataclass(frozen=True)
class Section:
    """The table of one task setting."""

    setting: str
    metric: str
    direction: str
    floor: float
    rows: list[Row]
    baselines: dict[str, float]
    """The primary metric of what needs no training, by name."""

    @property
    def note(self) -> str:
        """What the rows don't say."""
        said = [FAILURE_COUNTS] if any(row.failed for row in self.rows) else []
        matched = [f"{row.label}, {row.match}" for row in self.rows if row.match is not None]
        return "; ".join([*said, f"matched: {'; '.join(matched)}"] if matched else said)

    @property
    def title(self) -> str:
        """Task, metric and direction in a line."""
        better = "higher" if self.direction == "maximize" else "lower"
        return f"{self.setting}: {self.metric}, {better} is better"


def sections(records: Iterable[Record], among: Iterable[Record] | None = None) -> list[Section]:
    """One section a task setting, rows best first; `among` as in `summarize`."""
    records = list(records)
    known = baselines(records)
    return [
        Section(setting, rows[0].metric, rows[0].direction, rows[0].floor, rows, known[setting])
        for setting, group in groupby(summarize(records, among), key=lambda row: row.setting)
        for rows in [list(group)]
    ]


def terminal(records: Iterable[Record], console: Console, among: Iterable[Record] | None = None) -> Iterator[Group]:
    """Rich tables, one a task setting, the baselines below the models; `among` as in `summarize`.

    A column that says the same in every row goes to the caption; where the console is narrow, columns go.
    """
    for section in sections(records, among):
        columns = list(COLUMNS)
        caption = ""
        for column in (_ON, _FAILED):
            said = {column.cell(row) for row in section.rows}
            if len(said) == 1 and (column is _ON or said == {"-"}):
                columns.remove(column)
                caption = f"on {said.pop()}" if column is _ON else caption
        table, left_out = narrowed(columns, _DISPENSABLE, partial(_table, section), console, _COUNTED)
        yield framed(section.title, table, "; ".join(filter(None, (caption, section.note, left_out))))


def plain(records: Iterable[Record], among: Iterable[Record] | None = None) -> list[dict[str, Any]]:
    """The rows as plain data; `among` as in `summarize`."""
    return [row.as_dict() for row in summarize(records, among)]


@runtime_checkable
class Headed(Protocol):
    """A column of any table."""

    @property
    def head(self) -> str:
        """Its name."""


_C = TypeVar("_C", bound=Headed)


def narrowed(
    columns: Sequence[_C],
    dispensable: Sequence[str],
    draw: Callable[[Sequence[_C]], Table],
    console: Console,
    without_interval: _C,
) -> tuple[Table, str]:
    """A table of as many of the columns as a console is wide enough for.

    Args:
        columns: All of them.
        dispensable: The heads of those that it may do without, the first to go first; that of `without_interval` loses
            its interval where it is first named, and goes where it is named again.
        draw: Makes the table of some of the columns.
        console: Where it is shown.
        without_interval: The shorter form of the column that has its head.

    Returns:
        The table; and what its caption says of the columns that went, empty where none did.
    """
    table, left_out = draw(columns), list[str]()
    for head in dispensable:
        if console.measure(table, options=console.options.update(max_width=1000)).maximum <= console.width:
            break
        if head == without_interval.head and without_interval not in columns:
            left_out.append(f"intervals of {head}")
            columns = [without_interval if column.head == head else column for column in columns]
        else:
            left_out += [in_line(column.head) for column in columns if column.head == head]
            columns = [column for column in columns if column.head != head]
        table = draw(columns)
    return table, f"no room here for: {', '.join(left_out)}" if left_out else ""


def in_line(head: str) -> str:
    """A column's head, which may be of several lines, in one."""
    return " ".join(head.split())


def empty() -> Table:
    """A table in the style of all results, without columns."""
    return Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)


def framed(title: str, table: Table, caption: str) -> Group:
    """A table below its title and above its caption, neither of them folded to the table's width."""
    # As text, or rich would take options in brackets for its own markup.
    return Group(Text(title, style="bold"), table, Text(caption, style="dim italic"))


def _table(section: Section, columns: Sequence[Column]) -> Table:
    table = empty()
    for column in columns:
        if column.head == "model":
            table.add_column(column.head, overflow="fold", max_width=40)
        else:
            table.add_column(column.head, justify="right", no_wrap=column is not _FAILED)
    for row in section.rows:
        table.add_row(*(Text(column.cell(row)) for column in columns))
    for name, value in section.baselines.items():
        note = " (floor)" if value == section.floor else ""
        table.add_row(Text(f"{name}{note}"), "", number(value), *[""] * (len(columns) - 3), style="dim")
    return table


def markdown(records: Iterable[Record], among: Iterable[Record] | None = None) -> str:
    """The same tables in Markdown."""
    lines: list[str] = []
    for section in sections(records, among):
        lines += [f"### {markdown_text(section.title)}", ""]
        lines.append("| " + " | ".join(in_line(column.head) for column in COLUMNS) + " |")
        lines.append("| " + " | ".join("---" for _ in COLUMNS) + " |")
        lines += [
            "| " + " | ".join(markdown_text(column.cell(row)) for column in COLUMNS) + " |" for row in section.rows
        ]
        for name, value in section.baselines.items():
            note = " (floor)" if value == section.floor else ""
            lines.append(f"| *{markdown_text(name)}{note}* | | {number(value)} |" + " |" * (len(COLUMNS) - 3))
        lines += ["", section.note, ""] if section.note else [""]
    return "\n".join(lines)


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    text = printable(" ".join(text.split()))
    for character in ("\\", "|", "<", "&", "*", "_", "~", "`", "[", "$"):
        text = text.replace(character, f"\\{character}")
    return text


def spreadsheet_cell(value: Any) -> Any:
    """A value as a cell of CSV: text that a spreadsheet would take for a formula is marked as text.

    >>> spreadsheet_cell("=1+1"), spreadsheet_cell(-1.5)
    ("'=1+1", -1.5)
    """
    if not isinstance(value, str):
        return value
    return f"'{printable(value)}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else printable(value)


def comma_separated(records: Iterable[Record]) -> str:
    """One line a record, with the columns of `rnnae_bench.records.flat`: what a spreadsheet wants."""
    records = list(records)
    columns = columns_of(records)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(spreadsheet_cell(column.name) for column in columns)
    writer.writerows([spreadsheet_cell(column.cell(record)) for column in columns] for record in records)
    return buffer.getvalue()
