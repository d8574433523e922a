"""The page ``README.md`` beside a folder of records: a heading written by hand, and the standings in Markdown."""

import os
from collections.abc import Iterable
from pathlib import Path

from rnnae_bench.rankings.overview import overview
from rnnae_bench.rankings.standing import standings
from rnnae_bench.records.files import write_atomically
from rnnae_bench.records.record import Record
from rnnae_bench.report.standing_tables import markdown

_HEADING = "# Leaderboards\n"


def path_of(records: Path) -> Path:
    """Where the page of a folder of records lies: beside the folder."""
    folder = records.absolute().parent
    return (folder if records.is_absolute() else Path(os.path.relpath(folder))) / "README.md"


def page(records: Path, content: Iterable[Record]) -> str:
    """The page: ``heading.md`` from beside the folder of records, if there is one, then the standings.

    Args:
        records: The folder of records.
        content: The records in it.
    """
    heading = records.absolute().parent / "heading.md"
    opening = heading.read_text(encoding="utf-8") if heading.is_file() else _HEADING
    found = standings(content)
    return f"{opening.rstrip()}\n\n{markdown(found, overview(found)).rstrip()}\n"


def is_in_step(records: Path, content: Iterable[Record]) -> bool:
    """Whether the page says what the records say."""
    path = path_of(records)
    return path.is_file() and path.read_text(encoding="utf-8") == page(records, content)


def write(records: Path, content: Iterable[Record]) -> Path:
    """Write the page; returns where."""
    write_atomically(path_of(records), page(records, content).encode())
    return path_of(records)
