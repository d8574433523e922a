"""Trials on a Ray cluster: each job is a Ray task, which drives a worker process on whatever node it comes to."""

import contextlib
import logging
import os
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import convert, to_builtins

from rnnae_bench.errors import UserError, missing_extra, require_not_negative, require_positive
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import DRAFTS, Store
from rnnae_bench.sweeps.executors.base import Advanced, Ended, Event, Lost
from rnnae_bench.sweeps.executors.death import Death, Watched
from rnnae_bench.sweeps.executors.job import Job, Plan, Refusal, Setting, job_from, plan_from
from rnnae_bench.sweeps.executors.process import FLUSH_SECONDS, Run, WorkerProcess, plan_in
from rnnae_bench.trial import environment

try:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    raise missing_extra("--executor ray", "Ray", "ray") from error

CONNECT_SECONDS = 10.0
"""How long a cluster's address may take to answer."""

RETRIES = 3
"""How often Ray starts a task again whose worker or node was lost."""

_POLL_SECONDS = 0.5
"""Between two checks of how far the jobs have come."""


class RayExecutor:
    """Runs jobs on a Ray cluster, each as a task with its share of CPUs and GPUs.

    The task's worker process writes its records to a temporary folder on its node; their content comes back as the
    task's result and is written to the store here, so that the nodes need share no disk with this machine.

    Args:
        store_folder: Where the records go.
        address: ``HOST:PORT`` of a cluster, ``auto`` for the one on this machine; None starts one on this machine
            that ends with this process.
        threads: CPU threads of each trial, and of each device of a trial on several.
        gpus_per_trial: The share of a GPU that a trial may have; 0 for trials on the CPU, as all are where the cluster
            has no GPU.
        flush_every: Seconds between two drafts of a running trial's record.

    Raises:
        UserError: nothing answers at that address, or the cluster has not what one trial needs.
    """

    def __init__(
        self,
        store_folder: Path,
        address: str | None,
        threads: int,
        gpus_per_trial: float = 0.0,
        flush_every: float = FLUSH_SECONDS,
    ) -> None:
        require_positive(threads=threads)
        require_not_negative(gpus_per_trial=gpus_per_trial)
        self._store, self._threads, self._flush_every = Store(store_folder), threads, flush_every
        self._gpus_per_trial = gpus_per_trial
        self._jobs: dict[ray.ObjectRef, Job] = {}
        _connect(address)
        there = _resources()
        if not there.get("GPU"):
            self._gpus_per_trial = 0.0
        for name, amount in self._needs(1).items():
            if amount > there.get(name, 0):
                ray.shutdown()
                raise UserError(f"a trial needs {amount:g} {name}, the Ray cluster has {there.get(name, 0):g} in all")
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._board: Any = ray.remote(_Board).options(num_cpus=0, scheduling_strategy=here).remote()
        self._looked = 0.0

    def _needs(self, devices: int) -> dict[str, float]:
        """Resources of a task, by Ray's names."""
        gpus = self._gpus_per_trial
        return {"CPU": float(self._threads * devices), "GPU": float(devices) if gpus and devices > 1 else gpus}

    def _task(self, function: Any, devices: int) -> Any:
        needs = self._needs(devices)
        # Every failure that Ray itself retries is a lost worker or node: our own function raises nothing.
        return ray.remote(function).options(num_cpus=needs["CPU"], num_gpus=needs["GPU"], max_retries=RETRIES)

    @property
    def slots(self) -> int:
        """How many trials on one device can run at once, as the cluster is now."""
        there = _resources()
        return int(min(there.get(name, 0) / amount for name, amount in self._needs(1).items() if amount))

    def has_room(self, job: Job) -> bool:
        """Whether `submit` would start this job now."""
        there = _resources()
        taken = [self._needs(one.devices) for one in self._jobs.values()]
        return all(
            sum(one[name] for one in taken) + amount <= there.get(name, 0)
            for name, amount in self._needs(job.devices).items()
        )

    def submit(self, job: Job) -> None:
        """Start a job, or have Ray start it as soon as there is room."""
        for member in job.trials:
            with contextlib.suppress(OSError):
                self._store.clear(member.identity)
        reference = self._task(_run, job.devices).remote(job.as_dict(), self._flush_every, self._threads, self._board)
        self._jobs[reference] = job

    def plan(self, setting: Setting, seeds: Sequence[int], data_seed: int | None = None) -> Plan | Refusal:
        """Check a setting on a node, as `rnnae_bench.sweeps.executors.planning.plan` does; waits for it."""
        devices = setting.overrides.get("trainer", {}).get("devices", 1)
        task = self._task(_plan, devices if isinstance(devices, int) and devices > 0 else 1)
        try:
            return plan_from(ray.get(task.remote(to_builtins(setting), list(seeds), data_seed, self._threads)))
        except ray.exceptions.RayError as error:
            return Refusal(setting, f"{setting.model} on {setting.task} can't be checked: {_reason(error)}")

    def events(self, timeout: float) -> Sequence[Event]:
        """What happened since the last call; waits up to so many seconds for the first."""
        deadline = time.monotonic() + timeout
        while True:
            left = max(0.0, min(_POLL_SECONDS, deadline - time.monotonic()))
            if self._jobs:
                done, _ = ray.wait(list(self._jobs), num_returns=len(self._jobs), timeout=0)
                done = done or ray.wait(list(self._jobs), timeout=left)[0]
            else:
                done = []
                time.sleep(left)
            found = [*self._news(), *(self._finish(reference) for reference in done)]
            if found or time.monotonic() >= deadline:
                return found

    def _news(self) -> list[Event]:
        """How far the jobs have come."""
        if not self._jobs or time.monotonic() - self._looked < _POLL_SECONDS:
            return []
        self._looked = time.monotonic()
        try:
            posted: dict[str, Any] = ray.get(self._board.take.remote(), timeout=_POLL_SECONDS)
        except ray.exceptions.RayError:
            return []
        running = {job.name for job in self._jobs.values()}
        return [Advanced(name, *news) for name, news in posted.items() if name in running]

    def _finish(self, reference: "ray.ObjectRef") -> Event:
        """Take what a task brought back."""
        job = self._jobs.pop(reference)
        try:
            brought = ray.get(reference)
        except ray.exceptions.OutOfMemoryError as error:
            # Ray's own guard struck, before the kernel's.
            return Watched.begin(self._store, job).close(Death(-9, _reason(error), out_of_memory=True))
        except ray.exceptions.RayError as error:
            return Lost(job.name, _reason(error))
        places = {record.id: _keep(self._store, record, table) for record, table in brought["records"]}
        rescued = {identity: str(place) for identity, place in places.items() if place is not None}
        for name, content in brought["files"].items():
            target = self._store.folder / name
            # Pictures and copies for loggers: what they show is in the record.
            with contextlib.suppress(OSError):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        records = tuple(record for record, _ in brought["records"])
        if brought["lost"] is not None:
            return Lost(job.name, brought["lost"], records, rescued)
        return Ended(job.name, records, rescued)

    def close(self) -> None:
        """Stop all that runs, at once, and leave the cluster."""
        for reference in self._jobs:
            ray.cancel(reference, force=True)
        self._jobs.clear()
        ray.shutdown()


