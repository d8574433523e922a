"""Sweeps under faults: what is left after workers, drivers and nodes were killed, disks filled, and clocks moved.

Each phase runs ``rnnae-bench sweep`` in processes of its own, over a folder of its own, breaks something at random
moments until all its sweeps have ended by themselves with exit code 0, and then looks at the folder.

    python benchmarks/faults/faults.py
    python benchmarks/faults/faults.py --phase driver --phase clocks --trials 100

Linux. Full and read-only disks are small file systems in memory, which only root can mount; the clock is moved with
libfaketime (Debian's package faketime). What this machine lacks is left out and said.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from rnnae_bench.records.store import DRAFTS, Store

LIMIT_SECONDS = 600.0
"""After this long a phase counts as hung."""

TAG = "RNNAE_BENCH_FAULTS"
"""Environment variable that marks all processes of a phase."""

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"

STEPS = 300
"""Optimiser steps of each trial: about a second, so that many a kill strikes in the midst of one."""

WORKER = "rnnae_bench.sweeps.executors.worker"


def grid(trials: int) -> list[str]:
    """The options of a sweep of so many trials, divisible by 4: two models in two sizes."""
    return [
        *("--task", f"copy:smoke[protocol.max_steps={STEPS},protocol.evaluate_every=100]"),
        *("--model", "rnn[hidden_size=[4,8]]", "--model", "gru[hidden_size=[4,8]]"),
        *("--seeds", str(trials // 4), "--accelerator", "cpu"),
    ]


def identities(trials: int) -> set[str]:
    """The ids that the trials of the grid must have."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "rnnae_bench", "sweep", *grid(trials), "--out", folder, "--dry-run", "--json"]
        plan = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {one["id"] for one in plan}


@dataclass
class Sweep:
    """One command, started again whenever it ends in any other way than with exit code 0."""

    options: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen | None = None
    starts: int = 0
    done: bool = False
    gave_up: int = 0
    """How often it ended by itself and was not done."""

    def tend(self) -> None:
        """Start it, or start it again, where that is due."""
        if self.process is not None and (code := self.process.poll()) is not None:
            self.done = code == 0
            self.gave_up += code > 0
            self.process = None
        if self.process is None and not self.done:
            with self.log.open("ab") as log:
                command = [sys.executable, "-m", "rnnae_bench", "sweep", *self.options]
                self.process = subprocess.Popen(command, env=os.environ | self.environment, stdout=log, stderr=log)
            self.starts += 1


@dataclass
class Phase:
    """Sweeps over one folder, and all that is told of them."""

    name: str
    folder: Path
    scratch: Path
    sweeps: list[Sweep]
    random: random.Random
    seconds_between_kills: float
    wanted: int
    kills: Counter[str] = field(default_factory=Counter)

    @property
    def finished(self) -> int:
        """Trials that have a record by now."""
        return len(list(self.folder.glob("*.json")))

    def processes(self, words: str = "") -> list[psutil.Process]:
        """The living processes of this phase with these words in their command line."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(TAG) == self.name and words in " ".join(process.cmdline()):
                    found.append(process)
        return found


Fault = Iterator[None]
"""Something that goes wrong again and again: each step of the iterator is a moment at which it may strike."""


def at_random(phase: Phase, strike: Callable[[], bool]) -> Fault:
    """Strike after random pauses; a strike that finds no target is tried again at the next moment."""
    while True:
        due = time.monotonic() + phase.random.expovariate(1 / phase.seconds_between_kills)
        while time.monotonic() < due or not strike():
            yield


def workers_killed(phase: Phase) -> Fault:
    """SIGKILL to a worker."""

    def strike() -> bool:
        alive = phase.processes(WORKER)
        if alive:
            phase.random.choice(alive).kill()
            phase.kills["workers"] += 1
        return bool(alive)

    return at_random(phase, strike)


def drivers_killed(phase: Phase) -> Fault:
    """SIGKILL to a sweep."""

    def strike() -> bool:
        alive = [one.process for one in phase.sweeps if one.process is not None and one.process.poll() is None]
        if alive:
            phase.random.choice(alive).kill()
            phase.kills["drivers"] += 1
        return bool(alive)

    return at_random(phase, strike)


def clocks_moved(phase: Phase, clocks: Sequence[Path]) -> Fault:
    """A sweep's clock, its workers' included, jumps to up to two hours from the right time."""

    def strike() -> bool:
        phase.random.choice(clocks).write_text(f"{phase.random.randint(-7200, 7200):+d}\n")
        phase.kills["clock jumps"] += 1
        return True

    return at_random(phase, strike)


def after_a_quarter(phase: Phase, seconds: float, begin: Callable[[], None], end: Callable[[], None]) -> Fault:
    """Break something once a quarter of the trials is done, and mend it after so many seconds."""
    while phase.finished < phase.wanted // 4:
        yield
    begin()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield
    end()
    while True:
        yield


def disk_full(phase: Phase, seconds: float) -> Fault:
    """Another file takes all the room there is."""
    filler = phase.folder.parent / "filler"

    def fill() -> None:
        phase.kills["disk full"] += 1
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    return after_a_quarter(phase, seconds, fill, filler.unlink)


def disk_read_only(phase: Phase, seconds: float) -> Fault:
    """The file system is mounted read-only, as it would be after an error of the disk."""

    def mount_as(mode: str) -> None:
        command = ["mount", "-o", f"remount,{mode}", str(phase.folder.parent)]
        # Refused while somebody is just writing.
        while subprocess.run(command, capture_output=True).returncode:
            time.sleep(0.01)

    def begin() -> None:
        phase.kills["read-only"] += 1
        mount_as("ro")

    return after_a_quarter(phase, seconds, begin, lambda: mount_as("rw"))


def nodes_killed(phase: Phase, cluster, nodes: list) -> Fault:
    """A node of a Ray cluster is killed, with all that runs on it; another joins."""

    def strike() -> bool:
        node = nodes.pop(phase.random.randrange(len(nodes)))
        cluster.remove_node(node, allow_graceful=False)
        phase.kills["nodes"] += 1
        nodes.append(cluster.add_node(num_cpus=1))
        return True

    return at_random(phase, strike)


@contextlib.contextmanager
def small_disk(scratch: Path) -> Iterator[Path]:
    """A folder on a file system of 2 MB that is there for this purpose."""
    place = scratch / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=True)
    try:
        runs = place / "runs"
        runs.mkdir()
        # Workers keep their logs open for writing, and a file system with such a file can't be made read-only.
        (scratch / "logs").mkdir()
        (runs / "logs").symlink_to(scratch / "logs")
        yield runs
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextlib.contextmanager
def ray_cluster() -> Iterator[tuple]:
    """A Ray cluster on this machine: a head that runs no trials, and two nodes of one CPU."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        yield cluster, [cluster.add_node(num_cpus=1) for _ in range(2)]
    finally:
        cluster.shutdown()


