"""What waits, what is done, and what goes into one job."""

from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from rnnae_bench.records.store import Store
from rnnae_bench.sweeps.executors.job import Member, Plan, Setting
from rnnae_bench.sweeps.queue import Queue, candidates, is_done, job_of


def identity(number: int) -> str:
    return f"{number:016x}"


def make_plan(make_record, model="gru", first=0, seeds=3, together=1, apart=None, overrides=None) -> Plan:
    return Plan(
        setting=Setting("copy:smoke", model, overrides or {}),
        trials=tuple(Member(identity(first + seed), seed, seed) for seed in range(seeds)),
        draft=make_record(),
        steps=10,
        devices=1,
        accelerator="cpu",
        together=together,
        apart=apart,
    )


def rated(rate: float) -> dict:
    return {"model": {"optimization": {"learning_rate": rate, "clip": 1.0}}, "trainer": {"precision": "32-true"}}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


STATUSES = ("ok", "skipped", "diverged", "oom", "timeout", "error", "interrupted")


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("overwrite", ["never", "failed", "always"])
def test_what_is_run_again(store, make_record, status, overwrite):
    failure = None if status == "ok" else {"message": "x", "step": None, "traceback": None}
    store.write(make_record(id=identity(1), status=status, failure=failure), {})
    queue = Queue(candidates([make_plan(make_record)], "off"), store, overwrite)
    again = {
        "never": status == "interrupted",
        "failed": status in ("diverged", "oom", "timeout", "error", "interrupted"),
        "always": True,
    }[overwrite]
    assert (identity(1) in queue.waiting) == again
    assert (identity(1) in queue.done) != again
    assert list(queue.waiting) == [identity(one) for one in range(3) if one != 1 or again]
    assert is_done(None, overwrite) is False


def test_a_record_that_lacks_a_probe_is_not_done(store, make_record):
    plan = make_plan(make_record)
    plan = replace(plan, setting=replace(plan.setting, probes={"gauge": "gauges 1.0"}))
    made = make_record()
    for seed, (status, probes) in enumerate(
        [("ok", {"gauge": "gauges 1.0", "other": "o 1"}), ("ok", {"gauge": "gauges 0.9"}), ("diverged", {})]
    ):
        failure = None if status == "ok" else {"message": "x", "step": 1, "traceback": None}
        record = make_record(id=identity(seed), status=status, failure=failure, schema=2)
        store.write(changed(record, environment=changed(made.environment, probes=probes)), {})
    queue = Queue(candidates([plan], "off"), store, "never")
    assert list(queue.done) == [identity(0)]
    assert list(queue.waiting) == [identity(1), identity(2)]
    assert [one.identity for one in queue.again()] == [identity(1)]
    assert Queue(candidates([plan], "off"), store, "always").again() == []


def test_what_another_sweep_finished_waits_no_longer(store, make_record):
    queue = Queue(candidates([make_plan(make_record)], "off"), store, "never")
    first = queue.waiting[identity(0)]
    assert not queue.look(first)
    store.write(make_record(id=identity(0)), {})
    assert queue.look(first)
    assert list(queue.waiting) == [identity(1), identity(2)]
    assert queue.done[identity(0)].id == identity(0)


def test_with_always_a_record_counts_once_it_is_a_new_one(store, make_record):
    store.write(make_record(id=identity(0)), {})
    queue = Queue(candidates([make_plan(make_record)], "off"), store, "always")
    assert not queue.look(queue.waiting[identity(0)])
    store.write(make_record(id=identity(0), finished="2026-01-01T00:00:09+00:00"), {})
    assert queue.look(queue.waiting[identity(0)])


def test_a_trial_that_two_settings_name_is_run_once(make_record):
    plans = [make_plan(make_record), make_plan(make_record)]
    assert [one.identity for one in candidates(plans, "off")] == [identity(one) for one in range(3)]


@pytest.mark.parametrize(
    ("vectorize", "together", "apart", "jobs", "sizes"),
    [
        ("auto", 1, None, 1, [1] * 7),
        ("auto", 4, None, 1, [4, 3]),
        ("auto", 64, None, 2, [4, 3]),
        ("auto", 64, None, 1, [7]),
        ("auto", 6, None, 1, [4, 3]),
        ("off", 64, None, 1, [1] * 7),
        (2, 1, None, 1, [2, 2, 2, 1]),
        (2, 1, "it has dropout", 1, [1] * 7),
    ],
)
def test_the_size_of_groups(store, make_record, vectorize, together, apart, jobs, sizes):
    plan = make_plan(make_record, seeds=7, together=together, apart=apart)
    queue = Queue(candidates([plan], vectorize), store, "never")
    found = []
    # As many jobs are running then.
    while queue.waiting:
        group = queue.alike(next(iter(queue.waiting.values())), max(1, jobs - len(found)))
        queue.take(group)
        found.append(len(group))
    assert found == sizes


def test_groups_of_several_settings_are_left_whole_where_there_is_work_for_all(store, make_record):
    plans = [
        make_plan(make_record, first=first, seeds=seeds, together=32, model=model)
        for model, first, seeds in (("rnn", 0, 32), ("gru", 100, 32), ("lstm", 200, 5))
    ]
    queue = Queue(candidates(plans, "auto"), store, "never")
    sizes = []
    for idle in (2, 1, 1, 1, 1):
        group = queue.alike(next(iter(queue.waiting.values())), idle)
        queue.take(group)
        sizes.append((group[0].plan.setting.model, len(group)))
    assert sizes == [("rnn", 16), ("rnn", 16), ("gru", 16), ("gru", 16), ("lstm", 5)]
    assert not queue.waiting


def test_only_seeds_and_learning_rates_may_differ_in_a_group(store, make_record):
    plans = [
        make_plan(make_record, first=0, seeds=2, together=8, overrides=rated(0.1)),
        make_plan(make_record, first=10, seeds=2, together=8, overrides=rated(0.2)),
        make_plan(make_record, first=20, seeds=2, together=8, model="rnn", overrides=rated(0.1)),
        make_plan(make_record, first=30, seeds=2, together=8, overrides={**rated(0.1), "task": {"delay": 3}}),
        make_plan(make_record, first=40, seeds=2, together=8, overrides={"trainer": {"precision": "32-true"}}),
    ]
    queue = Queue(candidates(plans, "auto"), store, "never")
    group = queue.alike(queue.waiting[identity(10)], 1)
    assert [one.identity for one in group] == [identity(one) for one in (10, 0, 1, 11)]
    job = job_of(group, threads=2)
    assert job.threads == 2
    assert job.name == identity(10)
    common = {"model": {"optimization": {"clip": 1.0}}, "trainer": {"precision": "32-true"}}
    assert job.setting.overrides == common
    assert [one.overrides["model"]["optimization"]["learning_rate"] for one in job.trials] == [0.2, 0.1, 0.1, 0.2]
    alone = job_of(queue.alike(queue.waiting[identity(20)], 1))
    assert alone.setting.overrides == rated(0.1)
    assert [one.overrides for one in alone.trials] == [{}, {}]


def test_what_is_put_back_comes_first(store, make_record):
    queue = Queue(candidates([make_plan(make_record)], "off"), store, "never")
    last = queue.waiting[identity(2)]
    queue.take([last])
    assert list(queue.waiting) == [identity(0), identity(1)]
    queue.put_back([last])
    assert list(queue.waiting) == [identity(2), identity(0), identity(1)]
