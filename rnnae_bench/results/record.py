"""The record: the one JSON document that a trial leaves behind, whatever happened to it."""

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

SCHEMA_VERSION = 1

Status = Literal["ok", "diverged", "oom", "timeout", "error", "interrupted", "skipped"]
"""How a trial ended. Everything but ``ok`` is a failed row, never a gap."""


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """The published JSON Schema of records, ``record.schema.json``."""
    return json.loads(files("rnnae_bench.results").joinpath("record.schema.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)


def problem_of(record: Any) -> str | None:
    """Why this is not a record, in one line; None where it is one."""
    from jsonschema.exceptions import best_match

    error = best_match(_validator().iter_errors(record))
    if error is None:
        return None
    where = ".".join(map(str, error.absolute_path)) or "the document"
    return f"{where}: {error.message if len(error.message) < 200 else error.message[:200] + '...'}"


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
