"""Jobs in worker processes of this machine: what goes well, and all that can go wrong."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store
from rnnae_bench.sweeps.executors import process as workers
from rnnae_bench.sweeps.executors.base import Advanced, Ended, Lost
from rnnae_bench.sweeps.executors.job import Job, Plan, Refusal, Setting
from rnnae_bench.sweeps.executors.local import LocalExecutor

SMALL = {"task": {"protocol": {"max_steps": 40, "evaluate_every": 10}}, "model": {"hidden_size": 4}}
COPY = Setting("copy:smoke", "gru", SMALL)


def only(ends, job: Job) -> Record:
    """The record that a job of one trial ended with."""
    end = ends[job.name]
    assert isinstance(end, Ended), end
    (record,) = end.records
    return record


def series(folder: Path, record: Record) -> np.ndarray:
    return Store(folder).series(record)["gradient_norm"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """The folder of most tests' store."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def local(runs):
    """A local executor with two slots that flushes at every step; most tests share it and its warm workers."""
    executor = LocalExecutor(runs, slots=2, threads=1, flush_every=0.0)
    yield executor
    executor.close()


@pytest.fixture(scope="module")
def failed(local, setting, job_of, ends_of):
    """The ends of jobs that fail in one way each, and of some that don't, by that way."""
    ways = ["print", "segfault", "abort", "exit", "memory", "sleep", "kill", "none"]
    jobs = {way: job_of(local, setting(way), time_limit=10.0 if way == "sleep" else None) for way in ways}
    ends = ends_of(local, list(jobs.values()))
    return {way: ends[job.name] for way, job in jobs.items()}


@pytest.mark.parametrize(
    ("way", "status", "message"),
    [
        ("segfault", "error", "the worker process was ended by SIGSEGV"),
        ("abort", "error", "the worker process was ended by SIGABRT"),
        ("exit", "error", "the worker process left with exit code 3"),
        ("memory", "oom", "MemoryError: too much"),
        ("sleep", "timeout", "stopped after 10 s, the time limit"),
    ],
)
def test_a_trial_that_fails_is_a_row_with_its_history(failed, runs, way, status, message):
    (record,) = failed[way].records
    assert record == Store(runs).find(record.id)
    assert record.status == status
    assert record.failure.message == message
    assert record.failure.step == 19
    assert record.configuration.model["fault"] == way
    assert series(runs, record).steps.tolist() == list(range(1, 20))
    assert list(record.metrics["validation"]) != []
    assert record.primary.value is None
    assert record.id not in Store(runs).drafts.identities()


def test_the_log_of_a_crash_is_in_the_record(failed):
    (crashed,), (left,) = failed["segfault"].records, failed["exit"].records
    assert "Fatal Python error: Segmentation fault" in crashed.failure.traceback
    assert "_segfault" in crashed.failure.traceback
    assert left.failure.traceback == "farewell"


def test_what_a_trial_forks_is_no_second_trial(local, runs, setting, job_of, ends_of):
    job = job_of(local, setting("fork"))
    record = only(ends_of(local, [job]), job)
    assert record.status == "ok"
    assert Store(runs).find(record.id) == record
    assert not list((runs / "superseded").glob(f"{record.id}*"))


def test_the_others_are_untouched(failed, runs):
    assert [record.status for way in ("none", "print") for record in failed[way].records] == ["ok", "ok"]
    assert not Store(runs).read().unreadable


def test_a_worker_killed_from_outside_is_lost_and_leaves_no_record(failed, runs):
    assert failed["kill"] == Lost(failed["kill"].job, "the worker process was ended by SIGKILL")
    assert Store(runs).find(failed["kill"].job) is None


def test_what_is_printed_goes_to_the_log(failed, runs):
    logs = "".join(path.read_text() for path in (runs / "logs").glob(f"worker-{os.getpid()}-*.log"))
    assert logs.count("x" * 1000) == logs.count("y" * 1000) == 1000


def test_a_trial_run_after_others_gives_the_numbers_of_one_run_first(tmp_path, setting, job_of, ends_of):
    executor = LocalExecutor(tmp_path, slots=1, threads=1)
    found = []
    try:
        for before in ([], ["leak", "none"]):
            for fault in before:
                job = job_of(executor, setting(fault))
                assert only(ends_of(executor, [job]), job).status == ("error" if fault == "leak" else "ok")
            job = job_of(executor, COPY)
            record = only(ends_of(executor, [job]), job)
            found.append((record, series(tmp_path, record).values.tolist()))
    finally:
        executor.close()
    (first, norms), (later, norms_later) = found
    assert len(norms) == 40
    assert norms == norms_later
    assert first.metrics == later.metrics
    assert first.id == later.id
    assert first.environment == later.environment
    assert len(list((tmp_path / "logs").iterdir())) == 1, "they did not share a worker"
    assert len(Store(tmp_path).superseded()) == 1


