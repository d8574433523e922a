"""The record: the one JSON document that a trial leaves behind, whatever happened to it."""

import hashlib
import json
import sys
from collections.abc import Mapping
from typing import Any, Literal

from rnnae_bench.options.schema import Schema

SCHEMA_VERSION = 1

Status = Literal["ok", "diverged", "oom", "timeout", "error", "interrupted", "skipped"]
"""How a trial ended. Everything but ``ok`` is a failed row, never a gap."""


SCHEMA = Schema("rnnae_bench.records", "record.schema.json")
"""The published JSON Schema of records."""


def problem_of(record: Any) -> str | None:
    """Why this is not a record, in one line; None where it is one."""
    try:
        _require_ordinary(record)
    except ValueError as error:
        return str(error)
    problem = SCHEMA.problem(record)
    if problem is None:
        return None
    keys, reason = problem
    return f"{'.'.join(map(str, keys)) or 'the document'}: {reason}"


DEEPEST = 40
"""How many lists and objects a record has within each other at most."""


def _require_ordinary(data: Any, depth: int = 0) -> None:
    """Raise ValueError for what JSON has a form for, and those who read it stumble over."""
    if depth > DEEPEST:
        raise ValueError(f"nested too deep: {DEEPEST} levels at most")
    if isinstance(data, str):
        if data != _without_halves(data):
            raise ValueError("a text holds half a character (a lone surrogate)")
    elif isinstance(data, int) and abs(data) > sys.float_info.max:
        raise ValueError("a whole number has more than 308 digits")
    elif isinstance(data, Mapping):
        for key, value in data.items():
            _require_ordinary(key, depth)
            _require_ordinary(value, depth + 1)
    elif isinstance(data, list):
        for value in data:
            _require_ordinary(value, depth + 1)


LAYOUT = ("accelerator", "strategy", "devices", "num_nodes", "precision", "profiler")
"""Options of the trainer that stand in a trial's layout, as far as they determine its result."""


def identity(
    task: str,
    model: str,
    configuration: Mapping[str, Mapping[str, Any]],
    layout: Mapping[str, Any],
    seeds: tuple[int, int],
    plugins: Mapping[str, str],
) -> str:
    """A record's id: the content hash of what determines its result, 16 hexadecimal digits.

    Args:
        task: ``NAME:VARIANT``.
        model: The model's name.
        configuration: All options of task, model and trainer.
        layout: Accelerator, number of devices, Lightning's strategy and precision.
        seeds: The seed and the data seed.
        plugins: The distributions of task and model, with their versions.
    """
    trainer = {key: value for key, value in configuration["trainer"].items() if key not in LAYOUT}
    content = {
        "schema": SCHEMA_VERSION,
        "task": task,
        "model": model,
        "configuration": {**configuration, "trainer": trainer},
        "layout": layout,
        "seed": seeds,
        "plugins": plugins,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def checksum(record: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of a record without its key ``checksum``, as JSON with sorted keys and no spaces.

    It tells a record that was torn or edited by hand. Who edits a record and computes its checksum again is not
    caught by it.

    Raises:
        ValueError: a number is not finite.
    """
    content = {key: value for key, value in record.items() if key != "checksum"}
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    ).hexdigest()


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
        return _without_halves(value)
    if isinstance(value, float | int):
        return value if abs(value) <= sys.float_info.max else None
    if isinstance(value, Mapping):
        return {_without_halves(str(key)): finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return value


def _without_halves(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
