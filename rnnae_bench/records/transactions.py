"""Writing a record and all that belongs to it, or nothing, whenever the process or the machine may stop."""

import contextlib
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace as changed

from rnnae_bench.records.attachments import PICTURES, SAMPLES, WEIGHTS, names_of
from rnnae_bench.records.document import encoded, load_if_readable, sealed
from rnnae_bench.records.files import copy_atomically, discard_temporaries, force_names, write_atomically
from rnnae_bench.records.record import Record

SUPERSEDED = "superseded"
"""Subfolder for records that a later run of the same trial replaced, a folder of records each."""


@dataclass(frozen=True)
class Transactions:
    """Writes into a folder of records, one record at a time.

    Whoever calls it is alone in the folder (`rnnae_bench.records.files.alone`).

    Args:
        folder: The folder.
    """

    folder: Path

    def commit(self, record: Record, table: bytes, attached: Sequence[bytes | None]) -> Path:
        """Write a record; an earlier one of the same trial is moved to the subfolder ``superseded``.

        Args:
            record: The record, sealed.
            table: Its histories.
            attached: Its samples and its weights; None where they are not at hand.

        Returns:
            Its file.

        Raises:
            OSError: there is no room for it, or the folder can't be written; what was there is there still.
        """
        target = self.folder / f"{record.id}.json"
        if target.exists():
            self._replace(target, record, table, attached)
        else:
            self._begin(target, record, table, attached)
        return target

    def recover(self) -> None:
        """Finish, or else undo, what killed processes began, and remove what they left."""
        discard_temporaries(self.folder)
        self._discard_unnamed()
        for kept in (self.folder / SUPERSEDED).glob("*/"):
            discard_temporaries(kept)
            if not any(kept.glob("*.json")):
                shutil.rmtree(kept)
        for histories in self.folder.glob("*.parquet"):
            if not histories.with_suffix(".json").exists() and histories.stem[8:] == _digest(histories.read_bytes()):
                self._settle(histories)

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
        # The record stands by now; what can't be done here is left to `recover`.
        with contextlib.suppress(OSError):
            for file in before:
                if file not in (target, aside) and not file.name.endswith((SAMPLES, WEIGHTS)):
                    file.unlink(missing_ok=True)
            self._discard_unnamed(target.stem)
            self._name_as_usual(target, record)

    def _write_attached(self, record: Record, attached: Sequence[bytes | None]) -> None:
        for named, content in zip((record.samples, record.weights), attached, strict=False):
            if named is not None and content is not None:
                write_atomically(self.folder / named.file, content)

    def _name_as_usual(self, target: Path, record: Record) -> None:
        """Give the histories of a record that lie aside the record's name."""
        aside = self.folder / _aside(record)
        copy_atomically(aside, target.with_suffix(".parquet"))
        write_atomically(target, encoded(record))
        aside.unlink()

    def _settle(self, aside: Path) -> None:
        """Finish, or else undo, a replacement that was cut short, given where it put the new histories."""
        records = [load_if_readable(path) for path in self.folder.glob(f"{aside.stem[:8]}*.json")]
        if not records or None in records:
            # Its record can't be read: whose they are is not known.
            return
        named = next((one for one in records if one and one.history.file == aside.name), None)
        if named is None:
            aside.unlink(missing_ok=True)
        else:
            self._name_as_usual(self.folder / f"{named.id}.json", _naming(named, f"{named.id}.parquet"))

    def _supersede(self, target: Path, files: Sequence[Path]) -> None:
        """Give the files of a record a second name in a folder of their own, the record's last."""
        kept = self.folder / SUPERSEDED / f"{target.stem}-{_digest(target.read_bytes())}"
        kept.mkdir(parents=True, exist_ok=True)
        for file in files:
            copy_atomically(file, kept / file.name)
        force_names(kept)
        force_names(kept.parent)

    def _files_of(self, target: Path) -> list[Path]:
        """What there is of a record: its pictures, the files that it names, and last the record itself."""
        record = load_if_readable(target)
        named = [target.with_suffix(".parquet").name] if record is None else names_of(record)
        pictures = [target.with_suffix(suffix) for suffix in PICTURES]
        files = [*pictures, *(self.folder / name for name in named), target]
        return [file for file in files if file.exists()]

    def _discard_unnamed(self, start: str = "") -> None:
        """Remove samples and weights that no record names, since its writing was cut short.

        Args:
            start: What the names of their records begin with.
        """
        for path in [one for suffix in (SAMPLES, WEIGHTS) for one in self.folder.glob(f"{start[:8]}*{suffix}")]:
            records = [load_if_readable(one) for one in self.folder.glob(f"{path.name[:8]}*.json")]
            if None not in records and all(path.name not in names_of(one) for one in records if one):
                path.unlink(missing_ok=True)


def _naming(record: Record, file: str) -> Record:
    """The same record, with its histories in another file."""
    return sealed(changed(record, history=changed(record.history, file=file)))


def _aside(record: Record) -> str:
    """Where the histories of a record lie while it takes another's place: named after both, as the schema allows."""
    return f"{record.id[:8]}{record.history.sha256[:8]}.parquet"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
