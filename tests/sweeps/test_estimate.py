"""Estimates from records, against medians taken by hand."""

import numpy as np
import pytest
from msgspec.structs import replace

from rnnae_bench.records.document import record_from
from rnnae_bench.sweeps.estimate import Estimate, estimate
from rnnae_bench.sweeps.executors.job import Plan, Setting


@pytest.fixture
def past(make_document):
    """A function that makes a record of a model of some size."""

    def make(size=8, seconds=2.0, steps=10, status="ok", changes=(), **environment):
        record = make_document(status=status)
        record["configuration"]["model"] = {"hidden_size": size}
        record["measures"] |= {"training_seconds": seconds, "steps": steps, "steps_per_second": steps / seconds}
        record["environment"] |= environment
        return record_from(record | dict(changes))

    return make


@pytest.fixture
def plan(past):
    return Plan(Setting("copy:standard", "gru", {}), (), past(status="error"), 30, 1, "cpu", 1, None)


def test_the_same_setting_took_the_median(plan, past):
    seconds = [4.0, 1.0, 2.0, 9.0]
    records = [past(seconds=one) for one in seconds] + [past(size=9, seconds=100.0)]
    assert estimate(plan, records) == Estimate(np.median(seconds), "same setting")


def test_other_sizes_have_the_same_speed(plan, past):
    records = [past(size=9, seconds=2.0), past(size=10, seconds=4.0), past(size=11, steps=100, seconds=4.0)]
    assert estimate(plan, records) == Estimate(30 / np.median([5.0, 2.5, 25.0]), "same task and model")


def test_without_records_nothing_is_known(plan):
    assert estimate(plan, []) == Estimate(None, "unknown")


@pytest.mark.parametrize(
    "other",
    [
        {"threads": 2},
        {"device": "y"},
        {"accelerator": "cuda"},
        {"devices": 2},
        {"precision": "bf16-mixed"},
        {"status": "timeout"},
    ],
)
def test_trials_under_other_conditions_do_not_count(plan, past, other):
    assert estimate(plan, [past(**other)]).basis == "unknown"
    assert estimate(plan, [past(**other), past(seconds=3.0)]) == Estimate(3.0, "same setting")


def test_a_share_in_what_was_trained_as_one_counts_where_nothing_else_is_known(plan, past):
    shared = {"members": 4, "seconds": 8.0}
    assert estimate(plan, [past(vectorized=shared)]) == Estimate(2.0, "same setting, trained as one")
    assert estimate(plan, [past(vectorized=shared), past(seconds=3.0)]) == Estimate(3.0, "same setting")
    assert estimate(plan, [past(size=9, vectorized=shared)]).basis == "unknown"


@pytest.mark.parametrize("key", ["task", "variant", "model"])
def test_neither_do_other_tasks_and_models(plan, past, key):
    assert estimate(plan, [past(changes={key: "other"})]).basis == "unknown"


def test_a_trial_too_short_for_a_speed_does_not_count(plan, past):
    record = past(size=9)
    record = replace(record, measures=replace(record.measures, steps_per_second=None))
    assert estimate(plan, [record]).basis == "unknown"
