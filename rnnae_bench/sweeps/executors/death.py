"""How a worker process died, and what that makes of its job's trials."""

import contextlib
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rnnae_bench.records.record import Failure, Record, Status
from rnnae_bench.records.store import Store
from rnnae_bench.sweeps.executors.base import Ended, Lost
from rnnae_bench.sweeps.executors.job import Job

CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE, signal.SIGSYS, signal.SIGTRAP)
"""Signals that a process brings upon itself."""

_FATAL = "Fatal Python error"
"""How the report of a crash begins that Python's faulthandler leaves in the log."""


@dataclass(frozen=True)
class Death:
    """The end of a worker process.

    Args:
        code: As `subprocess.Popen.returncode`: exit code, or minus the signal's number.
        log: The end of what it printed while at the job.
        out_of_memory: Whether the kernel's out-of-memory killer struck in its control group meanwhile.
        timed_out: Whether it was killed for its time limit.
    """

    code: int
    log: str = ""
    out_of_memory: bool = False
    timed_out: bool = False

    def description(self) -> str:
        """How it died, in a few words."""
        if self.code >= 0:
            return f"the worker process left with exit code {self.code}"
        name = signal.Signals(-self.code).name if -self.code in set(signal.Signals) else f"signal {-self.code}"
        return f"the worker process was ended by {name}"

    @property
    def from_outside(self) -> bool:
        """Whether something killed it that has nothing to do with what it did, as far as can be known."""
        return self.code < 0 and -self.code not in CRASHES and not self.out_of_memory and not self.timed_out

    def verdict(self, job: Job) -> tuple[Status, str] | None:
        """Status and message for the records of the job's trials; None where the job is not to blame."""
        if self.timed_out:
            assert job.time_limit is not None
            several = f" for {len(job.trials)} trials trained as one" if len(job.trials) > 1 else ""
            return "timeout", f"stopped after {job.time_limit * len(job.trials):g} s, the time limit{several}"
        if self.code >= 0 or -self.code in CRASHES:
            return "error", self.description()
        if self.out_of_memory:
            return "oom", f"out of memory: {self.description()}, by the kernel"
        # Where one process of a trial on several devices crashes, Lightning kills the others.
        if job.devices > 1 and _FATAL in self.log:
            return "error", f"one of its processes crashed, and {self.description()}"
        return None


@dataclass(frozen=True)
class Watched:
    """The store's records of a job's trials as they were before it began.

    Args:
        store: Where they lie.
        job: The job.
        before: Inode and time of change of each record's file; None where there was none.
    """

    store: Store
    job: Job
    before: Mapping[str, tuple[int, int] | None]

    @classmethod
    def begin(cls, store: Store, job: Job) -> "Watched":
        """Note what is there, and remove what an earlier attempt left."""
        for member in job.trials:
            with contextlib.suppress(OSError):
                store.clear(member.identity)
        return cls(store, job, {member.identity: _stamp(store.path(member.identity)) for member in job.trials})

    def written(self) -> dict[str, Record]:
        """The records that were written since, by id."""
        found = {}
        for identity, stamp in self.before.items():
            if _stamp(self.store.path(identity)) != stamp and (record := self.store.find(identity)):
                found[identity] = record
        return found

    def close(self, death: Death) -> Ended | Lost:
        """Write the records that the dead worker did not."""
        done = self.written()
        verdict = death.verdict(self.job)
        missing = [member for member in self.job.trials if member.identity not in done]
        if missing and verdict is None:
            return Lost(self.job.name, death.description(), tuple(done.values()))
        try:
            for member in missing:
                assert verdict is not None
                status, message = verdict
                self.close_one(
                    member.identity, status, Failure(message=message, step=None, traceback=death.log or None)
                )
        except OSError as error:
            reason = f"{death.description()}; {self.store.folder} could not be written: {error.strerror}"
            return Lost(self.job.name, reason, tuple(self.written().values()))
        records = self.written()
        return Ended(self.job.name, tuple(records[member.identity] for member in self.job.trials))

    def close_one(self, identity: str, status: Status, failure: Failure) -> None:
        """Write the record of a trial that could not write its own, from its last draft where there is one."""
        (member,) = (one for one in self.job.trials if one.identity == identity)
        self.store.close(identity, self.job.draft_of(member), status, failure)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def out_of_memory_kills() -> int:
    """How often the kernel's out-of-memory killer has struck in the control group of this process; 0 where unknown."""
    try:
        groups = Path("/proc/self/cgroup").read_text()
    except OSError:
        return 0
    for line in groups.splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            places = [f"/sys/fs/cgroup{group}/memory.events", "/sys/fs/cgroup/memory.events"]
        elif "memory" in controllers.split(","):
            places = [f"/sys/fs/cgroup/memory{group}/memory.oom_control", "/sys/fs/cgroup/memory/memory.oom_control"]
        else:
            continue
        for place in places:
            with contextlib.suppress(OSError):
                if counted := re.search(r"^oom_kill (\d+)$", Path(place).read_text(), re.MULTILINE):
                    return int(counted[1])
    return 0


def tail(log: int, start: int, limit: int = 8192) -> str:
    """The last bytes of an open file from `start` on, as text."""
    size = os.fstat(log).st_size
    begin = max(start if start <= size else 0, size - limit)
    return os.pread(log, size - begin, begin).decode(errors="replace").strip()
