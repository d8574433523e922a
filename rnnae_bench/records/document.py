"""A record as a JSON document: read strictly, written plainly, with its checksum and its published schema."""

import hashlib
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, get_args

import msgspec

from rnnae_bench.records.legible import finite, without_halves
from rnnae_bench.records.record import NEW, Direction, Measures, Record, Status

LARGEST = 4 * 2**20
"""Bytes that a record has at most; a usual one has some 6,000."""

DEEPEST = 40
"""How many lists and objects a record has within each other at most."""

_NAMED = tuple(name for name in Measures.__struct_fields__ if name != "by_name")


def load(path: Path) -> Record:
    """The record in a file.

    Raises:
        OSError: the file can't be read.
        ValueError: it is no record: not a file of at most `LARGEST` bytes, no JSON (in which every key comes once and
            every number is finite, and every text whole), nested too deep, not of a record's form, or changed since.
    """
    if not path.is_file():
        raise ValueError("not a file")
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"{path.stat().st_size:,} bytes; a record has at most {LARGEST:,}")
    try:
        document = json.loads(
            content.decode("utf-8"),
            parse_float=_number,
            parse_int=_whole_number,
            parse_constant=_number,
            object_pairs_hook=_once_each,
        )
    except RecursionError:
        raise ValueError("nested too deep") from None
    record = record_from(document)
    require_unchanged(record)
    return record


def load_if_readable(path: Path) -> Record | None:
    """The record of a file; None where there is none that can be read."""
    try:
        return load(path)
    except (OSError, ValueError):
        return None


def record_from(document: Any) -> Record:
    """The record that plain data say; its checksum is not looked at.

    Raises:
        ValueError: they are no record; in one line, with the place.
    """
    _require_ordinary(document)
    spread = _with_named_measures(document)
    try:
        record = msgspec.convert(spread, Record)
    except msgspec.ValidationError as error:
        raise ValueError(_told(spread, error)) from None
    for part, names in (("metrics", ("test", "validation")), ("fingerprints", ("train", "validation", "test"))):
        missing = [name for name in names if name not in document[part]]
        if missing:
            raise ValueError(f"{part}: misses {', '.join(missing)}")
    if record.schema == 1:
        further = (f"metrics.{name}" for name in record.metrics if name not in ("test", "validation"))
        for key in (*further, *(key for key in NEW if _has(document, key.split(".")))):
            raise ValueError(f"the document: has an unknown key {key}")
    written = document_of(record)
    if written != document:
        raise ValueError(f"{_first_difference(document, written)}: is left out where it says nothing")
    return record


def document_of(record: Record) -> dict[str, Any]:
    """The record as plain data, as JSON has them."""
    document: dict[str, Any] = msgspec.to_builtins(record)
    document["measures"] = document["measures"]["by_name"]
    return document


def encoded(record: Record) -> bytes:
    """The content of the record's file."""
    return json.dumps(document_of(record), indent=1, allow_nan=False).encode() + b"\n"


