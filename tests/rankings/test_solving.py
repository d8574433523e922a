"""How often and how fast rows solve their task, from records; checked against scipy and statsmodels."""

import numpy as np
import pytest
from scipy.stats import fisher_exact
from statsmodels.duration.survfunc import SurvfuncRight, survdiff

from rnnae_bench.rankings.solving import side_by_side, times_to_solve
from rnnae_bench.rankings.standing import standings
from rnnae_bench.records.document import record_from

FAILURE = {"message": "x", "step": 300, "traceback": None}


@pytest.fixture
def trial(make_document):
    """A function that makes the record of a trial with a budget of 1000 steps."""

    def make(seed, steps_to_solved=None, value=0.5, status="ok", model="gru", steps=1000):
        failure = None if status == "ok" else FAILURE
        identity = f"{seed + 1000 * len(model):016x}"
        document = make_document(value, id=identity, seed=seed, status=status, model=model, failure=failure)
        document["measures"] |= {"steps_to_solved": steps_to_solved, "steps": steps}
        document["configuration"] = {"task": {"protocol": {"max_steps": 1000}}, "model": {}, "trainer": {}}
        return record_from(document)

    return make


@pytest.mark.parametrize("status", ["diverged", "oom", "timeout", "error"])
def test_a_trial_that_failed_has_not_solved_until_the_budget_however_early_it_ended(trial, status):
    records = [trial(0, 250, 1.0), trial(1, status=status, value=None, steps=300), trial(2, 500, 1.0), trial(3)]
    assert times_to_solve(records) == [(250, True), (1000, False), (500, True), (1000, False)]


def test_a_trial_that_solved_and_was_lost_after_had_solved(trial):
    assert times_to_solve([trial(0, 250, None, status="diverged", steps=700), trial(1, 500, 0.4)]) == [
        (250, True),
        (500, True),
    ]


def test_what_was_not_tried_says_nothing(trial):
    records = [trial(0, value=None, status="skipped"), trial(1, value=None, status="interrupted")]
    assert times_to_solve(records) == []
    assert side_by_side(records, [trial(0, 250, 1.0)]) is None
    (standing,) = standings(records)
    assert standing.entries[0].solving is None


def test_an_entry_has_the_curve_of_all_of_its_trials(trial):
    found = [250, 250, 500, None, None]
    (standing,) = standings([trial(seed, steps, 1.0 if steps else 0.5) for seed, steps in enumerate(found)])
    curve = standing.entries[0].solving
    time, came = np.array([250, 250, 500, 1000, 1000]), np.array([1, 1, 1, 0, 0])
    assert curve.times == (250, 500)
    assert curve.share == pytest.approx(1 - SurvfuncRight(time, came).surv_prob[:2])
    assert curve.until == 1000


def test_two_rows_are_told_apart_by_fisher_and_the_log_rank_test(trial):
    first = [trial(seed, 250 * (seed + 1), 1.0) for seed in range(4)] + [trial(4)]
    second = [trial(seed, model="rnn") for seed in range(4)] + [trial(4, 750, 1.0, model="rnn")]
    found = side_by_side(first, second)
    assert found.difference.value == pytest.approx(4 / 5 - 1 / 5)
    assert found.p == pytest.approx(fisher_exact([[4, 1], [1, 4]]).pvalue)
    time, came = np.array([250, 500, 750, 1000, 1000, *[1000] * 4, 750]), np.array([1] * 4 + [0] * 5 + [1])
    assert found.log_rank == pytest.approx(survdiff(time, came, np.repeat([0, 1], 5))[1])
    assert found.more_seeds == 8
    neither = [trial(seed) for seed in range(5)], [trial(seed, model="rnn") for seed in range(5)]
    assert side_by_side(*neither).log_rank is None
    assert side_by_side(*neither).more_seeds is None