def reason_to_leave_out(name: str) -> str | None:
    """Why a phase can't be run here."""
    if name in ("full", "readonly") and os.geteuid() != 0:
        return "only root can mount a file system"
    if name == "clocks" and not Path(FAKETIME).exists():
        return "there is no libfaketime (apt-get install faketime)"
    return None


PHASES = ("workers", "driver", "two", "vectorized", "clocks", "full", "readonly", "ray")


@dataclass
class Found:
    """What a phase left behind."""

    ended: bool
    valid: int = 0
    torn: int = 0
    missing: int = 0
    """Trials without a record, and records that are not ``ok``."""
    strange: int = 0
    """Records of no trial of the grid."""
    repeated: int = 0
    leases: int = 0
    drafts: int = 0
    pieces: int = 0
    """Temporary files of writers that were killed."""
    orphans: int = 0
    """Processes that outlived their sweep."""

    @property
    def sound(self) -> bool:
        """Whether nothing is amiss."""
        amiss = (self.torn, self.missing, self.strange, self.repeated, self.leases, self.drafts)
        return self.ended and not any((*amiss, self.pieces, self.orphans))


def look(folder: Path, wanted: set[str], ended: bool) -> Found:
    """Examine a folder of records."""
    found = Found(ended)
    store = Store(folder)
    records = store.read()
    found.torn = len(records.unreadable)
    for record in records.records:
        table = folder / record.history.file
        if not table.exists() or hashlib.sha256(table.read_bytes()).hexdigest() != record.history.sha256:
            found.torn += 1
        elif record.status == "ok" and store.series(record)["loss"].steps[-1] == STEPS:
            found.valid += 1
    ids = [record.id for record in records.records]
    found.strange = len(set(ids) - wanted)
    found.missing = len(wanted) - found.valid - found.torn
    found.repeated = len(store.superseded())
    found.leases = len([*folder.glob("leases/*")])
    found.drafts = len([*folder.glob(f"{DRAFTS}/*")])
    found.pieces = len([*folder.glob(".*"), *folder.glob("*/.*")])
    return found


