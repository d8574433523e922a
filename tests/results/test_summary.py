"""Rows over records, checked against numpy."""

import numpy as np
import pytest

from rnnae_bench.results.summary import baselines, summarize

VALUES = [0.2, 0.5, 0.9, 1.0]


def test_a_row_is_what_numpy_says(make_record):
    (row,) = summarize(make_record(value, seed=seed, id=f"{seed:016x}") for seed, value in enumerate(VALUES))
    assert row.mean == pytest.approx(np.mean(VALUES))
    assert row.sd == pytest.approx(np.std(VALUES, ddof=1))
    assert (row.minimum, row.maximum) == (0.2, 1.0)
    assert row.score == pytest.approx(np.mean([(value - 0.125) / 0.875 for value in VALUES]))
    assert row.solved == 1
    assert row.seeds == [0, 1, 2, 3]


def test_failed_trials_are_counted_and_left_out_of_the_mean(make_record):
    failure = {"message": "x", "step": 3, "traceback": None}
    (row,) = summarize([make_record(0.5), make_record(None, seed=1, status="diverged", failure=failure)])
    assert row.statuses == {"ok": 1, "diverged": 1}
    assert row.mean == 0.5
    assert row.sd is None
    assert row.trials == 2


def test_steps_to_solved_are_the_median_of_those_that_solved_it(make_record):
    records = [make_record(1.0, seed=seed) for seed in range(4)]
    for record, steps in zip(records, (100, None, 400, 200), strict=True):
        record["measures"]["steps_to_solved"] = steps
    (row,) = summarize(records)
    assert row.steps_to_solved == np.median([100, 400, 200])
    (one,) = summarize(records[:1])
    assert one.steps_to_solved == 100.0


def test_rows_differ_by_everything_but_the_seed(make_record):
    wide = make_record(0.6, overrides={"model.hidden_size": 9})
    wide["configuration"] = {"task": {}, "model": {"hidden_size": 9}, "trainer": {}}
    half = make_record(0.7)
    half["environment"]["precision"] = "bf16-mixed"
    rows = summarize([make_record(0.5), wide, half, make_record(0.5, seed=1)])
    assert [(row.label, row.precision, row.trials) for row in rows] == [
        ("gru", "bf16-mixed", 1),
        ("gru[hidden_size=9]", "32-true", 1),
        ("gru", "32-true", 2),
    ]


def test_the_best_comes_first_in_the_metrics_own_direction(make_record):
    def less_is_more(value, model):
        record = make_record(value, model=model)
        record["primary"]["direction"] = "minimize"
        return record

    rows = summarize([less_is_more(0.5, "a"), less_is_more(0.1, "b"), less_is_more(None, "c")])
    assert [row.model for row in rows] == ["b", "a", "c"]


def test_an_altered_task_is_a_table_of_its_own(make_record):
    altered = make_record(0.9, overrides={"task.delay": 3})
    altered["configuration"] = {"task": {"delay": 3}, "model": {}, "trainer": {}}
    altered["baselines"] = {"memoryless": {"recall_accuracy": 0.2}}
    assert {row.setting for row in summarize([make_record(), altered])} == {"copy:standard", "copy:standard[delay=3]"}
    assert baselines([make_record(), altered]) == {
        "copy:standard": {"memoryless": 0.125},
        "copy:standard[delay=3]": {"memoryless": 0.2},
    }
