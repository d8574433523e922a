"""Records as a notebook shows them below a cell: a compact table, and a picture."""

import base64
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, select_autoescape

from rnnae_bench.records.record import Record
from rnnae_bench.report import tables


def html(records: Iterable[Record], picture: bytes | None = None) -> str:
    """The table of the records, one section a task setting, and a picture (a PNG) below it.

    What the records say is shown as text, never as markup.
    """
    return _render(sections=tables.sections(records), columns=tables.COLUMNS, number=tables.number, picture=picture)


def table_html(
    heads: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", picture: bytes | None = None
) -> str:
    """Any table as HTML, its cells as text, with a caption above and a picture (a PNG) below."""
    return _render(heads=heads, rows=rows, caption=caption, picture=picture)


def _render(picture: bytes | None, **content: Any) -> str:
    template = Environment(autoescape=select_autoescape(default=True), trim_blocks=True, lstrip_blocks=True)
    source = files("rnnae_bench.report").joinpath("cell.html.jinja").read_text(encoding="utf-8")
    drawn = None if picture is None else base64.b64encode(picture).decode()
    return template.from_string(source).render(picture=drawn, **content)
