"""Text and numbers made legible to a terminal and to JSON."""

import sys
from collections.abc import Mapping
from typing import Any


def printable(text: str) -> str:
    """Text with what a terminal would obey (escape sequences, say) or that has no picture written out instead.

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def finite(value: Any) -> Any:
    """The same data as JSON can say it: numbers that no float holds are None, halves of characters are written out.

    A half comes of a file's name that is no UTF-8, say.

    >>> finite({"loss": float("nan"), "steps": [1, 2.5]})
    {'loss': None, 'steps': [1, 2.5]}
    """
    if isinstance(value, str):
        return without_halves(value)
    if isinstance(value, float | int) and not isinstance(value, bool):
        # One of numpy's is a float of its own kind.
        plain = float(value) if isinstance(value, float) else int(value)
        return plain if abs(plain) <= sys.float_info.max else None
    if isinstance(value, Mapping):
        return {without_halves(str(key)): finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return value


def without_halves(text: str) -> str:
    """A text in which halves of characters (lone surrogates) are written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
