"""Drafts: the records of trials that are running, as of their last flush."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from rnnae_bench.records import history
from rnnae_bench.records.document import document_of, record_from
from rnnae_bench.records.files import alone, write_atomically
from rnnae_bench.records.history import Series
from rnnae_bench.records.record import History, Record


@dataclass(frozen=True)
class Drafts:
    """The records of trials that are running, each in one file with its histories, as of its last flush.

    Args:
        folder: Where they lie.
    """

    folder: Path

    def write(self, record: Record, series: Mapping[str, Series]) -> None:
        """Replace the draft of a trial, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        table = history.encode(series)
        named = with_history(record, table, ["step", *series])
        document = json.dumps(document_of(named), allow_nan=False).encode()
        with alone(self.folder):
            # One file, so that record and histories are always of the same moment.
            write_atomically(self._path(record.id), document + b"\n" + table)

    def read(self, identity: str) -> tuple[Record, bytes] | None:
        """A draft and the bytes of its histories; None where there is none that can be read."""
        try:
            document, table = self._path(identity).read_bytes().split(b"\n", 1)
            return record_from(json.loads(document)), table
        except (OSError, ValueError):
            return None

    def discard(self, identity: str) -> None:
        """Remove a draft; that it is not there is no error."""
        self._path(identity).unlink(missing_ok=True)

    def identities(self) -> list[str]:
        """The trials that have one."""
        return sorted(path.stem for path in self.folder.glob("*.draft")) if self.folder.is_dir() else []

    def _path(self, identity: str) -> Path:
        return self.folder / f"{identity}.draft"


def with_history(record: Record, table: bytes, columns: list[str]) -> Record:
    """A record that names its histories."""
    digest = hashlib.sha256(table).hexdigest()
    return replace(record, history=History(file=f"{record.id}.parquet", sha256=digest, columns=columns))
