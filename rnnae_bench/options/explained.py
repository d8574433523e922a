"""What jsonargparse says of a wrong option, taken apart: which option it is, what arrived, what is wanted."""

import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal


@dataclass(frozen=True)
class Complaint:
    """What is wrong with a command line or a configuration."""

    message: str
    """All of it, in one line."""
    unknown: str | None = None
    """An option or a word that there is not, as it was given."""
    wrong: str | None = None
    """The name of an option whose value none of its types takes."""
    given: str = "something else"
    """That value."""
    choices: tuple[str, ...] = ()
    """The texts that the option takes, where these are all it takes."""

    @classmethod
    def of(cls, message: str) -> "Complaint":
        """Read what jsonargparse says, in several lines as a rule."""
        message = re.sub(r"[Pp]arser key \"?([\w.]+)\"?:", r"--\1:", " ".join(message.split()))
        message = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", message)
        denied = re.search(r"(--[\w.]+):.*Importing '([^']+)' is not allowed", message)
        if denied:
            return cls(f"{denied[1]}: '{denied[2]}' would have to be imported; an option takes plain values only")
        unknown = re.search(r"unrecognized arguments: ([^\s=]+)", message)
        if unknown:
            return cls(message, unknown=unknown[1])
        wrong_key = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", message)
        if wrong_key:
            return cls(message, unknown=f"--{wrong_key[1]}.{wrong_key[2]}")
        wrong = re.search(r"--([\w.]+):", message)
        given = re.findall(r"(?:Got value|Given value): (.*?)(?= Given value| Subtypes|$)", message)
        if wrong and given:
            return cls(message, wrong=wrong[1], given=given[-1], choices=_texts(message))
        return cls(message, wrong=wrong and wrong[1])


def _texts(message: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(re.findall(r"'([^']+)'", message)))


def in_words(hint: Any) -> str:
    """A type in words.

    >>> in_words(Literal["auto", "off"] | int), in_words(list[int])
    ("'auto', 'off' or a whole number", 'a list, each of it a whole number')
    """
    simple = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    if hint in simple:
        return simple[hint]
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return in_words(arguments[0])
    if origin is Literal:
        return either(repr(one) for one in arguments)
    if origin is list:
        return f"a list, each of it {in_words(arguments[0])}"
    if origin in (typing.Union, types.UnionType):
        each = [part for one in arguments if one is not type(None) for part in in_words(one).split(" or ")]
        return either(each)
    return "a mapping" if origin in (dict, Mapping) else str(hint)


def is_plain(hint: Any) -> bool:
    """Whether a type consists of those that `in_words` has words for.

    >>> is_plain(int | None), is_plain(list[float]), is_plain(dict[str, bytes])
    (True, True, False)
    """
    if typing.get_origin(hint) is Literal or hint in (int, float, str, bool, type(None)):
        return True
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated:
        return is_plain(parts[0])
    whole = typing.get_origin(hint) in (list, typing.Union, types.UnionType)
    return whole and bool(parts) and all(map(is_plain, parts))


def either(words: Iterable[str]) -> str:
    """Words with commas and an "or".

    >>> either(["a", "b", "c"])
    'a, b or c'
    """
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
