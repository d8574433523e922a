"""The folder of records: one JSON file a trial, its histories and its picture beside it."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnae_bench.errors import UserError
from rnnae_bench.results import history
from rnnae_bench.results.history import Series
from rnnae_bench.results.record import problem_of

SUPERSEDED = "superseded"
"""Subfolder for records that a later run of the same trial replaced."""


@dataclass
class Store:
    """A folder of records.

    Args:
        folder: Where they lie; made when the first is written.
    """

    folder: Path

    def path(self, identity: str) -> Path:
        """Where the record of that id lies, or would."""
        return self.folder / f"{identity}.json"

    def require_writable(self) -> None:
        """Raise `UserError` where no record could be written here; tries it with a file that leaves no trace."""
        place = self.folder.absolute()
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            raise UserError(f"cannot write records to {self.folder}: {place} is a file; choose another --out")
        try:
            tempfile.TemporaryFile(dir=place).close()
        except OSError as error:
            raise UserError(
                f"cannot write records to {self.folder}: {error.strerror} in {place}; choose another --out"
            ) from error

    def write(self, record: Mapping[str, Any], series: Mapping[str, Series]) -> Path:
        """Write a record and its histories, each whole or not at all; the JSON file, which names the other, last.

        An earlier record of the same trial is moved to the subfolder ``superseded``, never lost.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.path(record["id"])
        table = history.encode(series)
        histories = target.with_suffix(".parquet")
        complete = {
            **record,
            "history": {
                "file": histories.name,
                "sha256": hashlib.sha256(table).hexdigest(),
                "columns": ["step", *series],
            },
        }
        problem = problem_of(complete)
        if problem:
            raise ValueError(f"the record does not fit its own schema: {problem}")
        document = json.dumps(complete, indent=1, allow_nan=False).encode() + b"\n"
        self._supersede(target)
        write_atomically(histories, table)
        write_atomically(target, document)
        return target

    def _supersede(self, target: Path) -> None:
        if not target.exists():
            return
        attic = self.folder / SUPERSEDED
        attic.mkdir(exist_ok=True)
        stamp = f"{time.time_ns():x}"
        for suffix in (".json", ".parquet", ".png"):
            file = target.with_suffix(suffix)
            if file.exists():
                file.replace(attic / f"{target.stem}-{stamp}{suffix}")

    def read(self) -> "Records":
        """All records of the folder; a file that can't be read as one is reported, and harms nothing else."""
        found = Records()
        for path in self._files():
            try:
                found.records.append(_load(path))
            except (OSError, ValueError) as error:
                found.unreadable[path] = str(error)
        found.records.sort(key=lambda one: (one["task"], one["variant"], one["model"], one["seed"], one["id"]))
        return found

    def _files(self) -> Iterator[Path]:
        if not self.folder.is_dir():
            raise UserError(f"there are no records in {self.folder}: no such folder; 'rnnae-bench run' makes some")
        return iter(sorted(self.folder.glob("*.json")))

    def find(self, identity: str) -> dict[str, Any] | None:
        """The record of that id; None where there is none that can be read."""
        try:
            return _load(self.path(identity))
        except (OSError, ValueError):
            return None

    def series(self, record: Mapping[str, Any]) -> dict[str, Series]:
        """The histories of a record."""
        return history.read(self.folder / record["history"]["file"])


@dataclass
class Records:
    """What was found in a folder."""

    records: list[dict[str, Any]] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)
    """Files that are no records, with the reason."""


def _load(path: Path) -> dict[str, Any]:
    """The record in a file; OSError or ValueError where it can't be read as one."""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    problem = problem_of(record)
    if problem:
        raise ValueError(problem)
    return record


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: to a temporary name beside it, forced to disk, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
