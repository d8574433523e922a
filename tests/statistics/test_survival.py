"""Curves of censored times, checked against statsmodels and against a published trial."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight, survdiff

from rnnae_bench.statistics import survival

# Freireich et al. (1963), weeks of remission of acute leukaemia; False: still in remission when last seen.
MERCAPTOPURINE = [(6, True)] * 3 + [
    (6, False), (7, True), (9, False), (10, True), (10, False), (11, False), (13, True), (16, True), (17, False),
    (19, False), (20, False), (22, True), (23, True), (25, False), (32, False), (32, False), (34, False), (35, False),
]  # fmt: skip
PLACEBO = [(week, True) for week in (1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23)]


def drawn(seed, count=12, budget=2000.0):
    """Trials looked at every 250 steps, with ties; some censored at the budget, some before."""
    random = np.random.default_rng(seed)
    steps = np.ceil(random.exponential(1200, count) / 250) * 250
    last = np.where(random.random(count) < 0.2, np.ceil(random.random(count) * 8) * 250, budget)
    return [(float(min(one, end)), bool(one <= end)) for one, end in zip(steps, last, strict=True)]


def theirs(trials):
    return SurvfuncRight(np.array([time for time, _ in trials]), np.array([came for _, came in trials], dtype=int))


@pytest.mark.parametrize("seed", range(6))
def test_the_curve_is_statsmodels_with_the_textbooks_interval(seed):
    trials = drawn(seed)
    found, expected = survival.kaplan_meier(trials), theirs(trials)
    came = expected.n_events > 0
    assert found.times == tuple(expected.surv_times[came])
    assert found.share == pytest.approx(1 - expected.surv_prob[came])
    assert found.until == max(time for time, _ in trials)
    for place, (left, error) in enumerate(zip(expected.surv_prob[came], expected.surv_prob_se[came], strict=True)):
        if left == 0:
            assert found.low[place] is found.high[place] is None
            continue
        reach = stats.norm.ppf(0.975) * error / (left * np.log(left))
        ends = sorted(1 - left ** np.exp(sign * reach) for sign in (-1, 1))
        assert (found.low[place], found.high[place]) == pytest.approx(ends)


@pytest.mark.parametrize("seed", range(6))
def test_the_median_is_statsmodels_with_its_interval(seed):
    trials = drawn(seed, count=13)
    found, expected = survival.median(survival.kaplan_meier(trials)), theirs(trials)
    assert found.value == pytest.approx(expected.quantile(0.5))
    low, high = expected.quantile_ci(0.5, method="cloglog")
    assert found.low == pytest.approx(low)
    assert found.high == (None if np.isinf(high) else pytest.approx(high))


def test_a_published_trial():
    curve = survival.kaplan_meier(MERCAPTOPURINE)
    at = curve.times.index(6.0)
    # Kleinbaum & Klein, Survival Analysis (2012), chapter 2: 0.857, and 0.6196 to 0.9516 on the log-minus-log scale.
    assert 1 - curve.share[at] == pytest.approx(0.857, abs=5e-4)
    assert (1 - curve.high[at], 1 - curve.low[at]) == pytest.approx((0.6196, 0.9516), abs=1e-3)
    assert survival.median(curve).value == 23
    assert survival.median(survival.kaplan_meier(PLACEBO)).value == 8
    # Their log-rank statistic is 16.79.
    assert survival.log_rank(MERCAPTOPURINE, PLACEBO) == pytest.approx(stats.chi2.sf(16.79, 1), rel=5e-3)


@pytest.mark.parametrize("seed", range(6))
def test_the_log_rank_test_is_statsmodels(seed):
    first, second = drawn(seed, 5), drawn(seed + 100, 8, budget=1500.0)
    time, came = np.array([*first, *second]).T
    _, p = survdiff(time, came.astype(int), np.repeat([0, 1], [5, 8]))
    assert survival.log_rank(first, second) == pytest.approx(p)
    assert survival.log_rank(second, first) == pytest.approx(p)


def test_where_nothing_came_there_is_no_median_and_no_test():
    never = [(2000.0, False)] * 5
    curve = survival.kaplan_meier(never)
    assert (curve.times, curve.share, curve.until) == ((), (), 2000.0)
    assert survival.median(curve) == survival.Quantile(None, None, None)
    assert survival.log_rank(never, never) is None


def test_where_it_came_in_all_at_once_there_is_a_median_without_an_interval():
    at_once = [(250.0, True)] * 5
    curve = survival.kaplan_meier(at_once)
    assert (curve.share, curve.low, curve.high) == ((1.0,), (None,), (None,))
    assert survival.median(curve) == survival.Quantile(250.0, None, None)
    assert survival.log_rank(at_once, at_once) is None


def test_half_of_the_trials_are_enough_for_the_median():
    trials = [(100.0, True), (200.0, True), (300.0, True)] + [(1000.0, False)] * 3
    assert survival.median(survival.kaplan_meier(trials)).value == 300
    assert survival.median(survival.kaplan_meier([*trials, (1000.0, False)])).value is None


def test_an_early_end_that_is_censored_there_is_at_risk_until_then():
    assert survival.kaplan_meier([(100.0, False), (100.0, True), (200.0, True)]).share == pytest.approx((1 / 3, 1))
    assert survival.kaplan_meier([(99.0, False), (100.0, True), (200.0, True)]).share == pytest.approx((1 / 2, 1))


def test_a_group_without_trials_is_refused():
    with pytest.raises(ValueError, match="no trial"):
        survival.kaplan_meier([])
    with pytest.raises(ValueError, match="in each group"):
        survival.log_rank([(1.0, True)], [])