def test_several_trials_as_one(local, runs, job_of, ends_of):
    job = job_of(local, COPY, seeds=(3, 5))
    end = ends_of(local, [job])[job.name]
    assert [record.seed for record in end.records] == [3, 5]
    assert [record.id for record in end.records] == [member.identity for member in job.trials]
    alone = job_of(local, COPY, seeds=(5,))
    assert alone.name == end.records[1].id
    before = series(runs, end.records[1]).values
    record = only(ends_of(local, [alone]), alone)
    assert series(runs, record).values == pytest.approx(before, rel=1e-4)
    assert record.environment.vectorized is None


def test_room_is_kept_account_of_and_closing_ends_all_that_runs(tmp_path, setting, job_of, is_gone):
    executor = LocalExecutor(tmp_path / "runs", slots=2, threads=1, flush_every=0.0)
    notes = [tmp_path / "one", tmp_path / "two"]
    for note in notes:
        os.mkfifo(note)
    try:
        jobs = [job_of(executor, setting("child", note)) for note in notes]
        assert executor.has_room(jobs[0])
        executor.submit(jobs[0])
        assert executor.has_room(jobs[1])
        executor.submit(jobs[1])
        assert not executor.has_room(jobs[0])
        with pytest.raises(RuntimeError, match="no room"):
            executor.submit(jobs[0])
        heard = set()
        while len(heard) < 2:
            heard |= {event.job for event in executor.events(60.0) if isinstance(event, Advanced) and event.step > 0}
        assert heard == {jobs[0].name, jobs[1].name}
        children = [int(note.read_text()) for note in notes]
    finally:
        executor.close()
    assert all(is_gone(child) for child in children)
    assert executor.events(0.0) == []
    assert sorted(Store(tmp_path / "runs").drafts.identities()) == sorted(heard)


def test_a_record_from_before_does_not_count_as_this_run(local, runs, setting, tmp_path, job_of, ends_of):
    note = tmp_path / "note"
    note.write_text("so that it does not kill itself")
    job = job_of(local, setting("kill once", note))
    assert only(ends_of(local, [job]), job).status == "ok"
    note.unlink()
    assert ends_of(local, [job])[job.name] == Lost(job.name, "the worker process was ended by SIGKILL")
    assert only(ends_of(local, [job]), job).status == "ok"
    assert [record.id for record in Store(runs).superseded().values()].count(job.name) == 1


def test_workers_that_were_warmed_up_take_the_first_jobs(tmp_path, setting, job_of, ends_of):
    executor = LocalExecutor(tmp_path, slots=2, threads=1)
    executor.warm_up()
    jobs = [job_of(executor, setting("none")), job_of(executor, COPY)]
    assert all(isinstance(end, Ended) for end in ends_of(executor, jobs).values())
    executor.close()
    assert len(list((tmp_path / "logs").glob("worker-*.log"))) == 2


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="processes can't keep to cores here")
def test_a_worker_that_keeps_to_its_core_tells_of_the_machines(tmp_path, job_of, ends_of):
    cores = os.sched_getaffinity(0)
    executor = LocalExecutor(tmp_path, slots=len(cores), threads=1)
    try:
        job = job_of(executor, COPY)
        assert len(os.sched_getaffinity(executor._workers[0].pid)) == 1
        record = only(ends_of(executor, [job]), job)
    finally:
        executor.close()
    assert record.environment.host.cores == len(cores)


def test_a_worker_killed_while_idle_is_replaced(local, job_of, ends_of, is_gone):
    job = job_of(local, COPY)
    # The one that has just planned the job; another may have died of an earlier test.
    living = [worker for worker in local._workers.values() if not worker.died()]
    assert living
    for worker in living:
        os.kill(worker.pid, signal.SIGKILL)
        assert is_gone(worker.pid)
    assert only(ends_of(local, [job]), job).status == "ok"


def test_refusals(local, setting):
    crash = local.plan(setting("crash when made"), [0])
    assert isinstance(crash, Refusal)
    assert crash.reason.startswith("faulty on copy:smoke can't be checked: the worker process was ended by SIGSEGV")
    wrong = local.plan(Setting("copy:smoke", "gru", {"model": {"hidden_size": 0}}), [0])
    assert isinstance(wrong, Refusal)
    assert "hidden_size is 0" in wrong.reason
    forked, plain = local.plan(setting("fork when made"), [0]), local.plan(COPY, [0])
    assert isinstance(forked, Plan)
    assert isinstance(plain, Plan)
    assert (forked.setting.model, plain.setting.model) == ("faulty", "gru")


def test_a_check_whose_worker_is_killed_from_outside_is_done_in_another(local, setting, tmp_path):
    assert isinstance(local.plan(setting("kill when made once", tmp_path / "note"), [0]), Plan)
    assert (tmp_path / "note").exists()


