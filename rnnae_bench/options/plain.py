"""Values of options as plain data, which JSON and YAML can write, and functions and classes by their names.

A record holds the plain form, the id is a hash of it, and a trial is rebuilt from it; what has none is refused.
"""

import base64
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import math
import numbers
import sys
import uuid
from collections.abc import Mapping, Sequence, Set
from pathlib import PurePath
from typing import Any


def plain(value: Any) -> Any:
    """A value as plain data.

    A path is its text, a member of an enumeration its name, a class or function the name of its module and its own, a
    set a sorted list, a number that is not finite YAML's word for it, bytes are in base 64.

    >>> plain({"channels": (16, 32), "layers": {2, 1}, "limit": math.inf, "order": datetime.date})
    {'channels': [16, 32], 'layers': [1, 2], 'limit': '.inf', 'order': 'datetime.date'}

    Raises:
        ValueError: it can't be written, or would not come back.
    """
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, str):
        value.encode()  # a lone surrogate is no text
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Number):
        return _number(value)
    if isinstance(value, PurePath | datetime.date | datetime.time | datetime.timedelta | uuid.UUID | range):
        return str(value)
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _mapping(value._asdict())
    if isinstance(value, Set):
        return sorted(map(plain, value), key=json.dumps)
    if isinstance(value, Sequence):
        return [plain(one) for one in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _mapping({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if type(value).__module__ == "torch" and type(value).__name__ in ("dtype", "device"):
        return str(value)
    if callable(value):
        return name_of(value)
    raise ValueError(f"a {type(value).__name__} can't be written into a record")


def _number(value: Any) -> Any:
    if isinstance(value, complex | decimal.Decimal | fractions.Fraction) or not isinstance(value, numbers.Real):
        return str(value)
    if isinstance(value, numbers.Integral):
        whole = int(value)
        if abs(whole) > sys.float_info.max:
            raise ValueError("a whole number that large can't be written into a record")
        return whole
    number = float(value)
    if math.isfinite(number):
        return number
    return ".nan" if math.isnan(number) else ".inf" if number > 0 else "-.inf"


def _mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    written = {key if isinstance(key, str) else str(plain(key)): plain(one) for key, one in value.items()}
    if len(written) < len(value):
        raise ValueError("two of its keys are written alike")
    return written


def name_of(value: Any) -> str:
    """The name by which `named` finds a class or function: the shortest, as ``torch.nn.GELU``.

    Raises:
        ValueError: it has none: a lambda, a function within another, an object.
    """
    own = getattr(value, "__qualname__", "")
    parts = (getattr(value, "__module__", None) or "torch").split(".")
    for length in range(1, len(parts) + 1):
        for name in (own, getattr(value, "__name__", "")):
            path = ".".join([*parts[:length], name])
            try:
                if named(path) is value:
                    return path
            except ValueError:
                continue
    what = own.rpartition(".")[2] or f"a {type(value).__name__}"
    raise ValueError(f"{what} can't be written into a record; only a module's own classes and functions have a name")


def named(path: Any) -> Any:
    """The class or function of a dotted name, in a module that is loaded already: nothing is imported.

    >>> named("datetime.date")
    <class 'datetime.date'>

    Raises:
        ValueError: there is none.
    """
    parts = path.split(".") if isinstance(path, str) else []
    for length in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:length]))
        found = vars(module).get(parts[length]) if module else None
        for part in parts[length + 1 :]:
            found = vars(found).get(part) if isinstance(found, type) else None
        if callable(found):
            return found
    raise ValueError(
        f"{path!r} names no class or function of what is loaded; write MODULE.NAME, of a module that the task or the "
        "model imports"
    )


def named_class(path: Any) -> type:
    """As `named`, a class.

    Raises:
        ValueError: there is none.
    """
    found = named(path)
    if not isinstance(found, type):
        raise ValueError(f"{path!r} is no class")
    return found


def alike(one: Any, other: Any, exactly: bool = True) -> bool:
    """Whether two values are equal, and of the same types, all that they contain included.

    >>> alike([1, {"a": 2.0}], [1, {"a": 2.0}]), alike([1], [1.0]), alike([1], (1,))
    (True, False, False)
    >>> alike([1], [1.0], exactly=False), alike(1, True, exactly=False)
    (True, False)

    Args:
        one: The one.
        other: The other.
        exactly: Whether a whole number differs from the same real number.
    """
    are_numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (one, other))
    if type(one) is not type(other) and (exactly or not are_numbers):
        return False
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(alike(each, other[key], exactly) for key, each in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(alike(*pair, exactly) for pair in zip(one, other, strict=True))
    return bool(one == other) or (isinstance(one, float) and math.isnan(one) and math.isnan(other))
