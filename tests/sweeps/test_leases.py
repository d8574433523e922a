"""Leases: one owner at a time, dead owners are found out, by real processes and real signals."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rnnae_bench.errors import UserError
from rnnae_bench.sweeps.leases import Leases

HOLD = """
import sys
from pathlib import Path
from rnnae_bench.sweeps.leases import Leases
with Leases(Path(sys.argv[1])) as leases:
    for line in sys.stdin:
        print(leases.acquire(line.strip()), flush=True)
"""


class Other:
    """Another sweep, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def acquire(self, identity: str) -> bool:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{identity}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline() == "True\n"

    def end(self, by: signal.Signals | None = None) -> None:
        if by is not None:
            self.process.send_signal(by)
        self.process.communicate(timeout=60)


@pytest.fixture
def other(tmp_path):
    made = Other(tmp_path)
    yield made
    made.end(None if made.process.poll() is not None else signal.SIGKILL)


def test_a_lease_is_taken_once_and_can_be_given_back(tmp_path, other):
    with Leases(tmp_path) as mine:
        assert mine.acquire("a")
        assert mine.acquire("a")
        assert not other.acquire("a")
        assert other.acquire("b")
        assert not mine.acquire("b")
        mine.release("a")
        assert other.acquire("a")
        assert not mine.acquire("a")


def test_who_leaves_in_order_leaves_nothing(tmp_path, other):
    with Leases(tmp_path) as mine:
        assert mine.acquire("a")
        assert other.acquire("b")
    other.end()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGSEGV])
def test_the_lease_of_a_killed_process_is_taken_over_at_once(tmp_path, other, by):
    with Leases(tmp_path) as mine:
        assert other.acquire("a")
        other.end(by)
        assert mine.acquire("a")
        with Leases(tmp_path) as third:
            assert not third.acquire("a")


def test_a_stopped_process_keeps_its_lease(tmp_path, other):
    with Leases(tmp_path, patience=0.0) as mine:
        assert other.acquire("a")
        other.process.send_signal(signal.SIGSTOP)
        assert not mine.acquire("a")
        other.process.send_signal(signal.SIGCONT)


def test_a_process_id_that_was_given_again_does_not_count_as_the_owner(tmp_path, other):
    assert other.acquire("a")
    (life,) = tmp_path.glob("*.life")
    content = json.loads(life.read_text())
    other.end(signal.SIGKILL)
    life.write_text(json.dumps({**content, "pid": os.getpid()}))
    with Leases(tmp_path) as mine:
        assert mine.acquire("a")


def on_another_machine(folder: Path, beats: int) -> None:
    life = {"machine": "another boot of another machine", "pid": 1, "started": "1", "beats": beats}
    (folder / "far.life").write_text(json.dumps(life))
    (folder / "a.0").write_text("far")


def test_an_owner_on_another_machine_lives_while_its_counter_moves(tmp_path):
    with Leases(tmp_path, patience=0.0) as mine:
        for beats in range(5):
            on_another_machine(tmp_path, beats)
            assert not mine.acquire("a")
        assert mine.acquire("a")


def test_an_owner_on_another_machine_is_given_time(tmp_path):
    with Leases(tmp_path, patience=3600.0) as mine:
        on_another_machine(tmp_path, 7)
        assert not any(mine.acquire("a") for _ in range(20))


@pytest.mark.parametrize("content", ["", "{}", "not JSON", None])
def test_a_torn_life_counts_as_none(tmp_path, content):
    (tmp_path / "a.0").write_text("gone")
    if content is not None:
        (tmp_path / "gone.life").write_text(content)
    with Leases(tmp_path) as mine:
        assert mine.acquire("a")


RACE = """
import sys
from pathlib import Path
from rnnae_bench.sweeps.leases import Leases
with Leases(Path(sys.argv[1])) as leases:
    print("ready", flush=True)
    sys.stdin.readline()
    print([one for one in map(str, range(40)) if leases.acquire(one)], flush=True)
    sys.stdin.readline()
"""


def test_of_many_who_take_over_at_once_each_lease_goes_to_one(tmp_path):
    for identity in range(40):
        (tmp_path / f"{identity}.0").write_text("dead")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    try:
        assert all(racer.stdout.readline() == "ready\n" for racer in racers)
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        won = [one for racer in racers for one in json.loads(racer.stdout.readline().replace("'", '"'))]
        assert sorted(won, key=int) == [str(identity) for identity in range(40)]
    finally:
        for racer in racers:
            racer.communicate("over\n", timeout=60)


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    with Leases(tmp_path) as mine:
        for life in tmp_path.iterdir():
            life.unlink()
        tmp_path.rmdir()
        with pytest.raises(OSError, match="No such file"):
            mine.acquire("a")


@pytest.mark.parametrize("when", ["coming", "going"])
def test_what_a_killed_owner_leaves_is_removed_by_the_next_to_come_or_to_go(tmp_path, other, when):
    def kill():
        assert other.acquire("a")
        assert other.acquire("b")
        (life,) = set(tmp_path.glob("*.life")) - before
        (tmp_path / f".c.{life.stem}").write_text(life.stem)
        (tmp_path / f".{life.name}.1.tmp").write_text("{")
        other.end(signal.SIGKILL)

    before: set[Path] = set()
    if when == "coming":
        kill()
    with Leases(tmp_path) as mine:
        if when == "going":
            before = set(tmp_path.glob("*.life"))
            kill()
        else:
            assert len(list(tmp_path.iterdir())) == 1
        assert mine.acquire("d")
    assert list(tmp_path.iterdir()) == []


def test_what_the_living_have_is_left_alone(tmp_path, other):
    assert other.acquire("a")
    on_another_machine(tmp_path, 7)
    (tmp_path / "a.0").rename(tmp_path / "b.0")
    assert other.acquire("a")
    there = set(tmp_path.iterdir())
    with Leases(tmp_path):
        pass
    assert set(tmp_path.iterdir()) == there


CONTEND = """
import os
import sys
import time
from pathlib import Path
from rnnae_bench.sweeps.leases import Leases
mark = Path(sys.argv[1]).parent / "mark"
both = won = 0
with Leases(Path(sys.argv[1])) as leases:
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        if leases.acquire("a"):
            won += 1
            try:
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                both += 1
            else:
                mark.unlink()
            leases.release("a")
print(both, won, flush=True)
"""


def test_of_many_who_take_and_give_back_no_two_have_the_lease_at_once(tmp_path):
    folder = tmp_path / "leases"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", CONTEND, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    assert all(racer.stdout.readline() == "ready\n" for racer in racers)
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    counts = [tuple(map(int, racer.communicate(timeout=60)[0].split())) for racer in racers]
    assert sum(won for _, won in counts) > 10
    assert [both for both, _ in counts] == [0, 0, 0, 0]


def test_a_sweep_that_cannot_write_leases_does_not_start(tmp_path):
    (tmp_path / "leases").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write leases to .*leases: File exists; make room there"):
        Leases(tmp_path / "leases").__enter__()
