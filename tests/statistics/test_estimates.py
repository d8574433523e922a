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


def test_the_mean_reaches_at_most_twice_as_far_as_student():
    values = [1.0, 1.0, 1.0, 1.0, 0.2]
    found, half = estimates.mean(values), stats.t(4).ppf(0.975) * stats.sem(values)
    assert found.value - found.low == pytest.approx(2 * half)
    assert found.high - found.value <= 2 * half


DRAWS = {
    "normal": (lambda random, size: random.normal(size=size), 0.0, 0.0),
    "uniform": (lambda random, size: random.random(size), 0.5, 0.5),
    "exponential": (
        lambda random, size: random.exponential(size=size),
        1.0,
        2 * stats.expon.expect(lb=np.log(4 / 3), ub=np.log(4)),
    ),
    "beta(20, 2)": (lambda random, size: random.beta(20, 2, size), 20 / 22, None),
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("count", [5, 10])
def test_the_intervals_cover_what_they_promise(name, count):
    draw, mean, iqm = DRAWS[name]
    samples = draw(np.random.default_rng(11), (1000, count)).tolist()
    everything = np.sort(draw(np.random.default_rng(12), 1_000_000))
    iqm = everything[250_000:-250_000].mean() if iqm is None else iqm

    def coverage(estimate, truth):
        return np.mean([(found := estimate(one)).low <= truth <= found.high for one in samples])

    # Three standard errors of the simulation are 0.02.
    lowest = 0.89 if name == "exponential" else 0.92
    assert lowest < coverage(estimates.mean, mean) < 0.985
    assert 0.91 < coverage(estimates.interquartile_mean, iqm) < 0.98
    assert 0.91 < coverage(estimates.median, np.median(everything)) < 0.975


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
