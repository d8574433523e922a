"""Options of parts within parts: nested, or flat with dotted names."""

import copy
from collections.abc import Mapping
from typing import Any


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options flat, with dotted names.

    >>> flatten({"optimization": {"clip": 1.0}, "layers": 2})
    {'optimization.clip': 1.0, 'layers': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Options with dotted names nested, the inverse of `flatten`.

    >>> nest({"optimization.clip": 1.0, "layers": 2})
    {'optimization': {'clip': 1.0}, 'layers': 2}

    Raises:
        ValueError: an option is also the section that another one is in.
    """
    nested: dict[str, Any] = {}
    for option, value in flat.items():
        *sections, last = option.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ValueError(option)
        if last in place:
            raise ValueError(option)
        place[last] = value
    return nested


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Nested options, the second winning."""
    merged = copy.deepcopy(dict(first))
    for key, value in second.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if nested else copy.deepcopy(value)
    return merged
