"""From projects on Weights & Biases: their runs' artifacts turned back into records."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rnnae_bench.errors import in_a_line
from rnnae_bench.leaderboard.trackers.wandb_client import plain_errors
from rnnae_bench.leaderboard.trackers.wandb_fetch import fetch, record_artifact
from rnnae_bench.leaderboard.trackers.wandb_run import CHECKSUM, JOB_TYPE
from rnnae_bench.records.document import checksum, document_of
from rnnae_bench.records.legible import printable
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store

_IDENTITY = re.compile(r"[0-9a-f]{16}")


@dataclass
class Pulled:
    """What became of a project's runs, by their ids."""

    project: str
    """``ENTITY/PROJECT``."""
    written: list[str] = field(default_factory=list)
    """Records that are new in the store."""
    present: list[str] = field(default_factory=list)
    """Records that the store had, the same in every value; of a project before this one, too."""
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


def pull(api: Any, projects: Sequence[str], store: Store) -> list[Pulled]:
    """Write the records of projects' runs into a store that they are missing from.

    What the store has already is not fetched again, and never overwritten: of two projects with different records of
    one trial, the first one's is taken.

    Args:
        api: W&B's public API, as from `connect`.
        projects: ``ENTITY/PROJECT``, each; one that comes twice is read once.
        store: Where the records go.

    Raises:
        UserError: there is no such project, and then nothing is written; or the connection was lost, and then what was
            written until then stays.
    """
    listed = {}
    for project in dict.fromkeys(projects):
        with plain_errors(f"pull from {project}"):
            listed[project] = api.runs(project, per_page=200, lazy=False, include_sweeps=False)
            # Asks for the first page of it.
            len(listed[project])
    found, origins = [], dict[str, str]()
    for project, runs in listed.items():
        pulled = Pulled(project)
        with plain_errors(f"pull from {project}"):
            for run in runs:
                _take(run, store, pulled, origins)
        origins |= dict.fromkeys(pulled.written, project)
        found.append(pulled)
    return found


def _take(run: Any, store: Store, pulled: Pulled, origins: dict[str, str]) -> None:
    stated = run.summary_metrics.get(CHECKSUM)
    here = store.find(run.id) if _IDENTITY.fullmatch(run.id) else None
    if here is not None and stated == checksum(document_of(here)):
        pulled.present.append(run.id)
        return
    artifact = record_artifact(run)
    if artifact is None:
        if run.job_type in (JOB_TYPE, None):
            pulled.without.append(run.id)
        return
    try:
        fetched = fetch(artifact)
        record = fetched.record
        known = store.find(record.id)
        if known is None and store.path(record.id).exists():
            pulled.differing[run.id] = f"{store.path(record.id)} is no record"
        elif known is None:
            fetched.write(store)
            pulled.written.append(run.id)
        elif known == record:
            pulled.present.append(run.id)
        else:
            origin = f" (from {origins[record.id]})" if record.id in origins else ""
            said = f"{store.path(record.id)}{origin} has another record of this trial"
            pulled.differing[run.id] = f"{said}: {_difference(known, record)}"
    except ValueError as error:
        pulled.refused[run.id] = printable(in_a_line(error))


def _difference(known: Record, record: Record) -> str:
    """Where two records of a trial differ, in words."""
    one, other = known.primary, record.primary
    if (one.metric, one.value) != (other.metric, other.value):
        return f"{one.metric} {one.value} there, {other.metric} {other.value} in the run"
    names = [name for name in known.__struct_fields__ if getattr(known, name) != getattr(record, name)]
    told = [name for name in names if name != "checksum"] or names
    return f"{one.metric} {one.value} in both, but not the same {', '.join(told)}"
