"""The driver, with an executor that does what the test says and records that are real."""

import signal

import pytest
from msgspec.structs import replace

from rnnae_bench.records.store import Store
from rnnae_bench.sweeps.driver import Driver, Terms, Watcher
from rnnae_bench.sweeps.executors.base import Advanced, Ended, Lost
from rnnae_bench.sweeps.executors.job import Job, Member, Plan, Setting
from rnnae_bench.sweeps.leases import Leases
from rnnae_bench.sweeps.queue import Queue, candidates
from rnnae_bench.trial.interruption import Interruption, Interruptions


def identity(number: int) -> str:
    return f"{number:016x}"


class Puppet:
    """Runs up to two jobs at once; what each comes to is scripted by its name, the first time, the second, ..."""

    slots = 2

    def __init__(self, store, make_record, script) -> None:
        self.store, self.make_record, self.script = (
            store,
            make_record,
            {name: list(ends) for name, ends in script.items()},
        )
        self.running: list[Job] = []
        self.submitted: list[str] = []
        self.closed = False

    def has_room(self, job: Job) -> bool:
        return len(self.running) < self.slots

    def submit(self, job: Job) -> None:
        self.running.append(job)
        self.submitted.append(job.name)

    def events(self, timeout: float):
        if not self.running:
            return []
        job = self.running.pop(0)
        end = self.script.get(job.name, [])
        return [Advanced(job.name, 1, 0.5), (end.pop(0) if end else self.well)(job)]

    def well(self, job: Job) -> Ended:
        for member in job.trials:
            self.store.write(self.make_record(id=member.identity, seed=member.seed), {})
        return Ended(job.name, tuple(self.store.find(member.identity) for member in job.trials))

    def lost(self, job: Job) -> Lost:
        return Lost(job.name, "a node went away")

    def close(self) -> None:
        self.closed = True


class Diary(Watcher):
    """A watcher that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple] = []

    def began(self, job) -> None:
        self.told.append(("began", job.name))

    def advanced(self, job, event) -> None:
        self.told.append(("advanced", job.name, event.step))

    def ended(self, record, here) -> None:
        self.told.append(("ended", record.id, record.status, here))

    def lost(self, job, reason, again) -> None:
        self.told.append(("lost", job.name, again))

    def waits(self, reason) -> None:
        if reason is not None:
            self.told.append(("waits", reason))

    def tick(self) -> None:
        pass


@pytest.fixture
def make_driver(tmp_path, make_record):
    """A function that makes a driver over three trials; its leases are open until the test's end."""
    opened = []

    def make(script=None, together=1, retries=2) -> Driver:
        store = Store(tmp_path / "runs")
        members = tuple(Member(identity(seed), seed, seed) for seed in range(3))
        plan = Plan(Setting("copy:smoke", "gru", {}), members, make_record(), 10, 1, "cpu", together, None)
        queue = Queue(candidates([plan], "auto"), store, "never")
        leases = Leases(tmp_path / "runs" / "leases")
        leases.__enter__()
        opened.append(leases)
        return Driver(queue, Puppet(store, make_record, script or {}), store, leases, Diary(), Terms(retries=retries))

    yield make
    for leases in opened:
        leases.__exit__(None, None, None)


def test_every_trial_is_run_once(make_driver):
    driver = make_driver()
    driver.run()
    assert driver.executor.submitted == [identity(one) for one in range(3)]
    assert {one.status for one in driver.queue.done.values()} == {"ok"}
    assert [told[1:] for told in driver.watcher.told if told[0] == "ended"] == [
        (identity(one), "ok", True) for one in range(3)
    ]
    assert ("advanced", identity(2), 1) in driver.watcher.told
    # All leases were given back; what is left shows that the owner lives.
    assert all(path.suffix == ".life" for path in driver.leases._folder.iterdir())


def test_a_lost_job_is_tried_again_and_given_up_in_the_end(make_driver):
    driver = make_driver({identity(0): [Puppet.lost] * 9, identity(1): [Puppet.lost]}, retries=2)
    driver.executor.script = {
        name: [driver.executor.lost for _ in ends] for name, ends in driver.executor.script.items()
    }
    driver.run()
    assert driver.executor.submitted.count(identity(0)) == 3
    assert driver.executor.submitted.count(identity(1)) == 2
    given_up = driver.store.find(identity(0))
    assert given_up.status == "error"
    assert given_up.failure.message == "the worker was lost 3 times, the last time: a node went away"
    assert [told[2] for told in driver.watcher.told if told[:2] == ("lost", identity(0))] == [True, True, False]
    assert driver.store.find(identity(1)).status == driver.store.find(identity(2)).status == "ok"


