"""Statistics over tasks: every task with the same weight; profiles with bands."""

import numpy as np
import pytest
from scipy import stats

from rnnae_bench.statistics import stratified
from rnnae_bench.statistics.profiles import performance_profile


def test_one_task_has_students_interval():
    values = [0.3, 0.1, 0.2, 0.7, 0.4]
    found, expected = stratified.mean([values]), stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_two_tasks_have_the_interval_of_welch():
    """A sum of two means is a difference from the second with its sign turned."""
    first, second = [0.3, 0.1, 0.2, 0.7, 0.4], [2.0, 2.5, 2.1, 2.2, 2.9, 2.4, 2.0]
    found = stratified.mean([first, second])
    expected = stats.ttest_ind(first, [-one for one in second], equal_var=False).confidence_interval(0.95)
    assert found.value == pytest.approx((np.mean(first) + np.mean(second)) / 2)
    assert (found.low, found.high) == pytest.approx((expected.low / 2, expected.high / 2))


def test_the_interval_over_tasks_covers_what_it_promises():
    random = np.random.default_rng(2)
    found = [
        stratified.mean([random.normal(center, 0.1, 5).tolist() for center in (0.2, 0.5, 0.9)]) for _ in range(2000)
    ]
    # Two standard errors of the simulation are 0.01.
    assert 0.93 < np.mean([one.low <= 1.6 / 3 <= one.high for one in found]) < 0.97


def test_a_task_with_one_trial_leaves_no_interval_and_equal_trials_one_without_width():
    assert stratified.mean([[0.1, 0.2], [0.3]]).low is None
    assert stratified.mean([[0.5, 0.5], [1.0, 1.0]]) == stratified.Estimate(0.75, 0.75, 0.75)


def test_the_profile_is_the_fraction_above_each_score():
    strata = [[0.1, 0.5, 0.9, 0.9, 0.9], [0.2, 0.3, 0.4, 0.6, 0.7]]
    thresholds = np.array([0.0, 0.5, 0.9, 1.0])
    fraction, low, high = performance_profile(strata, thresholds)
    assert fraction == pytest.approx([np.mean(np.ravel(strata) > threshold) for threshold in thresholds])
    assert (low <= fraction).all()
    assert (fraction <= high).all()
    assert low[1] < fraction[1] < high[1]
    assert (low[0], high[0], high[3]) == (1, 1, 0)
