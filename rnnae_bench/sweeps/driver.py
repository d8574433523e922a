"""Runs the trials of a sweep until each has its record, whatever happens to those who work for it."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from rnnae_bench.records.record import Failure, Record
from rnnae_bench.records.store import Store
from rnnae_bench.sweeps.executors.base import Advanced, Ended, Executor, Lost
from rnnae_bench.sweeps.executors.job import Job
from rnnae_bench.sweeps.leases import Leases
from rnnae_bench.sweeps.queue import Candidate, Queue, job_of
from rnnae_bench.trial.interruption import Interruption, Interruptions, interruption_in

_LOOK_SECONDS = 0.5
"""The longest wait for an event before the driver looks at the rest of the world."""

_ELSEWHERE_SECONDS = 2.0
"""Between two checks of a trial that another sweep is working on."""


@runtime_checkable
class Watcher(Protocol):
    """Is told what happens in a sweep."""

    def checks(self, done: int, settings: int) -> None:
        """So many of the settings are checked."""

    def notes(self, line: str) -> None:
        """Something worth knowing before the trials begin."""

    def expects(self, steps: Mapping[str, int], done: Sequence[Record], to_come: int = 0, steps_each: int = 0) -> None:
        """The trials begin.

        Args:
            steps: Optimiser steps of each trial that is to be run, by id.
            done: Records of the trials that need not be run.
            to_come: Trials that are not known by name yet, as in a search.
            steps_each: Optimiser steps of each of those.
        """

    def began(self, job: Job) -> None:
        """A job was started."""

    def advanced(self, job: Job, event: Advanced) -> None:
        """A job is being worked on."""

    def ended(self, record: Record, here: bool) -> None:
        """A trial has its record; by this sweep, or elsewhere."""

    def lost(self, job: Job, reason: str, again: bool) -> None:
        """A worker went away; whether the job will be tried again."""

    def waits(self, reason: str | None) -> None:
        """Why nothing is being started; None once that is over."""

    def tick(self) -> None:
        """Some time has passed."""


@dataclass(frozen=True)
class Terms:
    """What holds for every job of a sweep."""

    command: tuple[str, ...] = ()
    threads: int = 1
    time_limit: float | None = None
    loggers: tuple[str, ...] = ()
    retries: int = 3
    """How often a job whose worker was lost is tried again."""
    jobs: int = 1
    """How many jobs can run at once."""
    checkpoint_every: float | None = None
    keep_weights: bool = False


class Driver:
    """Brings waiting trials and an executor together.

    Args:
        queue: What waits.
        executor: Who runs it.
        store: Where the records go.
        leases: Entered; what other sweeps over the same folder know of this one.
        watcher: Is told everything.
        terms: What holds for every job.
    """

    def __init__(
        self, queue: Queue, executor: Executor, store: Store, leases: Leases, watcher: Watcher, terms: Terms
    ) -> None:
        self.queue, self.executor, self.store, self.leases = queue, executor, store, leases
        self.watcher, self.terms = watcher, terms
        self._running: dict[str, tuple[Job, Sequence[Candidate]]] = {}
        self._losses: Counter[str] = Counter()
        self._look_again: dict[str, float] = {}
        self._unwritten: dict[str, partial[Path]] = {}
        """Records that wait for the store to be writable again, by id: what writes each."""

    def run(self, refill: Callable[[], None] = lambda: None) -> None:
        """Run all that waits. On any exception (Ctrl-C, say), stop what runs and record it as interrupted.

        Args:
            refill: Called before each step; may put more into the queue.
        """
        try:
            refill()
            while self.queue.waiting or self._running or self._unwritten:
                self.step()
                refill()
        except BaseException as error:
            self._stop(error)
            raise

    def step(self) -> None:
        """Start what can be started, and see what happened."""
        self._write()
        if not self._unwritten:
            self._start()
        idle = not self._running
        for event in self.executor.events(_ELSEWHERE_SECONDS if idle else _LOOK_SECONDS):
            self._handle(event)
        self.watcher.tick()

    def _start(self) -> None:
        for identity, candidate in list(self.queue.waiting.items()):
            if identity not in self.queue.waiting or time.monotonic() < self._look_again.get(identity, 0.0):
                continue
            chosen = self.queue.alike(candidate, max(1, self.terms.jobs - len(self._running)))
            if not self.executor.has_room(self._job(chosen)):
                self.watcher.waits(None if self._running else "no worker has room for what is next")
                return
            try:
                mine = [one for one in chosen if self._acquire(one)]
            except OSError as error:
                self.watcher.waits(f"{self.store.folder} can't be written: {error.strerror}")
                return
            if not mine:
                continue
            job = self._job(mine)
            self.queue.take(mine)
            self._running[job.name] = (job, mine)
            self.executor.submit(job)
            self.watcher.began(job)
        self.watcher.waits("another sweep runs what is left" if self.queue.waiting and not self._running else None)

    def _job(self, chosen: Sequence[Candidate]) -> Job:
        terms = self.terms
        return job_of(
            chosen,
            command=terms.command,
            threads=terms.threads,
            time_limit=terms.time_limit,
            checkpoint_every=terms.checkpoint_every,
            keep_weights=terms.keep_weights,
            loggers=terms.loggers,
        )

    def _acquire(self, candidate: Candidate) -> bool:
        """Take the lease of a trial that nobody has finished."""
        if not self.leases.acquire(candidate.identity):
            self._look_again[candidate.identity] = time.monotonic() + _ELSEWHERE_SECONDS
            self._finished_elsewhere(candidate)
            return False
        if self._finished_elsewhere(candidate):
            self.leases.release(candidate.identity)
            return False
        return True

    def _finished_elsewhere(self, candidate: Candidate) -> bool:
        done = self.queue.look(candidate)
        if done:
            self.watcher.ended(self.queue.done[candidate.identity], here=False)
        return done

    def _handle(self, event: Advanced | Ended | Lost) -> None:
        if event.job not in self._running:
            return
        job, chosen = self._running[event.job]
        if isinstance(event, Advanced):
            self.watcher.advanced(job, event)
            return
        del self._running[event.job]
        self._take(event)
        if isinstance(event, Ended):
            return
        chosen = [one for one in chosen if one.identity not in self.queue.done.keys() | self._unwritten.keys()]
        self._losses[job.name] += 1
        again = self._losses[job.name] <= self.terms.retries
        self.watcher.lost(job, event.reason, again)
        if again:
            self.queue.put_back(chosen)
            return
        for member in (one.member for one in chosen):
            reason = f"the worker was lost {self._losses[job.name]} times, the last time: {event.reason}"
            failure = Failure(message=reason, step=None, traceback=None)
            draft = job.draft_of(member)
            self._unwritten[member.identity] = partial(self.store.close, member.identity, draft, "error", failure)
        self._write()

    def _take(self, event: Ended | Lost) -> None:
        """The records that an event brings."""
        for record in event.records:
            if record.id in event.rescued:
                self._unwritten[record.id] = partial(self._adopt, record, Path(event.rescued[record.id]))
            else:
                self._settle(record)

    def _adopt(self, record: Record, place: Path) -> Path:
        """Write a record that a worker could write elsewhere only."""
        there = Store(place.parent)
        weights = None if record.weights is None else there.weights(record)
        table = place.with_suffix(".parquet").read_bytes()
        return self.store.adopt(record, table, there.kept_samples(record), weights)

    def _write(self) -> None:
        """Write what waits for the store; nothing is started until that has been done."""
        for identity, write in list(self._unwritten.items()):
            try:
                path = write()
            except OSError as error:
                rescued = [each for each in self._unwritten.values() if each.func == self._adopt]
                kept = sorted({str(each.args[1].parent) for each in rescued})
                until = f"; until it can, what was measured is kept in {', '.join(kept)}" if kept else ""
                self.watcher.waits(f"{self.store.folder} can't be written: {error.strerror}{until}")
                return
            del self._unwritten[identity]
            record = self.store.find(identity)
            assert record is not None, path
            self._settle(record)

    def _settle(self, record: Record) -> None:
        self.queue.settle(record.id, record)
        self.leases.release(record.id)
        self.watcher.ended(record, here=True)

    def _stop(self, error: BaseException) -> None:
        wish = interruption_in(error)
        by = wish.name if isinstance(wish, Interruption) else "Ctrl-C" if wish else type(error).__name__
        failure = Failure(message=f"the sweep was stopped by {by}", step=None, traceback=None)
        with Interruptions():
            self.executor.close()
            for job, chosen in self._running.values():
                for member in job.trials:
                    self._close(member.identity, job.draft_of(member), failure)
                for one in chosen:
                    self.leases.release(one.identity)
            self._running.clear()

    def _close(self, identity: str, otherwise: Record, failure: Failure) -> None:
        """Record a trial that was stopped; where that can't be written, its draft stays."""
        with contextlib.suppress(OSError):
            self.store.discard_finished_draft(identity)
            # What has no draft has not begun, or has its record already.
            if identity in self.store.drafts.identities():
                self.store.close(identity, otherwise, "interrupted", failure)
