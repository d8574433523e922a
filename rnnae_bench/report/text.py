"""Text of records, cards and plugins on the terminal."""

from typing import Any

from rich import text

from rnnae_bench.records.legible import printable


class Text(text.Text):
    """Rich's text in one line, in which nothing is obeyed: no escape sequence by the terminal, no markup by rich."""

    def __init__(self, text: str = "", *arguments: Any, **options: Any) -> None:
        super().__init__(printable(text), *arguments, **options)
