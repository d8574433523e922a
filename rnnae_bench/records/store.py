"""The folder of records: one JSON file a trial, its histories, samples, weights and picture beside it."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from msgspec.structs import replace as changed

from rnnae_bench.errors import UserError
from rnnae_bench.records import history, samples
from rnnae_bench.records.attachments import SAMPLES, WEIGHTS, attachment
from rnnae_bench.records.checkpoints import Checkpoints
from rnnae_bench.records.document import load, load_if_readable, require_unchanged, sealed
from rnnae_bench.records.drafts import Drafts, with_history
from rnnae_bench.records.files import alone, discard_temporaries, require_writable
from rnnae_bench.records.history import Series
from rnnae_bench.records.privacy import publishable
from rnnae_bench.records.record import Failure, Record, Status
from rnnae_bench.records.transactions import SUPERSEDED, Transactions

DRAFTS = "drafts"
"""Subfolder for the records of trials that are running, as of their last flush."""

CHECKPOINTS = "checkpoints"
"""Subfolder for the states of trials that are running, from which a later run of the same trial goes on."""


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
        """Raise `UserError` where no record could be written here; tries it, and leaves no trace."""
        require_writable(self.folder, "records")

    def anchored(self) -> "Store":
        """The same store, wherever the process goes: a plugin may change the working folder."""
        return replace(self, folder=self.folder.absolute())

    def write(
        self,
        record: Record,
        series: Mapping[str, Series],
        kept: bytes | None = None,
        weights: bytes | None = None,
    ) -> Path:
        """Write a record and all that belongs to it, or nothing, whenever the process or the machine may stop.

        An earlier record of the same trial is moved to the subfolder ``superseded``, never lost.

        Args:
            record: The record; what it names beside it is named anew.
            series: The histories.
            kept: The samples, as `rnnae_bench.records.samples` encodes them; None where there are none.
            weights: The trained weights, as safetensors; None where they are not kept.

        Raises:
            OSError: there is no room for it, or the folder can't be written; what was there is there still.
        """
        table = history.encode(series)
        named = changed(
            with_history(publishable(record), table, ["step", *series]),
            samples=attachment(record.id, kept, SAMPLES),
            weights=attachment(record.id, weights, WEIGHTS),
        )
        return self._write(sealed(named), table, kept, weights)

    def adopt(self, record: Record, table: bytes, kept: bytes | None = None, weights: bytes | None = None) -> Path:
        """Write a record that was complete elsewhere, with the bytes of its histories; samples and weights if at hand.

        Raises:
            OSError: as of `write`.
            ValueError: it is no record, its checksum is not its own, or the histories are not those that it names.
        """
        if record.history.file != f"{record.id}.parquet":
            raise ValueError(f"the histories of record {record.id} are {record.history.file}, another trial's")
        if hashlib.sha256(table).hexdigest() != record.history.sha256:
            raise ValueError(f"the histories of record {record.id} are not those that it names")
        if kept is not None and record.samples != attachment(record.id, kept, SAMPLES):
            raise ValueError(f"the samples of record {record.id} are not those that it names")
        if weights is not None and record.weights != attachment(record.id, weights, WEIGHTS):
            raise ValueError(f"the weights of record {record.id} are not those that it names")
        return self._write(record, table, kept, weights)

    def _write(self, record: Record, table: bytes, *attached: bytes | None) -> Path:
        try:
            require_unchanged(record)
        except ValueError as error:
            raise ValueError(f"record {record.id}: {error}") from None
        self.folder.mkdir(parents=True, exist_ok=True)
        with alone(self.folder):
            target = Transactions(self.folder).commit(record, table, attached)
        self.drafts.discard(record.id)
        return target

    def superseded(self) -> dict[Path, Record]:
        """The records that later ones of the same trials replaced, by their files, the oldest first.

        The folder of such a file is a `Store` of its own.
        """
        self._require_folder()
        found = {}
        for path in (self.folder / SUPERSEDED).glob("*/*.json"):
            with contextlib.suppress(OSError, ValueError):
                record = load(path)
                # Of a process that was killed just before it replaced this one.
                if self.find(record.id) != record:
                    found[path] = record
        return dict(sorted(found.items(), key=lambda one: (one[1].finished, one[0].stat().st_mtime_ns)))

    def clear(self, identity: str) -> None:
        """Remove what a killed process left of a trial that is to be run: its draft, and unfinished files.

        Nobody else must be running that trial.
        """
        self.drafts.discard(identity)
        for folder in (self.folder, self.drafts.folder, self.checkpoints.folder):
            discard_temporaries(folder, identity)

    def tidy(self) -> None:
        """Remove what killed processes left here, and finish what they began.

        That is temporary files, replacements that were cut short, and drafts of trials that have their record. Nothing
        of a process that is writing just now is touched.
        """
        # Whoever writes here is alone here.
        with contextlib.suppress(OSError), alone(self.folder) as is_alone:
            if is_alone:
                Transactions(self.folder).recover()
        with contextlib.suppress(OSError), alone(self.drafts.folder) as is_alone:
            if is_alone:
                discard_temporaries(self.drafts.folder)
        self.checkpoints.tidy()
        for identity in self.drafts.identities():
            self.discard_finished_draft(identity)

    def discard_finished_draft(self, identity: str) -> None:
        """Discard the draft of a trial that has its record: whoever is killed just after writing it leaves one."""
        draft, record = self.drafts.read(identity), self.find(identity)
        # A draft of another start is of a trial that is being run again.
        if draft is not None and record is not None and draft[0].started == record.started:
            self.drafts.discard(identity)

    @property
    def checkpoints(self) -> Checkpoints:
        """The states of trials that are running, from which they can go on."""
        return Checkpoints(self.folder / CHECKPOINTS)

    @property
    def drafts(self) -> Drafts:
        """The records of trials that are running."""
        return Drafts(self.folder / DRAFTS)

    def close(self, identity: str, otherwise: Record, status: Status, failure: Failure) -> Path:
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
            record = with_history(otherwise, table, ["step"])
        step = failure.step if failure.step is not None else record.measures.steps or None
        closed = changed(
            record,
            id=identity,
            status=status,
            failure=changed(failure, step=step),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            history=changed(record.history, file=f"{identity}.parquet"),
        )
        return self._write(sealed(publishable(closed)), table)

    def read(self) -> "Records":
        """All records of the folder; a file that can't be read as one is reported, and harms nothing else.

        Copies of a record are one record: that of the file that has its name, where there is one.
        """
        found, by_id = Records(), {}
        for path in self._files():
            try:
                record = load(path)
            except (OSError, ValueError) as error:
                found.unreadable[path] = str(error)
                continue
            if record.id not in by_id or path == self.path(record.id):
                by_id[record.id] = record
        found.records.extend(by_id.values())
        found.records.sort(key=lambda one: (one.task, one.variant, one.model, one.seed, one.id))
        return found

    def _files(self) -> Iterator[Path]:
        self._require_folder()
        return iter(sorted(self.folder.glob("*.json")))

    def _require_folder(self) -> None:
        if not self.folder.is_dir():
            raise UserError(f"there are no records in {self.folder}: no such folder; 'rnnae-bench run' makes some")

    def find(self, identity: str) -> Record | None:
        """The record of that id; None where there is none that can be read."""
        return load_if_readable(self.path(identity))

    def kept_samples(self, record: Record) -> bytes | None:
        """The bytes of a record's samples; None where it has none, or they are not here, or are others."""
        if record.samples is None:
            return None
        path = self.folder / record.samples.file
        if not path.is_file() or path.stat().st_size > samples.LARGEST:
            return None
        content = path.read_bytes()
        return content if attachment(record.id, content, SAMPLES) == record.samples else None

    def samples(self, record: Record) -> dict[str, np.ndarray] | None:
        """What the model made of a few rows of the test set, by a batch's fields; None where nothing is kept.

        Raises:
            OSError: the file that the record names is not here.
            ValueError: it holds no samples.
        """
        return None if record.samples is None else samples.read(self.folder / record.samples.file)

    def weights(self, record: Record) -> bytes:
        """The trained weights of a record, as safetensors.

        Raises:
            UserError: they were not kept, are not beside the record, or are not those that it names.
        """
        if record.weights is None:
            raise UserError(
                f"the weights of {record.trial} (record {record.id}) were not kept; run it with --keep weights"
            )
        path = self.folder / record.weights.file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"the weights of record {record.id} can't be read: {path}: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != record.weights.sha256:
            raise UserError(f"{path} was changed or swapped: its checksum is not the one that record {record.id} names")
        return content

    def series(self, record: Record, wanted: Callable[[str], bool] | None = None) -> dict[str, Series]:
        """The histories of a record; only the columns that are `wanted`, by name."""
        return history.read(self.folder / record.history.file, wanted)


@dataclass
class Records:
    """What was found in a folder."""

    records: list[Record] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)
    """Files that are no records, with the reason."""
