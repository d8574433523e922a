"""The table of truth as a page of its own, that opens without a network."""

from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, select_autoescape

from rnnae_bench import __version__


def truth_page(columns: Sequence[str], rows: Sequence[Sequence[str]], summary: str) -> str:
    """The page as HTML.

    Args:
        columns: Of the table; one of them is ``verdict``.
        rows: The cells, as text.
        summary: How many rows agree.
    """
    template = Environment(
        autoescape=select_autoescape(default=True), trim_blocks=True, lstrip_blocks=True
    ).from_string(files("rnnae_bench.report").joinpath("truth.html.jinja").read_text(encoding="utf-8"))
    together = [list(zip(columns, row, strict=True)) for row in rows]
    return template.render(columns=columns, rows=together, summary=summary, version=__version__)
