"""What the suite's jsonargparse parsers have in common: how values are read, and that none of them imports anything."""

import contextlib
import dataclasses
import datetime
import decimal
import fractions
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jsonargparse
import yaml
from jsonargparse import _loaders_dumpers
from jsonargparse.typing import register_type

from rnnae_bench.options import yaml12
from rnnae_bench.options.plain import name_of, named, named_class

MODE = "yaml12"
"""The ``parser_mode`` of a parser that reads and prints YAML 1.2."""

jsonargparse.set_loader(MODE, yaml12.load, exceptions=(yaml.YAMLError,))
jsonargparse.set_dumper(MODE, yaml12.dump)
# Texts for numbers and truths are read apart from that, by YAML 1.1 (1:30 is 90 there); there is no public way to it.
_loaders_dumpers.yaml_default_loader = yaml12.Loader  # type: ignore[assignment]

# A value may name a class or a function of what is loaded; `class_path` and the like import and call nothing.
jsonargparse.set_parsing_settings(import_path_denylist=["*"], instantiate_subclass_spec_in_any=False)
register_type(Callable, name_of, named, type_check=lambda value, _: callable(value))
register_type(type, name_of, named_class, type_check=lambda value, _: isinstance(value, type))

register_type(decimal.Decimal, str)
register_type(fractions.Fraction, str)
for _kind in (datetime.date, datetime.time, datetime.datetime):
    register_type(_kind, str, _kind.fromisoformat)


def allow_dataclasses(hints: Iterable[Any]) -> None:
    """Let options be given the fields of the dataclasses that their types name, beside None or in a list, say."""
    for kind in _dataclasses(hints, set()):
        names = [f"{kind.__module__}.{kind.__qualname__}"]
        with contextlib.suppress(ValueError):
            names.append(name_of(kind))
        jsonargparse.set_parsing_settings(import_path_allowlist=names)


def _dataclasses(hints: Iterable[Any], seen: set[Any]) -> Iterator[type]:
    for kind in (one for hint in hints for one in types_in(hint)):
        if dataclasses.is_dataclass(kind) and kind not in seen and "<" not in kind.__qualname__:
            seen.add(kind)
            yield kind
            yield from _dataclasses(fields_of(kind), seen)


def fields_of(kind: type) -> list[Any]:
    """The type hints of a dataclass's or named tuple's fields; none where they can't be resolved."""
    try:
        return list(typing.get_type_hints(kind).values())
    except (NameError, TypeError):
        return []


def types_in(hint: Any) -> set[type]:
    """The types that a type hint is made of.

    >>> sorted(one.__name__ for one in types_in(dict[str, int | float]))
    ['float', 'int', 'str']
    """
    parts = typing.get_args(hint)
    if typing.get_origin(hint) in (None, typing.Literal) or not parts:
        return {hint} if isinstance(hint, type) else set()
    return {each for part in parts for each in types_in(part)}
