"""The interval over test examples, checked against scipy's bootstrap and a moving average of known variance."""

import numpy as np
import pytest
from scipy import signal, stats

from rnnae_bench.statistics.sampling import mean_over_examples


@pytest.mark.parametrize("count", [50, 3000])
def test_the_interval_is_scipys_percentile_bootstrap(count):
    values = np.random.default_rng(count).exponential(size=count)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=9999, rng=1, batch=100
    ).confidence_interval
    found = mean_over_examples(values)
    assert found.value == pytest.approx(values.mean())
    width = expected.high - expected.low
    # At 50 it is wider by design: 2.5 % for Student's t and 1 % for the sample variance.
    assert found.high - found.low == pytest.approx(width * (1.036 if count == 50 else 1), rel=0.06)
    assert found.low + found.high == pytest.approx(expected.low + expected.high, abs=0.1 * width)


def test_blocks_cover_what_neighbours_share():
    """Sums of 10 neighbours: the mean has 10 times the variance that independent values would give it."""
    generator = np.random.default_rng(0)
    covered = {1: 0, 40: 0}
    for _ in range(100):
        values = signal.convolve(generator.normal(size=809), np.ones(10), mode="valid")
        for block in covered:
            found = mean_over_examples(values, block)
            covered[block] += found.low <= 0 <= found.high
    # Within 3.3 standard errors of 95 % in blocks; one by one the interval is so narrow that it covers 46 %.
    assert covered[40] >= 87
    assert covered[1] <= 63


def test_fewer_than_five_blocks_give_no_interval():
    assert mean_over_examples(np.arange(9.0), 2).low is None
    assert mean_over_examples(np.arange(10.0), 2).low is not None


def test_the_same_values_give_the_same_interval():
    values = np.random.default_rng(0).normal(size=100)
    assert mean_over_examples(values) == mean_over_examples(values)
