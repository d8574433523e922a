"""The folder of records: one JSON file a trial, its histories and its picture beside it."""

import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rnnae_bench.errors import UserError
from rnnae_bench.results import history
from rnnae_bench.results.history import Series
from rnnae_bench.results.record import Status, checksum, problem_of

DRAFTS = "drafts"
"""Subfolder for the records of trials that are running, as of their last flush."""

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
        table = history.encode(series)
        return self._write(_sealed(_with_history(record, table, ["step", *series])), table)

    def adopt(self, record: Mapping[str, Any], table: bytes) -> Path:
        """Write a record that was complete elsewhere, with the bytes of its histories.

        Raises:
            ValueError: it is no record, its checksum is not its own, or the histories are not those that it names.
        """
        if hashlib.sha256(table).hexdigest() != record["history"]["sha256"]:
            raise ValueError(f"the histories of record {record['id']} are not those that it names")
        return self._write(record, table)

    def _write(self, record: Mapping[str, Any], table: bytes) -> Path:
        problem = problem_of(record)
        if problem:
            raise ValueError(f"the record does not fit its own schema: {problem}")
        if _is_changed(record):
            raise ValueError(f"record {record['id']} was changed after it was written: its checksum does not fit")
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.path(record["id"])
        self._supersede(target)
        write_atomically(target.with_suffix(".parquet"), table)
        write_atomically(target, json.dumps(record, indent=1, allow_nan=False).encode() + b"\n")
        self.drafts.discard(record["id"])
        return target

    def clear(self, identity: str) -> None:
        """Remove what a killed process left of a trial that is to be run: its draft, and unfinished files.

        Nobody else must be running that trial.
        """
        self.drafts.discard(identity)
        for folder in (self.folder, self.drafts.folder):
            for piece in folder.glob(f".{identity}.*.tmp"):
                piece.unlink(missing_ok=True)

    def discard_finished_drafts(self) -> None:
        """Discard the drafts of trials that have their record: whoever is killed just after writing it leaves one."""
        for identity in self.drafts.identities():
            draft, record = self.drafts.read(identity), self.find(identity)
            # A draft of another start is of a trial that is being run again.
            if draft is not None and record is not None and draft[0]["started"] == record["started"]:
                self.drafts.discard(identity)

    @property
    def drafts(self) -> "Drafts":
        """The records of trials that are running."""
        return Drafts(self.folder / DRAFTS)

    def close(self, identity: str, otherwise: Mapping[str, Any], status: Status, failure: Mapping[str, Any]) -> Path:
        """Make a record of a trial whose process is gone, from its last draft, histories included.

        Args:
            identity: Its id.
            otherwise: The record to take where there is no draft that can be read (its own status does not count).
            status: How it ended.
            failure: What went wrong; where its step is None, the last one that the draft knows stands in.
        """
        record, table = self.drafts.read(identity) or (None, b"")
        if record is None:
            table = history.encode({})
            record = _with_history(otherwise, table, ["step"])
        step = failure["step"] if failure["step"] is not None else record["measures"].get("steps") or None
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        return self._write(
            _sealed(
                {**record, "id": identity, "status": status, "failure": {**failure, "step": step}, "finished": finished}
                | {"history": {**record["history"], "file": f"{identity}.parquet"}}
            ),
            table,
        )

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
                found.records.append(load(path))
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
            return load(self.path(identity))
        except (OSError, ValueError):
            return None

    def series(self, record: Mapping[str, Any], wanted: Callable[[str], bool] | None = None) -> dict[str, Series]:
        """The histories of a record; only the columns that are `wanted`, by name."""
        return history.read(self.folder / record["history"]["file"], wanted)


@dataclass(frozen=True)
class Drafts:
    """The records of trials that are running, each in one file with its histories, as of its last flush.

    Args:
        folder: Where they lie.
    """

    folder: Path

    def write(self, record: Mapping[str, Any], series: Mapping[str, Series]) -> None:
        """Replace the draft of a trial, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        table = history.encode(series)
        document = json.dumps(_with_history(record, table, ["step", *series]), allow_nan=False).encode()
        # One file, so that record and histories are always of the same moment.
        write_atomically(self._path(record["id"]), document + b"\n" + table)

    def read(self, identity: str) -> tuple[dict[str, Any], bytes] | None:
        """A draft and the bytes of its histories; None where there is none that can be read."""
        try:
            document, table = self._path(identity).read_bytes().split(b"\n", 1)
            record = json.loads(document)
        except (OSError, ValueError):
            return None
        return (record, table) if problem_of(record) is None else None

    def discard(self, identity: str) -> None:
        """Remove a draft; that it is not there is no error."""
        self._path(identity).unlink(missing_ok=True)

    def identities(self) -> list[str]:
        """The trials that have one."""
        return sorted(path.stem for path in self.folder.glob("*.draft")) if self.folder.is_dir() else []

    def _path(self, identity: str) -> Path:
        return self.folder / f"{identity}.draft"


def _with_history(record: Mapping[str, Any], table: bytes, columns: list[str]) -> dict[str, Any]:
    """A record that names its histories."""
    digest = hashlib.sha256(table).hexdigest()
    return {**record, "history": {"file": f"{record['id']}.parquet", "sha256": digest, "columns": columns}}


def _is_changed(record: Mapping[str, Any]) -> bool:
    """Whether a record that has a checksum was changed after it was written."""
    return record.get("checksum") not in (None, checksum(record))


def _sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with its checksum."""
    return {**record, "checksum": checksum(record)}


@dataclass
class Records:
    """What was found in a folder."""

    records: list[dict[str, Any]] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)
    """Files that are no records, with the reason."""


LARGEST = 4 * 2**20
"""Bytes that a record has at most; a usual one has some 6,000."""


def load(path: Path) -> dict[str, Any]:
    """The record in a file.

    Raises:
        OSError: the file can't be read.
        ValueError: it is no record: not a file of at most `LARGEST` bytes, no JSON (in which every key comes once and
            every number is finite), nested too deep, not as the schema says, or changed since it was written.
    """
    if not path.is_file():
        raise ValueError("not a file")
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{size:,} bytes; a record has at most {LARGEST:,}")
    try:
        record: dict[str, Any] = json.loads(
            path.read_text(encoding="utf-8"), parse_float=_number, parse_constant=_number, object_pairs_hook=_once_each
        )
        problem = problem_of(record)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if problem:
        raise ValueError(problem)
    if _is_changed(record):
        raise ValueError("it was changed after it was written: its checksum does not fit")
    return record


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