def test_a_check_whose_workers_are_always_killed_is_given_up(tmp_path, setting, monkeypatch):
    monkeypatch.setattr(workers, "PLAN_ATTEMPTS", 2)
    executor = LocalExecutor(tmp_path / "runs", slots=1, threads=1)
    try:
        refusal = executor.plan(setting("kill when made", tmp_path / "note"), [0])
    finally:
        executor.close()
    assert isinstance(refusal, Refusal)
    assert refusal.reason == (
        "faulty on copy:smoke can't be checked, tried 2 times: the worker process was ended by SIGKILL"
    )
    assert len(list((tmp_path / "runs" / "logs").iterdir())) == 2


def test_a_trial_that_is_not_what_was_planned_is_an_error(local, job_of, ends_of):
    job = job_of(local, COPY)
    other = Job(job.setting, (type(job.trials[0])("f" * 16, 7, 7),), job.draft)
    record = only(ends_of(local, [other]), other)
    assert record.status == "error"
    assert record.id == "f" * 16
    assert record.seed == 7
    assert "planned as trial ffffffffffffffff, but here it would be" in record.failure.message


def test_loggers_and_pictures_are_made_where_asked_for(local, runs, job_of, ends_of):
    job = job_of(local, COPY, loggers=("csv",), pictures=True)
    record = only(ends_of(local, [job]), job)
    assert (runs / f"{record.id}.png").read_bytes().startswith(b"\x89PNG")
    assert (runs / "logs" / "csv" / record.id / "metrics.csv").exists()


def test_no_process_survives_a_killed_driver(tmp_path, setting, is_gone):
    note = tmp_path / "note"
    os.mkfifo(note)
    driver = textwrap.dedent(f"""
        from pathlib import Path
        from rnnae_bench.sweeps.executors.job import Job, Setting
        from rnnae_bench.sweeps.executors.local import LocalExecutor
        executor = LocalExecutor(Path({str(tmp_path / "runs")!r}), slots=1, threads=1)
        plan = executor.plan({setting("hold the interpreter", note)!r}, [0])
        executor.submit(Job(plan.setting, plan.trials, plan.draft))
        while True:
            executor.events(60.0)
    """)
    process = subprocess.Popen([sys.executable, "-c", driver])
    try:
        worker = int(note.read_text())
    finally:
        process.kill()
        process.wait()
    assert is_gone(worker)


def test_trials_on_several_devices_each_find_a_port(tmp_path, job_of):
    executor = LocalExecutor(tmp_path, slots=4, threads=1)
    ddp = {"trainer": {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}}
    try:
        jobs = [job_of(executor, Setting("copy:smoke", model, {**SMALL, **ddp})) for model in ("gru", "rnn")]
        assert [job.devices for job in jobs] == [2, 2]
        for job in jobs:
            assert executor.has_room(job)
            executor.submit(job)
        assert not executor.has_room(jobs[0])
        ends = {}
        while len(ends) < 2:
            ends |= {event.job: event for event in executor.events(60.0) if not isinstance(event, Advanced)}
    finally:
        executor.close()
    for job in jobs:
        record = only(ends, job)
        assert record.status == "ok", record.failure
        assert record.environment.devices == 2


def _control_group(name: str) -> Path | None:
    """A memory control group of 1.5 GB, where one can be made (version 1 or 2)."""
    for parent in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")):
        group = parent / name
        try:
            group.mkdir()
        except OSError:
            continue
        for limit in ("memory.limit_in_bytes", "memory.max"):
            if (group / limit).exists():
                (group / limit).write_text(str(1_500_000_000))
                return group
        group.rmdir()
    return None


def test_what_the_kernel_kills_for_its_memory_is_oom(tmp_path, setting):
    group = _control_group(f"rnnae-bench-test-{os.getpid()}")
    if group is None:
        pytest.skip("no control group can be made here")
    driver = textwrap.dedent(f"""
        import os
        from pathlib import Path
        Path({str(group / "cgroup.procs")!r}).write_text(str(os.getpid()))
        from rnnae_bench.sweeps.executors.base import Ended
        from rnnae_bench.sweeps.executors.job import Job, Setting
        from rnnae_bench.sweeps.executors.local import LocalExecutor
        executor = LocalExecutor(Path({str(tmp_path)!r}), slots=1, threads=1, flush_every=0.0)
        plan = executor.plan({setting("eat")!r}, [0])
        executor.submit(Job(plan.setting, plan.trials, plan.draft))
        while not any(isinstance(event, Ended) for event in executor.events(60.0)):
            pass
        executor.close()
    """)
    try:
        subprocess.run([sys.executable, "-c", driver], check=True, timeout=120)
    finally:
        group.rmdir()
    (record,) = Store(tmp_path).read().records
    assert record.status == "oom"
    assert record.failure.message == "out of memory: the worker process was ended by SIGKILL, by the kernel"
    assert record.failure.step == 19
