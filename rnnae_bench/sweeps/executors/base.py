"""What every executor does: take jobs while it has room, and tell what became of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from rnnae_bench.records.record import Record
from rnnae_bench.sweeps.executors.job import Job


@dataclass(frozen=True)
class Advanced:
    """A job is being worked on."""

    job: str
    step: int
    """Optimiser step, from 1; 0 where the worker has just begun."""
    value: float | None
    """The primary metric at the last evaluation on the validation set; the best of several trials."""


@dataclass(frozen=True)
class Ended:
    """All trials of a job have their records."""

    job: str
    records: tuple[Record, ...]
    rescued: Mapping[str, str] = field(default_factory=dict)
    """Where the store could not be written: by the trial's id, the file where its record lies instead, its histories
    beside it."""


@dataclass(frozen=True)
class Lost:
    """The worker went away through no fault of the job (killed from outside, a node lost); it may be tried again."""

    job: str
    reason: str
    records: tuple[Record, ...] = ()
    """Of those of its trials that were done before; the others have none."""
    rescued: Mapping[str, str] = field(default_factory=dict)
    """As of `Ended`."""


Event = Advanced | Ended | Lost


@runtime_checkable
class Executor(Protocol):
    """Runs jobs, several at once. Whatever a job does, it ends as `Ended` or `Lost` and never as an exception here."""

    @property
    def slots(self) -> int:
        """How many trials on one device can run at once."""

    def has_room(self, job: Job) -> bool:
        """Whether `submit` would start this job now."""

    def submit(self, job: Job) -> None:
        """Start a job."""

    def events(self, timeout: float) -> Sequence[Event]:
        """What happened since the last call; waits up to so many seconds for the first."""

    def close(self) -> None:
        """Stop all that runs, at once. What it measured lies in the store's drafts as of its last flush."""
