"""A plugin whose model fails in many ways, seen by every process started here; and ways to have jobs done."""

import os
import select
import textwrap
import time

import pytest

from rnnae_bench.sweeps.executors.base import Advanced, Ended, Lost
from rnnae_bench.sweeps.executors.job import Job, Plan, Setting

FAULTY = '''
import ctypes, os, re, resource, signal, subprocess, sys, time
import torch
from rnnae_bench.models.recurrent import RNN
from rnnae_bench.contracts.optimization import Optimization


class Faulty(RNN):
    """Misbehaves at optimiser step 20.

    Args:
        fault: In which way.
        note: A file that some of the ways write to.
    """

    def __init__(self, spec, hidden_size: int = 4, fault: str = "none", note: str = "",
                 optimization: Optimization = Optimization()) -> None:
        super().__init__(spec, hidden_size, optimization=optimization)
        self.fault, self.note, self.steps = fault, note, 0
        if fault == "fork when made":
            os.fork()
        if fault == "leave when made":
            sys.exit(3)
        if fault == "crash when made":
            ctypes.string_at(0)
        if fault == "kill when made" or fault == "kill when made once" and not os.path.exists(note):
            self._tell("killed")
            os.kill(os.getpid(), signal.SIGKILL)

    def training_loss(self, batch):
        self.steps += 1
        if self.steps == 20:
            getattr(self, "_" + self.fault.replace(" ", "_"))()
        return super().training_loss(batch)

    def _tell(self, text):
        with open(self.note, "w") as file:
            file.write(str(text) + "\\\\n")

    def _none(self): pass
    def _fork(self): os.fork()
    def _segfault(self): ctypes.string_at(0)
    def _abort(self): os.abort()
    def _exit(self):
        print("farewell", flush=True)
        os._exit(3)
    def _memory(self): raise MemoryError("too much")
    def _sleep(self): time.sleep(1000)
    def _kill(self): os.kill(os.getpid(), signal.SIGKILL)
    def _kill_once(self):
        if not os.path.exists(self.note):
            self._tell("killed")
            os.kill(os.getpid(), signal.SIGKILL)
    def _eat(self):
        eaten = []
        while True: eaten.append(bytearray(b"x" * 2**25))
    def _print(self):
        for _ in range(1000): print("x" * 1000); print("y" * 1000, file=sys.stderr)
    def _child(self):
        self._tell(subprocess.Popen(["sleep", "1000"]).pid)
        time.sleep(1000)
    def _wait_once(self):
        if not os.path.exists(self.note):
            self._tell("waiting")
            time.sleep(1000)
    def _hold_the_interpreter(self):
        self._tell(os.getpid())
        re.match(r"(a+)+$", "a" * 60 + "b")
    def _leak(self):
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(2)
        os.environ["RNNAE_BENCH_LEAKED"] = "1"
        os.chdir("/")
        raise RuntimeError("left a mess")
'''

INFORMATION = "Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n"
POINTS = "[rnnae_bench.models]\nfaulty = faulty_plugin:Faulty\n"


@pytest.fixture(scope="session", autouse=True)
def faulty_plugin(tmp_path_factory):
    """The model ``faulty``, installed for the processes that the tests start."""
    site = tmp_path_factory.mktemp("site")
    (site / "faulty_plugin.py").write_text(textwrap.dedent(FAULTY).replace("\\\\n", "\\n"))
    information = site / "faulty-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(INFORMATION)
    (information / "entry_points.txt").write_text(POINTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
        yield site


@pytest.fixture(scope="session")
def setting():
    """A function that makes a setting of the faulty model, on a task of so many steps."""

    def make(fault: str = "none", note="", steps: int = 40, **trainer) -> Setting:
        return Setting(
            "copy:smoke",
            "faulty",
            {
                "task": {"protocol": {"max_steps": steps, "evaluate_every": 10}},
                "model": {"fault": fault, "note": str(note)},
                **({"trainer": trainer} if trainer else {}),
            },
        )

    return make


@pytest.fixture(scope="session")
def job_of():
    """A function that makes a job of one trial, or of several, from what an executor plans."""

    def make(executor, setting: Setting, seeds=(0,), **options) -> Job:
        plan = executor.plan(setting, seeds)
        assert isinstance(plan, Plan), plan
        return Job(plan.setting, plan.trials, plan.draft, ("test",), devices=plan.devices, **options)

    return make


@pytest.fixture(scope="session")
def ends_of():
    """A function that has an executor do jobs, as many at once as it has room for, and gives their ends by name."""

    def finish(executor, jobs, patience: float = 120.0) -> dict[str, Ended | Lost]:
        waiting, ends = list(jobs), {}
        deadline = time.monotonic() + patience
        while len(ends) < len(jobs):
            assert time.monotonic() < deadline, f"unfinished: {[job.name for job in jobs if job.name not in ends]}"
            while waiting and executor.has_room(waiting[0]):
                executor.submit(waiting.pop(0))
            for event in executor.events(5.0):
                if not isinstance(event, Advanced):
                    assert event.job not in ends
                    ends[event.job] = event
        return ends

    return finish


@pytest.fixture(scope="session")
def is_gone():
    """A function that waits for a process to end, and says whether it did."""

    def wait(pid: int, patience: float = 20.0) -> bool:
        try:
            watch = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            return bool(select.select([watch], [], [], patience)[0])
        finally:
            os.close(watch)

    return wait
