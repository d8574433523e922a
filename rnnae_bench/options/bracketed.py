"""Options in brackets after a name, ``gru[hidden_size=64,layers=2]``: values are YAML."""

import json
from typing import Any

import yaml

from rnnae_bench.errors import UserError
from rnnae_bench.options.nested import flatten
from rnnae_bench.options.plain import plain
from rnnae_bench.options.yaml12 import load, reason


def parse_text(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the options, by dotted name, of ``NAME[OPTION=VALUE,...]``; `UserError` where it is malformed."""
    name, bracket, rest = text.partition("[")
    if not bracket:
        if "]" in text:
            raise UserError(f"'{text}': the bracket ']' closes none")
        return text.strip(), {}
    values: dict[str, Any] = {}
    for item in _split(text, rest):
        option, equals, written = (part.strip() for part in item.partition("="))
        if not option or not equals:
            raise UserError(f"'{text}': '{item.strip()}' is no option; write KEY=VALUE, several with commas between")
        if not written:
            raise UserError(f"'{text}': '{option}' has no value; write {option}=VALUE")
        try:
            value = load(written)
        except yaml.YAMLError as error:
            raise UserError(f"'{text}': the value of '{option}', {written}, is not YAML: {reason(error)}") from error
        for full, one in flatten({option: value}).items():
            if full in values:
                raise UserError(f"'{text}': '{full}' is given twice; for several values write {full}=[A,B]")
            values[full] = one
    return name.strip(), values


def split_names(text: str) -> list[str]:
    """The names in a list with commas between, each with its options.

    >>> split_names("saturation[above=0.9,lags=[1,2]], weights")
    ['saturation[above=0.9,lags=[1,2]]', 'weights']

    Raises:
        UserError: the brackets do not match.
    """
    return [one.strip() for one in _split(text, f"{text}]") if one.strip()]


def _split(text: str, rest: str) -> list[str]:
    """What follows the first bracket, up to the one that closes it, split at the commas that are in no inner one."""
    items: list[str] = []
    begun, inner, quote = 0, "]", ""
    for place, character in enumerate(rest):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{":
            inner += "]" if character == "[" else "}"
        elif character in "]}":
            if not inner.endswith(character):
                break
            inner = inner[:-1]
            if not inner:
                if rest[place + 1 :].strip():
                    raise UserError(f"'{text}': '{rest[place + 1 :].strip()}' follows the closing bracket")
                return [*items, rest[begun:place]]
        elif character == "," and len(inner) == 1:
            items.append(rest[begun:place])
            begun = place + 1
    missing = f"the quote {quote} is not closed" if quote else f"the brackets do not match, '{inner[-1]}' is missing"
    raise UserError(f"'{text}': {missing}")


def written(value: Any) -> str:
    """A value as YAML in a line, which reads back as the same."""
    if isinstance(value, str):
        try:
            return value if load(value) == value else json.dumps(value)
        except yaml.YAMLError:
            return json.dumps(value)
    return str(plain(value)) if isinstance(value, float) else json.dumps(plain(value))
