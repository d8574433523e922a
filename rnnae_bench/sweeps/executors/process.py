"""A worker process as its parent sees it: started, spoken to, killed; and a job in it, from its start to its end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

from msgspec import convert, to_builtins

from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store
from rnnae_bench.sweeps.executors.base import Advanced, Ended, Event, Lost
from rnnae_bench.sweeps.executors.death import Death, Watched, out_of_memory_kills, tail
from rnnae_bench.sweeps.executors.job import Job, Plan, Refusal, Setting, plan_from
from rnnae_bench.trial.launchers import is_of_launcher

START_SECONDS = 300.0
"""How long a worker may take to start and import everything."""

PLAN_SECONDS = 600.0
"""How long the check of one setting may take."""

FLUSH_SECONDS = 10.0
"""Between two drafts of a running trial's record."""

PLAN_ATTEMPTS = 4
"""In how many workers the check of a setting is tried, where they are killed from outside."""

LOG_BYTES = 4 * 2**20
"""A log that has grown beyond this is emptied before the next job."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Killed(Exception):
    """A worker process was ended by something that has nothing to do with what it did."""


class WorkerProcess:
    """A process that plans settings and runs jobs, one at a time; it dies with the one that made it.

    It has a session of its own, so that Ctrl-C in the terminal does not reach it, and takes along all that trials
    started, but for what has left its process group.

    Args:
        log: File for what it prints; taken elsewhere where this one can't be written.
        threads: CPU threads of each computation.
        cores: The logical processors that it is to keep to; None for all.
        visible_gpus: What CUDA_VISIBLE_DEVICES is to be; None leaves it as it is.
    """

    def __init__(
        self, log: Path, threads: int = 1, cores: Sequence[int] | None = None, visible_gpus: str | None = None
    ) -> None:
        self._log = _open_log(log)
        self._log_start = 0
        self._kills_before = 0
        self._silent = False
        environment = {key: value for key, value in os.environ.items() if not is_of_launcher(key)}
        environment |= dict.fromkeys(_THREADS, str(threads))
        # The current folder is not to be imported from, here or in the processes of a trial on several devices.
        environment |= {"PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", "MPLBACKEND": "Agg"}
        if visible_gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = visible_gpus
        self.channel, theirs = Pipe()
        lifeline, self._lifeline = os.pipe()
        command = [sys.executable, "-m", "rnnae_bench.sweeps.executors.worker"]
        command += [f"--channel={theirs.fileno()}", f"--lifeline={lifeline}"]
        if cores is not None:
            command.append(f"--cores={','.join(map(str, cores))}")
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env=environment,
                pass_fds=(theirs.fileno(), lifeline),
                start_new_session=True,
            )
        finally:
            theirs.close()
            os.close(lifeline)
        self._watch = os.pidfd_open(self._process.pid)

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its group."""
        return self._process.pid

    @property
    def waitables(self) -> tuple[Connection | int, ...]:
        """What `multiprocessing.connection.wait` finds ready when it has something to say, or has died."""
        return (self._watch,) if self._silent else (self.channel, self._watch)

    def send(self, request: dict[str, Any]) -> None:
        """Ask for something; what it prints from now on counts as of this request."""
        with contextlib.suppress(OSError):
            if os.fstat(self._log).st_size > LOG_BYTES:
                os.ftruncate(self._log, 0)
        self._log_start = os.fstat(self._log).st_size
        self._kills_before = out_of_memory_kills()
        # A worker that is dead can't be written to; that it is dead is found out by whoever asks what it did.
        with contextlib.suppress(OSError):
            self.channel.send_bytes(json.dumps(request).encode())

    def messages(self) -> Iterator[dict[str, Any]]:
        """What it has said by now."""
        try:
            while not self._silent and self.channel.poll():
                yield json.loads(self.channel.recv_bytes())
        except (EOFError, OSError):
            # It is about to end, or has.
            self._silent = True

    def died(self) -> bool:
        """Whether it has ended."""
        # Left to be reaped by `kill`, so that its group can't be another's by then.
        if self._process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self, timed_out: bool = False) -> Death:
        """End it, where it still lives, with all that it started; tells how it died.

        Args:
            timed_out: Whether that is for its time limit.
        """
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        return Death(
            self._process.returncode,
            tail(self._log, self._log_start),
            out_of_memory=out_of_memory_kills() > self._kills_before,
            timed_out=timed_out,
        )

    def close(self) -> None:
        """End it and let go of its files."""
        if self._lifeline >= 0:
            self.kill()
            self.channel.close()
            for descriptor in (self._lifeline, self._watch, self._log):
                os.close(descriptor)
            self._lifeline = -1

    def plan(self, setting: Setting, seeds: Sequence[int], data_seed: int | None) -> Plan | Refusal:
        """Check a setting in this process; a refusal that says how it died where it does not survive that.

        Raises:
            Killed: it died, and not of that.
        """
        request = {"setting": to_builtins(setting), "seeds": list(seeds), "data_seed": data_seed}
        self.send({"plan": request})
        deadline = time.monotonic() + PLAN_SECONDS
        while True:
            wait(self.waitables, max(0.0, deadline - time.monotonic()))
            dead = self.died()
            for message in self.messages():
                if "planned" in message:
                    return plan_from(message["planned"])
            if dead or time.monotonic() > deadline:
                death = self.kill()
                if dead and death.from_outside:
                    raise Killed(death.description())
                how = death.description() if dead else f"it took more than {PLAN_SECONDS:g} s"
                last = death.log.splitlines()[-1:] if dead else []
                return Refusal(
                    setting, ": ".join([f"{setting.model} on {setting.task} can't be checked: {how}", *last])
                )


