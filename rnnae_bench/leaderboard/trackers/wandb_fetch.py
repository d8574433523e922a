"""The record of one run on Weights & Biases: its artifact fetched and checked, as another user may have made it."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.leaderboard.trackers.wandb_client import parse_run, plain_errors
from rnnae_bench.leaderboard.trackers.wandb_run import CHECKSUM, JOB_TYPE, RECORD_TYPE
from rnnae_bench.records import history, samples
from rnnae_bench.records.document import LARGEST, checksum, document_of, load
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store


@dataclass(frozen=True)
class Fetched:
    """A record, and the bytes of what lies beside it."""

    record: Record
    table: bytes
    """The histories."""
    samples: bytes | None
    """None where the artifact has none."""

    def write(self, store: Store) -> Path:
        """Write it to a store.

        Raises:
            OSError: there is no room for it, or the folder can't be written.
            ValueError: the files are not those that the record names.
        """
        return store.adopt(self.record, self.table, self.samples)


def record_artifact(run: Any) -> Any | None:
    """The artifact in which a run has its record; None where it has none."""
    return next((one for one in run.logged_artifacts() if one.type == RECORD_TYPE and "latest" in one.aliases), None)


def fetch_run(api: Any, name: str, store: Store) -> Record:
    """Write the record of one run, histories and samples with it, to a store.

    Args:
        api: W&B's public API, as from `connect`.
        name: ``wandb:ENTITY/PROJECT/RUN``.
        store: Where it goes.

    Raises:
        UserError: the name has not that form, there is no such run, it is no trial, or it has no record that can be
            trusted; or the connection was lost.
    """
    path = parse_run(name)
    with plain_errors(f"read {name}"):
        run = api.run(path)
        artifact = record_artifact(run)
        if artifact is None:
            raise UserError(f"{name} has no record: {_without(run)}")
        try:
            fetched = fetch(artifact)
            fetched.write(store)
        except ValueError as error:
            raise UserError(f"the record of {name} can't be taken: {in_a_line(error)}") from error
        return fetched.record


def _without(run: Any) -> str:
    if run.job_type not in (JOB_TYPE, None):
        return f"it is no trial, but a run of job type {run.job_type}"
    if run.state == "running":
        return "it is still running"
    return "it is not from rnnae-bench, or ended before its record arrived ('leaderboard push' sends that later)"


def fetch(artifact: Any) -> Fetched:
    """What an artifact of `record_artifact` holds.

    Raises:
        ValueError: it is not what it should be: other files, too large, of another schema, or changed.
        wandb.errors.Error: W&B can't be reached, or refuses.
    """
    with tempfile.TemporaryDirectory(prefix="rnnae-bench-") as folder:
        return _fetch(artifact, Path(folder))


def _fetch(artifact: Any, folder: Path) -> Fetched:
    identity = str(artifact.name).partition(":")[0].removeprefix("record-")
    entries = artifact.manifest.entries
    document = f"{identity}.json"
    needed = {document: LARGEST, f"{identity}.parquet": history.LARGEST}
    if document not in entries:
        raise ValueError(f"the artifact {artifact.name} should hold {document}, but holds {_listed(entries)}")
    # First and alone: a record of another schema may have other files beside it.
    record = load(_download(artifact, document, LARGEST, folder))
    if record.id != identity or record.history.file not in needed:
        raise ValueError(f"the record's id is {record.id}, and its histories are in {record.history.file}")
    if artifact.metadata.get(CHECKSUM) != checksum(document_of(record)):
        raise ValueError("the record is not the one that was logged: its checksum does not fit")
    # Artifacts of before samples were sent have none.
    kept = {} if record.samples is None else {record.samples.file: samples.LARGEST}
    if not needed.keys() <= entries.keys() <= needed.keys() | kept.keys():
        raise ValueError(
            f"the artifact {artifact.name} should hold {' and '.join([*needed, *kept])}, but holds {_listed(entries)}"
        )
    table = _download(artifact, record.history.file, history.LARGEST, folder)
    try:
        history.read_named(table, record.history.columns)
    except OSError as error:
        raise ValueError(f"the histories in {table.name} can't be read: {in_a_line(error)}") from error
    content = None
    for name in entries.keys() & kept.keys():
        file = _download(artifact, name, samples.LARGEST, folder)
        samples.read(file)
        content = file.read_bytes()
    return Fetched(record, table.read_bytes(), content)


def _download(artifact: Any, name: str, largest: int, folder: Path) -> Path:
    entry = artifact.manifest.entries[name]
    # A reference could name any file of this machine, or any address.
    if entry.ref is not None:
        raise ValueError(f"{name} is a reference to {entry.ref}, not a file")
    if (entry.size or 0) > largest:
        raise ValueError(f"{name} has {entry.size:,} bytes, more than the {largest:,} that it may")
    return Path(artifact.get_entry(name).download(str(folder), skip_cache=True))


def _listed(names: Any) -> str:
    names = list(names)
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
