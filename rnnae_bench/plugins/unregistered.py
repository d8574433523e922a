"""A class that no distribution registers, as one written in a notebook: a digest of its code is its version.

It takes part like any other, in the process that has it. Elsewhere it can't be found again, and its record says so.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from rnnae_bench.errors import UserError
from rnnae_bench.plugins.registry import Handle, Kind, registry

_MARK = "(not installed)"


@dataclass(frozen=True)
class Unregistered(Handle):
    """A model, task or probe of this process alone; its distribution is the class itself, marked as not installed."""

    cls: type

    def load(self) -> type:
        """The class."""
        return self.cls


def handle_of(kind: Kind, named: str | type) -> Handle:
    """The handle of a registered name, or of a class, registered or not.

    Raises:
        UserError: there is no such name, it is no class, or an installed one has the class's name.
    """
    known = registry(kind)
    if isinstance(named, str):
        return known.get(named)
    if not isinstance(named, type):
        raise UserError(f"a {kind} is named, or given as a class; this is {named!r:.80}, of {type(named).__name__}")
    value = f"{named.__module__}:{named.__qualname__}"
    for handle in known.handles():
        if handle.value == value:
            return handle
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", named.__name__).strip("_").lower()
    if name in known.names():
        raise UserError(f"a {kind} named '{name}' is installed, and class {named.__name__} is another; rename it")
    return Unregistered(kind, name, value, f"{value} {_MARK}", digest(named), named)


def digest(cls: type) -> str:
    """What tells a class from another version of it: a hash of its code, and of what its module has that this uses.

    Names, constants and operations count; comments, docstrings' places and line numbers don't.
    """
    found = hashlib.sha256()
    for line in _said(cls, cls.__module__, set()):
        found.update(line.encode("utf-8", "backslashreplace") + b"\n")
    return f"sha256:{found.hexdigest()[:16]}"


def _said(value: Any, module: str, seen: set[int]) -> Iterator[str]:
    """A value in lines: of classes and functions of the module their code, of others their names."""
    value = getattr(value, "__func__", value)
    if isinstance(value, property):
        for part in (value.fget, value.fset):
            yield from _said(part, module, seen)
    elif isinstance(value, type | FunctionType) and value.__module__ == module:
        if id(value) in seen:
            return
        seen.add(id(value))
        yield f"{type(value).__name__} {value.__qualname__}"
        yield from _of_class(value, module, seen) if isinstance(value, type) else _of_function(value, module, seen)
    elif isinstance(value, type | FunctionType):
        yield f"{value.__module__}.{value.__qualname__}"
    elif isinstance(value, str | bytes | int | float | complex | bool | None | tuple | list | dict):
        yield repr(value)
    else:
        yield type(value).__qualname__


def _of_class(cls: type, module: str, seen: set[int]) -> Iterator[str]:
    for base in cls.__bases__:
        yield from _said(base, module, seen)
    for name, value in vars(cls).items():
        if not name.startswith("__") or name in ("__init__", "__call__", "__annotations__"):
            yield name
            yield from _said(value, module, seen)


def _of_function(function: FunctionType, module: str, seen: set[int]) -> Iterator[str]:
    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is not None:
        yield from _said(wrapped, module, seen)
    yield repr((function.__defaults__, function.__kwdefaults__))
    names = dict.fromkeys(_names(function.__code__))
    yield from _of_code(function.__code__)
    for name in names:
        if name in function.__globals__:
            yield name
            yield from _said(function.__globals__[name], module, seen)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _of_code(code: CodeType) -> Iterator[str]:
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant)
        else:
            # The order of a set is another in every process.
            yield repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)
