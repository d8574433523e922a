"""What a sweep shows while it runs, on a real (pseudo-)terminal and in a pipe."""

import fcntl
import io
import os
import pty
import re
import struct
import termios
import threading
from collections.abc import Iterator

import pytest
from rich.console import Console

from rnnae_bench.api.sweep_progress import SweepProgress
from rnnae_bench.sweeps.executors.base import Advanced
from rnnae_bench.sweeps.executors.job import Job, Member, Setting

FIRST, SECOND, THIRD = ("0" * 15 + digit for digit in "123")
STEPS = {FIRST: 400, SECOND: 400, THIRD: 400}


class Terminal:
    """A pseudo-terminal of 100 columns that is read all the time, as a real one is: else it fills up and blocks."""

    def __init__(self) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.file = os.fdopen(theirs, "w", encoding="utf-8")
        self._text, self._arrived = "", threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self.ours, 1 << 16).decode()
            except OSError:
                return
            with self._arrived:
                self._text += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", piece).replace("\r", "")
                self._arrived.notify()

    def shows(self, *wanted: str) -> None:
        """Wait until all these texts have arrived."""
        with self._arrived:
            arrived = self._arrived.wait_for(lambda: all(one in self._text for one in wanted), timeout=10)
            assert arrived, f"{wanted} did not arrive, but {self._text}"

    def close(self) -> None:
        self.file.close()
        self._reader.join()
        os.close(self.ours)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    one = Terminal()
    yield one
    one.close()


def job_for(make_record, *identities: str) -> Job:
    members = tuple(Member(one, seed, seed) for seed, one in enumerate(identities))
    overrides = {"model": {"hidden_size": 8}}
    draft = make_record(configuration={"task": {"protocol": {"max_steps": 400}}, "model": {}, "trainer": {}})
    return Job(Setting("copy:smoke", "gru", overrides), members, draft=draft, devices=1)


def test_a_terminal_shows_progress_what_runs_and_the_best_so_far(terminal, make_record):
    console = Console(file=terminal.file, width=100, _environ={"TERM": "xterm"})
    with SweepProgress(console) as view:
        view.expects(STEPS, [make_record(id="f" * 16, value=0.25, overrides={})])
        job = job_for(make_record, FIRST, SECOND)
        view.began(job)
        view.advanced(job, Advanced(job.name, 200, 0.75))
        view.tick()
        running = "step 200 of 400 recall_accuracy 0.75: copy:smoke gru[hidden_size=8], 2 trials as one"
        terminal.shows("1 of 4 trials done, 2 running, about", running)
        view.ended(make_record(id=FIRST, value=1.0, model="lstm"), here=True)
        failure = {"message": "the loss is not finite at step 3", "step": 3, "traceback": None}
        view.ended(make_record(None, id=SECOND, status="diverged", failure=failure), here=True)
        view.tick()
        best = "best on copy:standard: lstm, recall_accuracy 1"
        terminal.shows("3 of 4 trials done, 0 running, 1 diverged", best, "diverged: the loss is not finite at")


def test_a_pipe_gets_a_line_for_every_trial_and_no_control_sequences(make_record):
    file = io.StringIO()
    with SweepProgress(Console(file=file, width=80)) as view:
        view.expects(STEPS, [])
        job = job_for(make_record, FIRST)
        view.began(job)
        view.tick()
        view.ended(make_record(id=FIRST), here=True)
        view.ended(make_record(id=SECOND), here=False)
        view.lost(job, "the worker was killed", again=True)
        view.waits("no worker has room for what is next")
        view.waits("no worker has room for what is next")
    lines = file.getvalue().splitlines()
    assert len(lines) == 4
    assert "seed 0: recall_accuracy 0.5" in lines[0]
    assert lines[1].endswith("(by another sweep)")
    assert lines[2].endswith("the worker was killed; it will be tried again")
    assert lines[3] == "waiting: no worker has room for what is next"
    assert "\x1b" not in file.getvalue()