def test_of_a_lost_group_only_what_was_not_done_is_tried_again(make_driver):
    driver = make_driver(together=3)
    puppet = driver.executor

    def half(job: Job) -> Lost:
        first = job.trials[0]
        puppet.store.write(puppet.make_record(id=first.identity, seed=first.seed), {})
        return Lost(job.name, "killed", (puppet.store.find(first.identity),))

    puppet.script = {identity(0): [half]}
    driver.run()
    assert puppet.submitted == [identity(0), identity(1)]
    assert sorted(driver.queue.done) == [identity(one) for one in range(3)]
    assert not (driver.store.folder / "superseded").exists()


def test_a_record_that_could_not_be_written_is_written_when_it_can(make_driver, tmp_path):
    driver = make_driver()
    puppet, runs, away = driver.executor, driver.store.folder, tmp_path / "away"
    refuge = Store(tmp_path / "refuge")

    def into_the_refuge(job: Job) -> Ended:
        place = refuge.write(puppet.make_record(id=job.name, seed=9), {})
        # In the folder's place is a file: nothing can be written there, whoever tries.
        runs.rename(away)
        runs.write_text("")
        return Ended(job.name, (refuge.find(job.name),), {job.name: str(place)})

    puppet.script = {identity(0): [into_the_refuge]}
    driver.step()
    assert driver.executor.running
    driver.executor.running.clear()
    driver._running.clear()
    for _ in range(3):
        driver._write()
    begun = len(puppet.submitted)
    (waits,) = {told for told in driver.watcher.told if told[0] == "waits"}
    assert "can't be written" in waits[1]
    assert str(refuge.folder) in waits[1]
    runs.unlink()
    away.rename(runs)
    driver.queue.waiting.clear()
    driver.run()
    assert driver.store.find(identity(0)).seed == 9
    assert len(puppet.submitted) == begun


def test_what_is_stopped_is_recorded_as_interrupted_where_it_had_begun(make_driver, make_record):
    driver = make_driver()
    driver.executor.slots = 1
    driver.executor.script = {}

    def stop(timeout: float):
        driver.store.drafts.write(make_record(id=identity(0), status="interrupted", failure=None), {})
        raise KeyboardInterrupt

    driver.executor.events = stop
    with pytest.raises(KeyboardInterrupt):
        driver.run()
    assert driver.executor.closed
    record = driver.store.find(identity(0))
    assert (record.status, record.failure.message) == ("interrupted", "the sweep was stopped by Ctrl-C")
    assert driver.store.find(identity(1)) is None
    assert driver.leases.acquire(identity(0))


def test_a_trial_that_another_sweep_runs_is_waited_for(make_driver, tmp_path, make_record):
    driver = make_driver()
    with Leases(tmp_path / "runs" / "leases") as other:
        assert other.acquire(identity(1))
        for _ in range(3):
            driver.step()
        assert list(driver.queue.waiting) == [identity(1)]
        assert driver.executor.submitted == [identity(0), identity(2)]
        driver.store.write(make_record(id=identity(1)), {})
        other.release(identity(1))
    driver._look_again.clear()
    driver.run()
    assert driver.executor.submitted == [identity(0), identity(2)]
    assert ("ended", identity(1), "ok", False) in driver.watcher.told


def test_a_signal_while_a_sweep_stops_ends_no_writing(make_driver, make_record, monkeypatch):
    driver = make_driver()
    running = make_record(status="interrupted", failure={"message": "x", "step": None, "traceback": None})

    def stop(timeout):
        for job in driver.executor.running:
            driver.store.drafts.write(replace(running, id=job.name), {})
        raise Interruption(signal.SIGTERM)

    def close():
        signal.raise_signal(signal.SIGHUP)

    monkeypatch.setattr(driver.executor, "events", stop)
    monkeypatch.setattr(driver.executor, "close", close)
    with Interruptions() as interruptions, pytest.raises(Interruption), interruptions.raised():
        driver.run()
    found = driver.store.read().records
    assert [record.id for record in found] == driver.executor.submitted == [identity(0), identity(1)]
    assert {record.failure.message for record in found} == {"the sweep was stopped by SIGTERM"}
    assert driver.store.drafts.identities() == []
