"""From a project on Weights & Biases: its runs' artifacts turned back into records."""

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnae_bench.errors import in_a_line
from rnnae_bench.leaderboard.trackers.wandb_client import plain_errors
from rnnae_bench.leaderboard.trackers.wandb_run import CHECKSUM, JOB_TYPE, RECORD_TYPE
from rnnae_bench.records import history
from rnnae_bench.records.document import LARGEST, checksum, document_of, load
from rnnae_bench.records.legible import printable
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store

_IDENTITY = re.compile(r"[0-9a-f]{16}")


@dataclass
class Pulled:
    """What became of a project's runs, by their ids."""

    written: list[str] = field(default_factory=list)
    """Records that are new in the store."""
    present: list[str] = field(default_factory=list)
    """Records that the store had, the same in every value."""
    differing: dict[str, str] = field(default_factory=dict)
    """Records of which the store has another, left as it is; with the reason."""
    refused: dict[str, str] = field(default_factory=dict)
    """Runs whose artifact holds no record that can be trusted; with the reason."""
    without: list[str] = field(default_factory=list)
    """Runs without an artifact of ours: still running, or not from this suite."""

    @property
    def good(self) -> bool:
        """Whether everything that is a record is now in the store."""
        return not self.differing and not self.refused


def pull(api: Any, project: str, store: Store) -> Pulled:
    """Write the records of a project's runs into a store that they are missing from.

    What the store has already is not fetched again, and never overwritten.

    Args:
        api: W&B's public API, as from `connect`.
        project: ``ENTITY/PROJECT``.
        store: Where the records go.

    Raises:
        UserError: there is no such project, or the connection was lost; what was written until then stays.
    """
    pulled = Pulled()
    with plain_errors(f"pull from {project}"):
        for run in api.runs(project, per_page=200, lazy=False, include_sweeps=False):
            _take(run, store, pulled)
    return pulled


def _take(run: Any, store: Store, pulled: Pulled) -> None:
    stated = run.summary_metrics.get(CHECKSUM)
    here = store.find(run.id) if _IDENTITY.fullmatch(run.id) else None
    if here is not None and stated == checksum(document_of(here)):
        pulled.present.append(run.id)
        return
    artifact = next((one for one in run.logged_artifacts() if one.type == RECORD_TYPE and _is_latest(one)), None)
    if artifact is None:
        if run.job_type in (JOB_TYPE, None):
            pulled.without.append(run.id)
        return
    with tempfile.TemporaryDirectory(prefix="rnnae-bench-") as folder:
        try:
            record, table = _fetch(artifact, Path(folder))
        except ValueError as error:
            pulled.refused[run.id] = printable(in_a_line(error))
            return
        known = store.find(record.id)
        if known is None and store.path(record.id).exists():
            pulled.differing[run.id] = f"{store.path(record.id)} is no record"
        elif known is None:
            try:
                store.adopt(record, table)
                pulled.written.append(run.id)
            except ValueError as error:
                pulled.refused[run.id] = printable(in_a_line(error))
        elif known == record:
            pulled.present.append(run.id)
        else:
            pulled.differing[run.id] = f"{store.path(record.id)} has another record of this trial"


def _is_latest(artifact: Any) -> bool:
    return "latest" in artifact.aliases


def _fetch(artifact: Any, folder: Path) -> tuple[Record, bytes]:
    """The record in an artifact and its histories' bytes; ValueError where they are not what they should be."""
    identity = str(artifact.name).partition(":")[0].removeprefix("record-")
    names = {f"{identity}.json": LARGEST, f"{identity}.parquet": history.LARGEST}
    entries = artifact.manifest.entries
    if set(entries) != set(names):
        raise ValueError(
            f"the artifact {artifact.name} should hold {' and '.join(names)}, but holds {_listed(entries)}"
        )
    for name, largest in names.items():
        # A reference could name any file of this machine, or any address.
        if entries[name].ref is not None:
            raise ValueError(f"{name} is a reference to {entries[name].ref}, not a file")
        if (entries[name].size or 0) > largest:
            raise ValueError(f"{name} has {entries[name].size:,} bytes, more than the {largest:,} that it may")
    json_file, table_file = (Path(artifact.get_entry(name).download(str(folder), skip_cache=True)) for name in names)
    record = load(json_file)
    if record.id != identity or record.history.file != f"{identity}.parquet":
        raise ValueError(f"the record's id is {record.id}, and its histories are in {record.history.file}")
    if artifact.metadata.get(CHECKSUM) != checksum(document_of(record)):
        raise ValueError("the record is not the one that was logged: its checksum does not fit")
    history.read_named(table_file, record.history.columns)
    return record, table_file.read_bytes()


def _listed(names: Any) -> str:
    names = list(names)
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
