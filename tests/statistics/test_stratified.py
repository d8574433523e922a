"""Statistics over tasks: every task with the same weight; profiles with bands."""

import numpy as np
import pytest
from scipy import stats

from rnnae_bench.statistics import stratified
from rnnae_bench.statistics.profiles import performance_profile


def test_with_as_many_trials_everywhere_it_is_the_trimmed_mean_of_all():
    random = np.random.default_rng(0)
    for tasks, trials in ((1, 5), (3, 5), (4, 7), (2, 10)):
        strata = random.normal(size=(tasks, trials)).tolist()
        assert stratified.interquartile_mean(strata).value == pytest.approx(stats.trim_mean(np.ravel(strata), 0.25))


def test_more_trials_of_one_task_give_it_no_more_weight():
    random = np.random.default_rng(1)
    strata = [random.normal(0, 1, 8).tolist(), random.normal(2, 1, 8).tolist()]
    one, thrice = stratified.interquartile_mean(strata), stratified.interquartile_mean([strata[0] * 3, strata[1]])
    assert thrice.value == pytest.approx(one.value)
    assert thrice.high - thrice.low < one.high - one.low


def test_the_interval_over_tasks_covers_what_it_promises():
    random = np.random.default_rng(2)
    draws = [lambda size, m=m: random.normal(m, 0.1, size) for m in (0.2, 0.5, 0.9)]
    everything = np.sort(np.concatenate([draw(500_000) for draw in draws]))
    truth = everything[len(everything) // 4 : -len(everything) // 4].mean()
    found = [stratified.interquartile_mean([draw(5).tolist() for draw in draws]) for _ in range(2000)]
    # Two standard errors of the simulation are 0.01.
    assert 0.92 < np.mean([one.low <= truth <= one.high for one in found]) < 0.98


def test_a_task_with_one_trial_leaves_no_interval():
    assert stratified.interquartile_mean([[0.1, 0.2], [0.3]]).low is None


def test_the_profile_is_the_fraction_above_each_score():
    strata = [[0.1, 0.5, 0.9, 0.9, 0.9], [0.2, 0.3, 0.4, 0.6, 0.7]]
    thresholds = np.array([0.0, 0.5, 0.9, 1.0])
    fraction, low, high = performance_profile(strata, thresholds)
    assert fraction == pytest.approx([np.mean(np.ravel(strata) > threshold) for threshold in thresholds])
    assert (low <= fraction).all()
    assert (fraction <= high).all()
    assert low[1] < fraction[1] < high[1]
    assert (low[0], high[0], high[3]) == (1, 1, 0)
