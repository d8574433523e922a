"""Rows over records, checked against numpy."""

import itertools

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from rnnae_bench.rankings import rows as subject
from rnnae_bench.records.document import record_from
from rnnae_bench.report.tables import solved

VALUES = [0.2, 0.5, 0.9, 1.0]
FAILURE = {"message": "x", "step": 3, "traceback": None}


def summarize(documents, among=None):
    """The rows of records that are given as plain data."""
    known = None if among is None else map(record_from, among)
    return subject.summarize(map(record_from, documents), known)


@pytest.fixture
def make_document(make_document):
    """The fixture of that name, each record with an id of its own."""
    numbers = itertools.count()
    return lambda *arguments, **changes: make_document(*arguments, **{"id": f"{next(numbers):016x}"} | changes)


def test_a_row_is_what_numpy_says(make_document):
    (row,) = summarize(make_document(value, seed=seed, id=f"{seed:016x}") for seed, value in enumerate(VALUES))
    assert row.mean == pytest.approx(np.mean(VALUES))
    assert row.sd == pytest.approx(np.std(VALUES, ddof=1))
    assert (row.minimum, row.maximum) == (0.2, 1.0)
    assert row.score == pytest.approx(np.mean([(value - 0.125) / 0.875 for value in VALUES]))
    assert row.solved == 1
    assert row.seeds == [0, 1, 2, 3]


@pytest.mark.parametrize(("worst", "counted"), [(0.3, 0.125), (0.05, 0.05)])
def test_a_failed_trial_counts_as_the_worst_that_finished_or_the_floor(make_document, worst, counted):
    """Of all models together; the test set's floor is 0.125."""
    records = [make_document(0.5), make_document(None, seed=1, status="diverged", failure=FAILURE)]
    records += [make_document(worst, model="b"), make_document(None, model="c", status="oom", failure=FAILURE)]
    found = {row.model: row for row in summarize(records)}
    assert [row.model for row in summarize(records)] == ["gru", "b", "c"]
    assert found["gru"].mean == pytest.approx((0.5 + counted) / 2)
    assert found["gru"].score == pytest.approx(((0.5 + counted) / 2 - 0.125) / 0.875)
    assert found["c"].mean == counted
    assert found["c"].mean <= found["b"].mean
    assert (found["gru"].failed, found["gru"].failures, found["gru"].trials) == (1, "1 diverged", 2)


def test_a_choice_of_the_records_changes_no_failed_trials_value(make_document):
    failed = make_document(None, status="oom", failure=FAILURE)
    (row,) = summarize([failed], among=[failed, make_document(0.01, model="b")])
    assert row.mean == 0.01


@pytest.mark.parametrize("status", ["skipped", "interrupted"])
def test_what_was_not_tried_is_shown_and_counts_as_nothing(make_document, status):
    (row,) = summarize([make_document(0.5), make_document(None, seed=1, status=status, failure=FAILURE)])
    assert (row.mean, row.failed, row.failures, row.trials) == (0.5, 0, f"1 {status}", 2)


def test_copies_of_a_record_are_one_trial(make_document):
    record = make_document(0.5)
    (row,) = summarize([record, dict(record), make_document(0.7, seed=1)])
    assert (row.seeds, row.trials, row.mean) == ([0, 1], 2, pytest.approx(0.6))


def test_a_trial_at_the_floor_has_score_zero_without_a_sign(make_document):
    record = make_document(2.0)
    record["primary"] |= {"direction": "minimize", "floor": 2.0, "ceiling": 0.0}
    (row,) = summarize([record])
    assert str(row.score) == "0.0"


def test_steps_to_solve_are_the_median_of_all_that_were_tried(make_document):
    records = [make_document(1.0, seed=seed) for seed in range(5)]
    for record, steps in zip(records, (100, None, 400, 200, None), strict=True):
        record["measures"] |= {"steps_to_solved": steps, "steps": 1000}
    (row,) = summarize(records)
    assert row.steps_to_solve.value == np.median([100, 1000, 400, 200, 1000])
    (fewer,) = summarize(records[1:])
    assert fewer.steps_to_solve.value == 400
    (half,) = summarize([record for record in records if record["seed"] != 2])
    assert half.steps_to_solve.value == 200
    (none,) = summarize([records[1], records[4]])
    assert none.steps_to_solve.value is None


def test_the_share_that_solved_is_of_those_that_were_tried(make_document):
    records = [make_document(value, seed=seed) for seed, value in enumerate((1.0, 0.999, 0.4, 0.995))]
    records += [make_document(None, seed=4, status="diverged", failure=FAILURE)]
    records += [make_document(None, seed=5, status="interrupted", failure=FAILURE)]
    (row,) = summarize(records)
    assert (row.solved, row.tried, row.trials) == (3, 5, 6)
    share = row.solve_probability
    assert (share.low, share.high) == pytest.approx(proportion_confint(3, 5, method="wilson"))
    assert share.value == 0.6
    low, high = proportion_confint(0.6 * (5 + row.more_seeds), 5 + row.more_seeds, method="wilson")
    assert high - low == pytest.approx(0.2, abs=0.002)
    assert solved(row) == "3/5 (.23-.88)"
    (untried,) = summarize(records[-1:])
    assert (untried.solve_probability, untried.steps_to_solve, untried.more_seeds) == (None, None, None)
    assert solved(untried) == "0/0"


def test_rows_differ_by_everything_but_the_seed(make_document):
    wide = make_document(0.6, overrides={"model.hidden_size": 9})
    wide["configuration"] = {"task": {}, "model": {"hidden_size": 9}, "trainer": {}}
    half = make_document(0.7)
    half["environment"]["precision"] = "bf16-mixed"
    rows = summarize([make_document(0.5), wide, half, make_document(0.5, seed=1)])
    assert [(row.label, row.precision, row.trials) for row in rows] == [
        ("gru", "bf16-mixed", 1),
        ("gru[hidden_size=9]", "32-true", 1),
        ("gru", "32-true", 2),
    ]


def test_the_best_comes_first_in_the_metrics_own_direction(make_document):
    def less_is_more(value, model):
        record = make_document(value, model=model)
        record["primary"]["direction"] = "minimize"
        return record

    rows = summarize([less_is_more(0.5, "a"), less_is_more(0.1, "b"), less_is_more(None, "c")])
    assert [row.model for row in rows] == ["b", "a", "c"]


def test_an_altered_task_is_a_table_of_its_own(make_document):
    altered = make_document(0.9, overrides={"task.delay": 3})
    altered["configuration"] = {"task": {"delay": 3}, "model": {}, "trainer": {}}
    altered["baselines"] = {"memoryless": {"recall_accuracy": 0.2}}
    assert {row.setting for row in summarize([make_document(), altered])} == {"copy:standard", "copy:standard[delay=3]"}
    assert subject.baselines(map(record_from, [make_document(), altered])) == {
        "copy:standard": {"memoryless": 0.125},
        "copy:standard[delay=3]": {"memoryless": 0.2},
    }
