"""The folder of records: one JSON file a trial, its histories and its picture beside it."""

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from msgspec.structs import replace as changed

from rnnae_bench.errors import UserError
from rnnae_bench.records import history, samples
from rnnae_bench.records.checkpoints import Checkpoints
from rnnae_bench.records.document import encoded, load, require_unchanged, sealed
from rnnae_bench.records.drafts import Drafts, with_history
from rnnae_bench.records.files import (
    alone,
    copy_atomically,
    discard_temporaries,
    force_names,
    require_writable,
    write_atomically,
)
from rnnae_bench.records.history import Series
from rnnae_bench.records.privacy import publishable
from rnnae_bench.records.record import Attachment, Failure, Record, Status

DRAFTS = "drafts"
"""Subfolder for the records of trials that are running, as of their last flush."""

CHECKPOINTS = "checkpoints"
"""Subfolder for the states of trials that are running, from which a later run of the same trial goes on."""

SAMPLES = ".samples.npz"
"""How the names of files of samples end."""

WEIGHTS = ".safetensors"
"""How the names of files of weights end."""

SUPERSEDED = "superseded"
"""Subfolder for records that a later run of the same trial replaced, a folder of records each."""


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
            samples=_attachment(record.id, kept, SAMPLES),
            weights=_attachment(record.id, weights, WEIGHTS),
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
        if kept is not None and record.samples != _attachment(record.id, kept, SAMPLES):
            raise ValueError(f"the samples of record {record.id} are not those that it names")
        if weights is not None and record.weights != _attachment(record.id, weights, WEIGHTS):
            raise ValueError(f"the weights of record {record.id} are not those that it names")
        return self._write(record, table, kept, weights)

    def _write(self, record: Record, table: bytes, *attached: bytes | None) -> Path:
        try:
            require_unchanged(record)
        except ValueError as error:
            raise ValueError(f"record {record.id}: {error}") from None
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.path(record.id)
        with alone(self.folder):
            if target.exists():
                self._replace(target, record, table, attached)
            else:
                self._begin(target, record, table, attached)
        self.drafts.discard(record.id)
        return target

    def _begin(self, target: Path, record: Record, table: bytes, attached: Sequence[bytes | None]) -> None:
        """Write a record where there is none: its file, which names the others, last."""
        histories = target.with_suffix(".parquet")
        try:
            write_atomically(histories, table)
            self._write_attached(record, attached)
            write_atomically(target, encoded(record))
        except BaseException:
            if not target.exists():
                histories.unlink(missing_ok=True)
                self._discard_unnamed(target.stem)
            raise

    def _write_attached(self, record: Record, attached: Sequence[bytes | None]) -> None:
        for named, content in zip((record.samples, record.weights), attached, strict=False):
            if named is not None and content is not None:
                write_atomically(self.folder / named.file, content)

    def _discard_unnamed(self, start: str = "") -> None:
        """Remove samples and weights that no record names, since its writing was cut short.

        Args:
            start: What the names of their records begin with.
        """
        for path in [one for suffix in (SAMPLES, WEIGHTS) for one in self.folder.glob(f"{start[:8]}*{suffix}")]:
            records = [self.find(one.stem) for one in self.folder.glob(f"{path.name[:8]}*.json")]
            if None not in records and all(path.name not in _names_of(one) for one in records if one):
                path.unlink(missing_ok=True)

    def _replace(self, target: Path, record: Record, table: bytes, attached: Sequence[bytes | None]) -> None:
        """Put a record and its histories in the place of another one, all or nothing.

        The new histories go beside the old ones first, and the new record names them there: once its file is renamed,
        the new record stands; until then, the old one does. After that, the histories get their usual name. Samples and
        weights are named after what they hold, so that new ones never take the place of others.
        """
        before, aside = self._files_of(target), self.folder / _aside(record)
        try:
            write_atomically(aside, table)
            self._write_attached(record, attached)
            self._supersede(target, before)
            write_atomically(target, encoded(_naming(record, aside.name)))
        except BaseException:
            with contextlib.suppress(OSError):
                self._settle(aside)
                self._discard_unnamed(target.stem)
            raise
        # The record stands by now; what can't be done here is left to `tidy`.
        with contextlib.suppress(OSError):
            for file in before:
                if file not in (target, aside) and not file.name.endswith((SAMPLES, WEIGHTS)):
                    file.unlink(missing_ok=True)
            self._discard_unnamed(target.stem)
            self._name_as_usual(target, record)

    def _name_as_usual(self, target: Path, record: Record) -> None:
        """Give the histories of a record that lie aside the record's name."""
        aside = self.folder / _aside(record)
        copy_atomically(aside, target.with_suffix(".parquet"))
        write_atomically(target, encoded(record))
        aside.unlink()

    def _settle(self, aside: Path) -> None:
        """Finish, or else undo, a replacement that was cut short, given where it put the new histories."""
        records = [self.find(path.stem) for path in self.folder.glob(f"{aside.stem[:8]}*.json")]
        if not records or None in records:
            # Its record can't be read: whose they are is not known.
            return
        named = next((one for one in records if one and one.history.file == aside.name), None)
        if named is None:
            aside.unlink(missing_ok=True)
        else:
            self._name_as_usual(self.path(named.id), _naming(named, f"{named.id}.parquet"))

    def _supersede(self, target: Path, files: Sequence[Path]) -> None:
        """Give the files of a record a second name in a folder of their own, the record's last."""
        kept = self.folder / SUPERSEDED / f"{target.stem}-{_digest(target.read_bytes())}"
        kept.mkdir(parents=True, exist_ok=True)
        for file in files:
            copy_atomically(file, kept / file.name)
        force_names(kept)
        force_names(kept.parent)

    def _files_of(self, target: Path) -> list[Path]:
        """What there is of a record: its picture, the files that it names, and last the record itself."""
        try:
            named = _names_of(load(target))
        except (OSError, ValueError):
            named = [target.with_suffix(".parquet").name]
        files = [target.with_suffix(".png"), *(self.folder / name for name in named), target]
        return [file for file in files if file.exists()]

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
                discard_temporaries(self.folder)
                self._tidy_replacements()
        with contextlib.suppress(OSError), alone(self.drafts.folder) as is_alone:
            if is_alone:
                discard_temporaries(self.drafts.folder)
        self.checkpoints.tidy()
        for identity in self.drafts.identities():
            self.discard_finished_draft(identity)

    def _tidy_replacements(self) -> None:
        self._discard_unnamed()
        for kept in (self.folder / SUPERSEDED).glob("*/"):
            discard_temporaries(kept)
            if not any(kept.glob("*.json")):
                shutil.rmtree(kept)
        for histories in self.folder.glob("*.parquet"):
            if not histories.with_suffix(".json").exists() and histories.stem[8:] == _digest(histories.read_bytes()):
                self._settle(histories)

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
        try:
            return load(self.path(identity))
        except (OSError, ValueError):
            return None

    def kept_samples(self, record: Record) -> bytes | None:
        """The bytes of a record's samples; None where it has none, or they are not here, or are others."""
        if record.samples is None:
            return None
        path = self.folder / record.samples.file
        if not path.is_file() or path.stat().st_size > samples.LARGEST:
            return None
        content = path.read_bytes()
        return content if _attachment(record.id, content, SAMPLES) == record.samples else None

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


def _naming(record: Record, file: str) -> Record:
    """The same record, with its histories in another file."""
    return sealed(changed(record, history=changed(record.history, file=file)))


def _attachment(identity: str, content: bytes | None, suffix: str) -> Attachment | None:
    """How a record names samples or weights: after both, so that those of another run of the trial lie beside them."""
    if content is None:
        return None
    digest = hashlib.sha256(content).hexdigest()
    return Attachment(file=f"{identity[:8]}{digest[:8]}{suffix}", sha256=digest)


def _names_of(record: Record) -> list[str]:
    """The files that a record names."""
    return [one.file for one in (record.samples, record.weights, record.history) if one is not None]


def _aside(record: Record) -> str:
    """Where the histories of a record lie while it takes another's place: named after both, as the schema allows."""
    return f"{record.id[:8]}{record.history.sha256[:8]}.parquet"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


@dataclass
class Records:
    """What was found in a folder."""

    records: list[Record] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)
    """Files that are no records, with the reason."""
