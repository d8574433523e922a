"""Estimates and their intervals, checked against scipy, closed forms and simulation."""

import numpy as np
import pytest
from scipy import stats

from rnnae_bench.statistics import estimates
from rnnae_bench.statistics.estimates import Estimate

ALL = (estimates.mean, estimates.median, estimates.interquartile_mean)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 11, 20])
def test_values_are_those_of_scipy(count):
    values = np.random.default_rng(count).normal(size=count).tolist()
    assert estimates.mean(values).value == pytest.approx(np.mean(values))
    assert estimates.median(values).value == pytest.approx(np.median(values))
    assert estimates.interquartile_mean(values).value == pytest.approx(stats.trim_mean(values, 0.25))


@pytest.mark.parametrize("estimate", ALL)
def test_intervals_have_the_value_in_them_and_move_with_the_data(estimate):
    random = np.random.default_rng(0)
    for count in (5, 6, 9, 20):
        values = random.exponential(size=count)
        found = estimate(values.tolist())
        assert found.low < found.value < found.high
        moved = estimate((3 + 2 * values).tolist())
        assert (moved.value, moved.low, moved.high) == pytest.approx(
            (3 + 2 * found.value, 3 + 2 * found.low, 3 + 2 * found.high)
        )


@pytest.mark.parametrize("estimate", ALL)
def test_the_order_of_the_values_and_the_time_of_day_change_nothing(estimate):
    values = [0.3, 0.1, 0.9, 0.4, 0.2, 0.7]
    assert estimate(values) == estimate(values)
    again = estimate(sorted(values))
    assert (again.low, again.high) == pytest.approx((estimate(values).low, estimate(values).high))


@pytest.mark.parametrize("estimate", ALL)
def test_one_value_has_no_interval_and_equal_values_one_without_width(estimate):
    assert estimate([0.1]) == Estimate(0.1, None, None)
    assert estimate([0.1] * 5) == Estimate(0.1, 0.1, 0.1)


def test_what_lies_within_the_values_needs_five_of_them():
    four = [0.1, 0.2, 0.3, 0.4]
    assert estimates.median(four).low is None
    assert estimates.interquartile_mean(four).low is None
    assert estimates.mean(four).low is not None


def test_the_interval_of_the_median_is_that_of_the_order_statistics():
    assert estimates.median([5.0, 1.0, 3.0, 2.0, 4.0]) == Estimate(3.0, 1.0, 5.0)
    # Where ranks d and n + 1 - d cover 95 % nearly exactly: n = 17, ranks 5 and 13 cover 95.1 %.
    found = estimates.median(np.arange(1.0, 18.0).tolist())
    assert (found.low, found.high) == pytest.approx((5, 13), abs=0.1)
    independent = stats.quantile_test(np.arange(1.0, 18.0), q=0, p=0.5).confidence_interval(0.95)
    assert independent.low <= found.low < found.high <= independent.high


def test_the_mean_reaches_at_most_two_and_a_half_times_as_far_as_student():
    values = [1.0, 1.0, 1.0, 1.0, 0.2]
    found, half = estimates.mean(values), stats.t(4).ppf(0.975) * stats.sem(values)
    assert found.value - found.low == pytest.approx(2.5 * half)
    assert found.high - found.value <= 2.5 * half


@pytest.mark.parametrize("count", [2, 3])
def test_the_mean_of_two_or_three_has_students_interval(count):
    values = np.random.default_rng(count).normal(size=count)
    found = estimates.mean(values.tolist())
    expected = stats.t(count - 1, loc=values.mean(), scale=stats.sem(values)).interval(0.95)
    assert (found.low, found.high) == pytest.approx(expected)


@pytest.mark.parametrize("count", [5, 7, 8, 20])
def test_the_ends_of_the_mean_are_halfway_between_students_and_the_studentised_bootstraps(count):
    """Skewed values, and other resamples than those of the estimate."""
    values = stats.gumbel_r.ppf((np.arange(count) + 0.5) / count)
    error = stats.sem(values)
    drawn = np.random.default_rng(1).choice(values, (100_000, count))
    with np.errstate(divide="ignore"):
        t = (drawn.mean(axis=1) - values.mean()) / stats.sem(drawn, axis=1)
    low, high = np.quantile(t, [0.025, 0.975])
    student = stats.t(count - 1).ppf(0.975)
    assert high < student < -low < 2.5 * student
    found = estimates.mean(values.tolist())
    assert (found.value - found.low) / error == pytest.approx((high + student) / 2, rel=0.06)
    far = -low if count < 8 else (student - low) / 2
    assert (found.high - found.value) / error == pytest.approx(far, rel=0.06)


LAWS = {
    "normal": stats.norm(),
    "uniform": stats.uniform(),
    "Student's t, 3 degrees": stats.t(3),
    "exponential": stats.expon(),
    "log-normal, sigma 0.5": stats.lognorm(0.5),
    "beta(5, 1)": stats.beta(5, 1),
    "beta(20, 2)": stats.beta(20, 2),
}


@pytest.mark.parametrize(
    ("name", "count"),
    [("normal", 5), ("normal", 8), *((law, (5, 8)[place % 2]) for place, law in enumerate(LAWS) if place)],
)
def test_the_intervals_cover_93_to_97_percent(name, count):
    law = LAWS[name]
    samples = law.rvs((4000, count), random_state=11).tolist()
    middle = 2 * law.expect(lb=law.ppf(0.25), ub=law.ppf(0.75))
    for estimate, truth in zip(ALL, (law.mean(), law.median(), middle), strict=True):
        covered = np.mean([(found := estimate(one)).low <= truth <= found.high for one in samples])
        # One and a half standard errors of the simulation are 0.005.
        assert 0.925 < covered < 0.975, estimate.__name__


def test_a_plain_percentile_interval_would_not():
    samples = np.random.default_rng(11).normal(size=(500, 5))
    resampled = samples[:, np.random.default_rng(1).integers(5, size=(999, 5))].mean(axis=2)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=1)
    assert ((low <= 0) & (high >= 0)).mean() < 0.88


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.99897, 0.99511, 1.0), "0.9990 [0.9951, 1.0000]"),
        (Estimate(0.54, 0.15, 0.94), "0.54 [0.15, 0.94]"),
        (Estimate(1234.5, 1100.0, 1350.0), "1234 [1100, 1350]"),
        (Estimate(0.5, 0.5, 0.5), "0.5 [all equal]"),
        (Estimate(1e-12, 0.9e-12, 1.1e-12), "1e-12 [9e-13, 1.1e-12]"),
        (Estimate(0.12345678, None, None), "0.1235"),
    ],
)
def test_text_has_the_digits_that_mean_something(estimate, text):
    assert estimate.text() == text
