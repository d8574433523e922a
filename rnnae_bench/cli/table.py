"""Tables for people: columns where the terminal is wide enough, one block a row where it is not."""

import sys
from collections.abc import Sequence

_UNLIMITED = 10_000
_READABLE = 24
"""Columns of running text are not squeezed below this many characters."""


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text under their column names, wrapped between words to the terminal's width.

    Where the columns don't fit side by side, each row becomes a block of its own. Output that goes into a file
    or a pipe is not wrapped: one row, one line.
    """
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    from rnnae_bench.report.text import Text

    console = Console(width=None if sys.stdout.isatty() else _UNLIMITED)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column, *cells in zip(columns, *rows, strict=True):
        longest_word = max((len(word) for cell in cells for word in cell.split()), default=0)
        longest_cell = max(map(len, cells), default=0)
        table.add_column(Text(column), min_width=max(longest_word, min(longest_cell, _READABLE)))
    for row in rows:
        table.add_row(*map(Text, row))
    with console.capture() as capture:
        if Measurement.get(console, console.options.update(width=_UNLIMITED), table).minimum <= console.width:
            console.print(table)
        else:
            for name, *cells in rows:
                block = Table.grid(padding=(0, 2, 0, 0))
                for label, cell in zip(columns[1:], cells, strict=True):
                    if cell:
                        block.add_row(Text(f"  {label}"), Text(cell, overflow="fold"))
                console.print(Text(name, style="bold"), block, sep="\n")
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))
