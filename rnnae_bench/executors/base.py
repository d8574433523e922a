"""What every executor does: take jobs while it has room, and tell what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rnnae_bench.executors.job import Job


@dataclass(frozen=True)
class Advanced:
    """A job is being worked on."""

    job: str
    step: int
    """Optimiser step, from 1; 0 where the worker has just begun."""
    value: float | None
    """The primary metric at the last look at the validation set; the best of several trials."""


@dataclass(frozen=True)
class Ended:
    """All trials of a job have their records in the store."""

    job: str
    records: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Lost:
    """The worker went away through no fault of the job (killed from outside, a node lost); no record was written."""

    job: str
    reason: str


Event = Advanced | Ended | Lost


class Executor(Protocol):
    """Runs jobs, several at once. Whatever a job does, it ends as `Ended` or `Lost` and never as an exception here."""

    def has_room(self, job: Job) -> bool:
        """Whether `submit` would start this job now."""

    def submit(self, job: Job) -> None:
        """Start a job."""

    def events(self, timeout: float) -> Sequence[Event]:
        """What happened since the last call; waits up to so many seconds for the first."""

    def close(self) -> None:
        """Stop all that runs, at once. What it measured lies in the store's drafts as of its last flush."""
