"""The record: the one JSON document that a trial leaves behind, whatever happened to it."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from rnnae_bench.schema import Schema

SCHEMA_VERSION = 1

Status = Literal["ok", "diverged", "oom", "timeout", "error", "interrupted", "skipped"]
"""How a trial ended. Everything but ``ok`` is a failed row, never a gap."""


SCHEMA = Schema("rnnae_bench.results", "record.schema.json")
"""The published JSON Schema of records."""


def problem_of(record: Any) -> str | None:
    """Why this is not a record, in one line; None where it is one."""
    problem = SCHEMA.problem(record)
    if problem is None:
        return None
    keys, reason = problem
    return f"{'.'.join(map(str, keys)) or 'the document'}: {reason}"


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
    """The same data with every number that is not finite as None, since JSON has no word for them.

    >>> finite({"loss": float("nan"), "steps": [1, 2.5]})
    {'loss': None, 'steps': [1, 2.5]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return value