def plan_in(
    worker: Callable[[], WorkerProcess], setting: Setting, seeds: Sequence[int], data_seed: int | None
) -> Plan | Refusal:
    """Check a setting in a worker process, and in another one where that is killed from outside.

    Args:
        worker: Gives a living one that has nothing else to do.
        setting: What to check.
        seeds: Of its trials.
        data_seed: Of their data; None for their own.
    """
    for _ in range(PLAN_ATTEMPTS):
        try:
            return worker().plan(setting, seeds, data_seed)
        except Killed as error:
            how = str(error)
    return Refusal(setting, f"{setting.model} on {setting.task} can't be checked, tried {PLAN_ATTEMPTS} times: {how}")


class Run:
    """A job in a worker process.

    Args:
        worker: The process; it must have nothing else to do.
        job: What it is to do.
        store: Where the records go.
        flush_every: Seconds between two drafts of the records.
    """

    _deadline: float | None

    def __init__(self, worker: WorkerProcess, job: Job, store: Store, flush_every: float = FLUSH_SECONDS) -> None:
        self.worker, self.job = worker, job
        self._watched = Watched.begin(store, job)
        self._began = False
        self._deadline = time.monotonic() + START_SECONDS
        folder = str(store.folder.absolute())
        self.worker.send({"run": {"job": job.as_dict(), "store": folder, "flush_every": flush_every}})

    @property
    def seconds_left(self) -> float | None:
        """Until it must be looked at again, whether the worker says something or not; None for ever."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def wait(self) -> None:
        """Until there is something to `advance`."""
        wait(self.worker.waitables, self.seconds_left)

    def advance(self) -> list[Event]:
        """What has happened since the last call, without waiting; `Ended` or `Lost` comes last, and once."""
        found: list[Event] = []
        # Asked before its messages are read, so that none of the dead are overlooked.
        dead = self.worker.died()
        for message in self.worker.messages():
            if "began" in message:
                self._begin()
                found.append(Advanced(self.job.name, 0, None))
            elif "advanced" in message:
                found.append(Advanced(self.job.name, **message["advanced"]))
            elif "ended" in message:
                if self.job.devices > 1:
                    self.worker.kill()
                records, rescued = message["ended"]["records"], message["ended"]["rescued"]
                return [*found, Ended(self.job.name, tuple(convert(records, list[Record])), rescued)]
        late = self.seconds_left == 0
        if late and not dead and not self._began:
            self.worker.kill()
            found.append(Lost(self.job.name, f"the worker did not start within {START_SECONDS:g} s"))
        elif dead or late:
            death = self.worker.kill(timed_out=not dead)
            found.append(self._watched.close(death))
        return found

    def _begin(self) -> None:
        self._began = True
        limit = self.job.time_limit
        self._deadline = None if limit is None else time.monotonic() + limit * len(self.job.trials)


def _open_log(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        descriptor, name = tempfile.mkstemp(prefix="rnnae-bench-worker-", suffix=".log")
        Path(name).unlink()
        return descriptor