def _connect(address: str | None) -> None:
    """Join a cluster, or start one here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Tasks without a GPU keep CUDA_VISIBLE_DEVICES as it is: what Ray is going to do, and warns of otherwise.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {"address": "local", "include_dashboard": False, "num_cpus": environment.cores()}
    else:
        _require_reachable(address)
        options["address"] = address
    try:
        ray.init(**options)
    except Exception as error:
        raise UserError(f"no Ray cluster at {address or 'this machine'}: {_reason(error)}") from error


def _resources() -> dict[str, float]:
    """What the cluster has in all, by Ray's names."""
    return ray.cluster_resources()


def _require_reachable(address: str) -> None:
    """Raise `UserError` where nothing listens there; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        if address == "auto":
            return
        raise UserError(f"'{address}' is no address of a Ray cluster; give HOST:PORT, or auto for the one started here")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"no Ray cluster answers at {address}: {error.strerror or error}; start one with 'ray start --head'"
        ) from error


def _reason(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{type(error).__name__}: {lines[0]}"


def _keep(store: Store, record: Record, table: bytes) -> Path | None:
    """Write a record that came from a node; where that fails, elsewhere: then its file there."""
    try:
        store.adopt(record, table)
    except OSError:
        return Store(Path(tempfile.mkdtemp(prefix="rnnae-bench-"))).adopt(record, table)
    return None


class _Board:
    """Where tasks post how far they have come; an actor beside the driver."""

    def __init__(self) -> None:
        self._news: dict[str, tuple[int, float | None]] = {}

    def post(self, job: str, step: int, value: float | None) -> None:
        self._news[job] = (step, value)

    def take(self) -> dict[str, tuple[int, float | None]]:
        news, self._news = self._news, {}
        return news


class _Warm:
    """The worker process of this Ray worker process, kept from one task to the next, so that torch is imported once."""

    process: WorkerProcess | None = None
    terms: tuple[int, str | None] | None = None


def _worker(threads: int, fresh: bool = False) -> WorkerProcess:
    """A living worker process with the devices that Ray gave to this task."""
    log = Path(tempfile.gettempdir()) / f"rnnae-bench-worker-{os.getpid()}.log"
    if fresh:
        return WorkerProcess(log, threads)
    terms = threads, os.environ.get("CUDA_VISIBLE_DEVICES")
    if _Warm.process is None or _Warm.process.died() or terms != _Warm.terms:
        if _Warm.process is not None:
            _Warm.process.close()
        _Warm.process, _Warm.terms = WorkerProcess(log, threads), terms
    return _Warm.process


def _plan(setting: dict[str, Any], seeds: list[int], data_seed: int | None, threads: int) -> dict[str, Any]:
    """On a node: check a setting."""
    from dataclasses import asdict

    return asdict(plan_in(lambda: _worker(threads), convert(setting, Setting), seeds, data_seed))


def _run(plain: dict[str, Any], flush_every: float, threads: int, board: Any) -> dict[str, Any]:
    """On a node: do a job, and bring back all that it wrote."""
    job = job_from(plain)
    worker = _worker(threads, fresh=job.devices > 1)
    with tempfile.TemporaryDirectory(prefix="rnnae-bench-") as name:
        run = Run(worker, job, Store(Path(name)), flush_every)
        try:
            end = None
            while end is None:
                run.wait()
                for event in run.advance():
                    if isinstance(event, Advanced):
                        board.post.remote(event.job, event.step, event.value)
                    else:
                        end = event
        finally:
            if job.devices > 1:
                worker.close()
        return {
            "lost": end.reason if isinstance(end, Lost) else None,
            "records": [(one, (Path(name) / one.history.file).read_bytes()) for one in end.records],
            "files": _others(Path(name)),
        }


def _others(folder: Path) -> dict[str, bytes]:
    """Pictures and loggers' files by their path in the folder: all but records, histories and drafts."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    kept = (path for path in files if path.parts[0] != DRAFTS and (len(path.parts) > 1 or path.suffix == ".png"))
    return {str(path): (folder / path).read_bytes() for path in kept}