def run(name: str, options: argparse.Namespace, wanted: set[str], scratch: Path) -> tuple[Phase, Found, float]:
    """One phase, from its first sweep to the look at its folder."""
    with contextlib.ExitStack() as stack:
        environment = {TAG: name, "OMP_NUM_THREADS": "1"}
        arguments = [*grid(options.trials), "--workers", "2", "--retries", "1000"]
        arguments += ["--vectorize", "8" if name == "vectorized" else "off"]
        folder = stack.enter_context(small_disk(scratch)) if name in ("full", "readonly") else scratch / "runs"
        if name == "ray":
            os.environ[TAG] = name
            stack.callback(os.environ.pop, TAG)
            cluster, nodes = stack.enter_context(ray_cluster())
            arguments += ["--executor", "ray", "--ray-address", cluster.address]
        else:
            (scratch / "tmp").mkdir()
            environment["TMPDIR"] = str(scratch / "tmp")
        arguments += ["--out", str(folder)]
        # A start takes several times as long there, and a sweep that is killed before it has begun measures nothing.
        pause = options.seconds_between_kills * (4 if name == "ray" else 1)
        sweeps = []
        for number in range(2 if name in ("two", "clocks") else 1):
            own = dict(environment)
            if name == "clocks":
                (scratch / f"clock-{number}").write_text(("+1h\n", "-1h\n")[number])
                own |= {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(scratch / f"clock-{number}")}
                # A clock that is set moves neither the monotonic clock nor the times of files that were written before.
                own |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1", "FAKETIME_CACHE_DURATION": "1"}
            sweeps.append(Sweep(arguments, own, scratch / f"sweep-{number}.log"))
        phase = Phase(name, folder, scratch, sweeps, random.Random(f"{options.seed} {name}"), pause, len(wanted))
        faults: list[Fault] = []
        if name in ("workers", "vectorized", "ray"):
            faults.append(workers_killed(phase))
        if name in ("driver", "two", "vectorized", "clocks", "ray"):
            faults.append(drivers_killed(phase))
        if name == "clocks":
            faults.append(clocks_moved(phase, sorted(scratch.glob("clock-*"))))
        if name == "full":
            faults.append(disk_full(phase, 3 * options.seconds_between_kills))
        if name == "readonly":
            faults.append(disk_read_only(phase, 3 * options.seconds_between_kills))
        if name == "ray":
            faults.append(nodes_killed(phase, cluster, nodes))
        began = time.monotonic()
        ended = attend(phase, faults, began + LIMIT_SECONDS)
        seconds = time.monotonic() - began
        # What a sweep left running has had its time to notice.
        time.sleep(1.0)
        found = look(folder, wanted, ended)
        left = phase.processes(WORKER)
        found.orphans = len(left)
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if options.keep is not None:
            shutil.copytree(folder, options.keep / name, symlinks=True)
            for sweep in phase.sweeps:
                shutil.copy(sweep.log, options.keep / f"{name}-{sweep.log.name}")
        return phase, found, seconds


def attend(phase: Phase, faults: Sequence[Fault], deadline: float) -> bool:
    """Keep the sweeps running and the faults coming; whether all sweeps ended in time."""
    try:
        while not all(sweep.done for sweep in phase.sweeps):
            if time.monotonic() > deadline:
                return False
            for sweep in phase.sweeps:
                sweep.tend()
            for fault in faults:
                next(fault)
            time.sleep(0.05)
        return True
    finally:
        for sweep in phase.sweeps:
            if sweep.process is not None:
                sweep.process.kill()
                sweep.process.wait()


HEAD = (
    *("phase", "trials", "faults", "restarts", "gave up", "valid", "torn", "missing", "repeated"),
    *("leases", "drafts", "pieces", "orphans", "seconds"),
)


def row(phase: Phase, found: Found, seconds: float) -> tuple:
    """A phase's line of the table."""
    struck = ", ".join(f"{count} {kind}" for kind, count in phase.kills.items()) or "none"
    restarts = sum(sweep.starts - 1 for sweep in phase.sweeps)
    return (
        *(phase.name, phase.wanted, struck, restarts, sum(sweep.gave_up for sweep in phase.sweeps)),
        *(found.valid, found.torn, found.missing, found.repeated, found.leases, found.drafts),
        *(found.pieces, found.orphans, f"{seconds:.0f}" if found.ended else "hung"),
    )


def main() -> int:
    """Run the phases and print the table; 1 where anything is amiss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40, help="Trials of each phase, divisible by 4.")
    parser.add_argument("--phase", action="append", choices=PHASES, help="Which; several times for several.")
    parser.add_argument("--seed", type=int, default=0, help="Of the moments and targets of the faults.")
    parser.add_argument(
        "--seconds-between-kills", type=float, default=10.0, help="On average, of each kind; four times that under Ray."
    )
    parser.add_argument("--keep", type=Path, help="Folder for a copy of what each phase left, and of what was printed.")
    options = parser.parse_args()
    if options.trials < 4 or options.trials % 4:
        parser.error(f"--trials is {options.trials}; give a multiple of 4")
    # What is mounted and running is cleaned up then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    wanted = identities(options.trials)
    print(f"| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}", flush=True)
    sound = True
    for name in options.phase or PHASES:
        reason = reason_to_leave_out(name)
        if reason is not None:
            print(f"{name}: left out: {reason}", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory(prefix=f"rnnae-bench-faults-{name}-") as scratch:
            phase, found, seconds = run(name, options, wanted, Path(scratch))
        print(f"| {' | '.join(map(str, row(phase, found, seconds)))} |", flush=True)
        sound = sound and found.sound
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
