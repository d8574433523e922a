"""Trials on this machine: worker processes, each with its own CPU threads and one device."""

import itertools
import os
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from pathlib import Path

from rnnae_bench.errors import require_positive
from rnnae_bench.records.store import Store
from rnnae_bench.sweeps.executors.base import Ended, Event, Lost
from rnnae_bench.sweeps.executors.job import Job, Plan, Refusal, Setting
from rnnae_bench.sweeps.executors.process import FLUSH_SECONDS, Run, WorkerProcess, plan_in


class LocalExecutor:
    """Runs jobs in worker processes of this machine, each started when first needed and kept for the next job.

    What workers print goes to ``logs/worker-PID-N.log`` in the store's folder, PID being this process.

    Args:
        store_folder: Where the records go.
        slots: How many single-device jobs run at once; fewer where the GPUs don't suffice.
        threads: CPU threads of each.
        gpus: The GPUs to use, as CUDA_VISIBLE_DEVICES names them; none for the CPU.
        gpus_per_trial: The share of a GPU that a trial may have; 0.25 puts four on one. 1 at most: a trial on
            several GPUs says so by its devices.
        flush_every: Seconds between two drafts of a running trial's record.
    """

    def __init__(
        self,
        store_folder: Path,
        slots: int,
        threads: int,
        gpus: Sequence[str] = (),
        gpus_per_trial: float = 1.0,
        flush_every: float = FLUSH_SECONDS,
    ) -> None:
        require_positive(slots=slots, threads=threads, gpus_per_trial=gpus_per_trial)
        self._store, self._threads, self._flush_every = Store(store_folder), threads, flush_every
        self._gpus = tuple(gpus)
        if gpus:
            slots = min(slots, int(1 / gpus_per_trial + 1e-9) * len(gpus))
        self._slots = range(slots)
        self._workers: dict[int, WorkerProcess] = {}
        self._runs: dict[tuple[int, ...], Run] = {}
        """What runs, by the slots that it occupies."""
        self._started = itertools.count()

    @property
    def slots(self) -> int:
        """How many trials on one device can run at once."""
        return len(self._slots)

    def warm_up(self) -> None:
        """Start all workers now: they import torch while the first checks the settings."""
        for slot in self._slots:
            self._worker(slot)

    def has_room(self, job: Job) -> bool:
        """Whether `submit` would start this job now."""
        return self._place_for(job) is not None

    def _free(self) -> list[int]:
        occupied = set(itertools.chain.from_iterable(self._runs))
        return [slot for slot in self._slots if slot not in occupied]

    def _place_for(self, job: Job) -> tuple[int, ...] | None:
        """Free slots for a job, each on another GPU; None where there are too few."""
        free = self._free()
        # A job that wants more processes than there are slots gets all of them.
        wanted = min(job.devices, len(self._slots))
        if self._gpus and job.devices > 1:
            free = list({slot % len(self._gpus): slot for slot in reversed(free)}.values())
            wanted = job.devices
        return tuple(sorted(free)[:wanted]) if len(free) >= wanted else None

    def submit(self, job: Job) -> None:
        """Start a job.

        Raises:
            RuntimeError: there is no room for it.
        """
        place = self._place_for(job)
        if place is None:
            raise RuntimeError(f"there is no room for job {job.name}")
        worker = self._start(place) if job.devices > 1 else self._worker(place[0])
        self._runs[place] = Run(worker, job, self._store, self._flush_every)

    def plan(self, setting: Setting, seeds: Sequence[int], data_seed: int | None = None) -> Plan | Refusal:
        """Check a setting in a worker, as `rnnae_bench.sweeps.executors.planning.plan` does; waits for it.

        Where it does not survive that, the refusal says so.
        """
        free = self._free()
        if free and len(self._gpus) < 2:
            return plan_in(lambda: self._worker(free[0]), setting, seeds, data_seed)
        return plan_in(self._planner, setting, seeds, data_seed)

    def events(self, timeout: float) -> Sequence[Event]:
        """What happened since the last call; waits up to so many seconds for the first."""
        deadline = time.monotonic() + timeout
        while True:
            found = [event for place in list(self._runs) for event in self._advance(place)]
            left = deadline - time.monotonic()
            if found or left <= 0:
                return found
            left = min([left, *(run.seconds_left for run in self._runs.values() if run.seconds_left is not None)])
            waitables = [one for run in self._runs.values() for one in run.worker.waitables]
            if waitables:
                wait(waitables, left)
            else:
                time.sleep(left)

    def _advance(self, place: tuple[int, ...]) -> list[Event]:
        run = self._runs[place]
        found = run.advance()
        if found and isinstance(found[-1], Ended | Lost):
            del self._runs[place]
            if run.job.devices > 1:
                run.worker.close()
        return found

    def close(self) -> None:
        """Stop all that runs, at once."""
        for worker in [*self._workers.values(), *(run.worker for run in self._runs.values())]:
            worker.close()
        self._workers.clear()
        self._runs.clear()

    def _worker(self, slot: int) -> WorkerProcess:
        """The living worker of a slot."""
        return self._living(slot, (slot,))

    def _planner(self) -> WorkerProcess:
        """A living worker that sees all GPUs, as it must for a trial on several."""
        return self._living(-1, tuple(range(len(self._gpus))))

    def _living(self, key: int, slots: tuple[int, ...]) -> WorkerProcess:
        worker = self._workers.get(key)
        if worker is not None and worker.died():
            worker.close()
            worker = None
        if worker is None:
            worker = self._workers[key] = self._start(slots)
        return worker

    def _start(self, slots: tuple[int, ...]) -> WorkerProcess:
        log = self._store.folder / "logs" / f"worker-{os.getpid()}-{next(self._started)}.log"
        visible = ",".join(self._gpus[slot % len(self._gpus)] for slot in slots) if self._gpus else ""
        return WorkerProcess(log, self._threads, self._cores(slots), visible)

    def _cores(self, slots: tuple[int, ...]) -> list[int] | None:
        """The logical processors of some slots; None, for all, unless the slots fill the machine.

        Where they don't, another sweep may run beside this one, and both would keep to the same processors.
        """
        if not hasattr(os, "sched_getaffinity"):
            return None
        cores = sorted(os.sched_getaffinity(0))
        if not len(cores) - self._threads < len(self._slots) * self._threads <= len(cores):
            return None
        return [core for slot in slots for core in cores[slot * self._threads : (slot + 1) * self._threads]]