def checksum(document: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of a record's document without its ``checksum``, as JSON with sorted keys and no spaces.

    It tells a record that was torn or edited by hand. Who edits a record and computes its checksum again is not
    caught by it.

    Raises:
        ValueError: a number is not finite.
    """
    content = {key: value for key, value in document.items() if key != "checksum"}
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    ).hexdigest()


def sealed(record: Record) -> Record:
    """The record as JSON can say it, with its checksum.

    Raises:
        ValueError: it does not keep its own form.
    """
    document = finite(document_of(record))
    return record_from({**document, "checksum": checksum(document)})


def require_unchanged(record: Record) -> None:
    """Raise ValueError for a record that has a checksum and was changed after it was written."""
    if record.checksum not in (None, checksum(document_of(record))):
        raise ValueError("it was changed after it was written: its checksum does not fit")


def schema() -> dict[str, Any]:
    """The JSON Schema of records; that of `record.schema.json` is a copy of it."""
    document = msgspec.json.schema(Record, ref_template="#/$defs/{name}")
    definitions = document["$defs"]
    measures = definitions["Measures"]
    measures["additionalProperties"] = measures["properties"].pop("by_name")["additionalProperties"]
    measures["required"].remove("by_name")
    for one in definitions.values():
        one["description"] = " ".join(one["description"].split())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://rnnae-bench.example/schemas/record-2.json",
        **definitions.pop("Record"),
        "title": "Record of one trial of rnnae-bench",
        "$defs": definitions,
    }


def _with_named_measures(document: Any) -> Any:
    """The document in which `Measures` finds its attributes beside all measures."""
    measures = document.get("measures") if isinstance(document, dict) else None
    if not isinstance(measures, dict):
        return document
    named = {name: measures[name] for name in _NAMED if name in measures}
    return {**document, "measures": {**named, "by_name": measures}}


_CHOICES = {"status": get_args(Status), "direction": get_args(Direction), "schema": (1, 2)}


def _told(document: Any, error: msgspec.ValidationError) -> str:
    """What msgspec has against a document, with the place first, as ``primary.value: expected float, got str``."""
    reason, _, place = str(error).partition(" - at `")
    keys = [key for key in _keys(document, place, str(error)) if key != "by_name"]
    for said, told in (
        ("Object missing required field ", "misses "),
        ("Object contains unknown field ", "has an unknown key "),
        ("Invalid enum value ", "is none of its values: "),
        ("Expected ", "expected "),
    ):
        if reason.startswith(said):
            reason = told + reason.removeprefix(said).replace("`", "")
    if keys and keys[-1] in ("started", "finished"):
        reason = "is no time in a form such as 2026-01-31T23:59:59+00:00"
    if keys and keys[-1] in _CHOICES:
        reason = f"{reason[:100]}; one of {', '.join(map(str, _CHOICES[keys[-1]]))}"
        if keys == ["schema"]:
            reason += ", which this version of rnnae-bench reads; another version wrote it"
    return f"{'.'.join(keys) or 'the document'}: {reason if len(reason) < 200 else f'{reason[:200]}...'}"


def _keys(document: Any, place: str, message: str) -> list[str]:
    """The keys of a place as msgspec tells it, from the outside in; a mapping's, which it does not tell, are found."""
    keys: list[str] = []
    for name, index in re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", place):
        if index != "...":
            keys.append(name or index)
            continue
        mapping = reduce(lambda inner, key: inner[key], keys, document)
        keys += [key for key in mapping if _objection(_with(document, keys, {key: mapping[key]})) == message][:1]
    return keys


def _with(document: Any, keys: list[str], value: Any) -> Any:
    """The document with another value at a place."""
    return value if not keys else {**document, keys[0]: _with(document[keys[0]], keys[1:], value)}


def _objection(document: Any) -> str | None:
    try:
        msgspec.convert(document, Record)
    except msgspec.ValidationError as error:
        return str(error)
    return None


def _has(document: Any, keys: Sequence[str]) -> bool:
    return not keys or (keys[0] in document and _has(document[keys[0]], keys[1:]))


def _first_difference(document: Any, written: Any) -> str:
    """The place of a key that is in the document and would not be written."""
    for key, value in document.items():
        if key not in written:
            return str(key)
        if isinstance(value, dict) and value != written[key]:
            return f"{key}.{_first_difference(value, written[key])}"
    raise AssertionError("a record is written as it is read, but for keys that say nothing")


def _require_ordinary(data: Any, depth: int = 0) -> None:
    """Raise ValueError for what JSON has a form for, and those who read it stumble over."""
    if depth > DEEPEST:
        raise ValueError(f"nested too deep: {DEEPEST} levels at most")
    if isinstance(data, str):
        if data != without_halves(data):
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


def _whole_number(text: str) -> int:
    # Python refuses some thousands of digits in words of its own; reading fewer takes the square of their number.
    if len(text) > 400:
        raise ValueError(f"{text[:20]}... has {len(text):,} digits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no number of JSON that a float can hold")
    return value


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found
