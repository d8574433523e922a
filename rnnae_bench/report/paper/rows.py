"""What figures are drawn from: the rows of a table, with their trials, by task setting."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnae_bench.rankings.standing import Entry, Standing
from rnnae_bench.records.history import Series
from rnnae_bench.records.record import Record
from rnnae_bench.report.paper.style import Look

Histories = Callable[[Record, Callable[[str], bool]], Mapping[str, Series]]
"""Reads a record's histories, of the columns that are wanted by name."""


@dataclass(frozen=True)
class DrawnRow:
    """One model with what differs from its defaults, over its seeds."""

    name: str
    look: Look
    entry: Entry
    records: tuple[Record, ...]

    def as_dict(self, setting: str, records: Sequence[Record]) -> dict[str, Any]:
        """What is drawn of it, as plain data."""
        return {
            "setting": setting,
            "row": self.name,
            "seeds": [record.seed for record in records],
            "ids": [record.id for record in records],
        }


@dataclass(frozen=True)
class Panel:
    """One task setting, with the rows that are drawn of it."""

    standing: Standing
    rows: tuple[DrawnRow, ...]


def counted_seeds(numbers: Sequence[int]) -> str:
    """How many seeds rows have, in words.

    >>> counted_seeds([5, 5]), counted_seeds([1]), counted_seeds([3, 5])
    ('5 seeds', '1 seed', '3 to 5 seeds')
    """
    least, most = min(numbers), max(numbers)
    return f"{least} to {most} seeds" if least != most else f"{most} seed{'s' * (most != 1)}"
