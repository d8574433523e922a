"""Power and numbers of seeds, checked against statsmodels and simulation."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from rnnae_bench.statistics.power import more_pairs, power


@pytest.mark.parametrize("effect", [0.0, 0.1, 0.5, -1.0, 2.0])
@pytest.mark.parametrize("pairs", [2, 5, 8, 20])
@pytest.mark.parametrize("level", [0.05, 0.001])
def test_power_is_that_of_statsmodels(effect, pairs, level):
    expected = TTestPower().power(effect, pairs, level)
    if np.isnan(expected):
        # scipy's noncentral t gives no number for large effects.
        assert power(effect, pairs, level) > 0.99
    else:
        assert power(effect, pairs, level) == pytest.approx(expected, abs=1e-4)


def test_power_is_what_a_simulation_finds():
    samples = np.random.default_rng(0).normal(1.2, 1, size=(20_000, 6))
    found = (stats.ttest_1samp(samples, 0, axis=1).pvalue <= 0.01).mean()
    assert power(1.2, 6, 0.01) == pytest.approx(found, abs=0.011)


def test_so_many_more_pairs_have_the_power_and_one_less_does_not():
    differences = [0.3, 0.1, -0.2, 0.4, 0.2]
    more = more_pairs(differences)
    effect = np.mean(differences) / np.std(differences, ddof=1)
    needed = TTestPower().solve_power(effect, alpha=0.05, power=0.8)
    assert 5 + more == np.ceil(needed)
    assert more_pairs(differences, 0.001) > more


def test_what_already_has_the_power_needs_one_more_at_least():
    assert more_pairs([1.0, 1.1, 0.9, 1.0, 1.2]) == 1


@pytest.mark.parametrize("differences", [[0.0] * 5, [1.0, -1.0], [1.0, -1.0, 1.0, -1.0, 1e-6]])
def test_no_number_is_said_where_there_is_no_difference_to_show(differences):
    assert more_pairs(differences) is None


def test_equal_differences_need_as_many_pairs_as_their_p_does():
    """The p of so many equal differences is 2/4^n: 0.125 of two, 0.03 of three."""
    assert more_pairs([0.5] * 2) == 1
    assert more_pairs([0.5] * 3, 0.05 / 30) == 1


def test_a_spread_that_more_know_of_needs_fewer_pairs():
    differences = [0.3, 0.1, -0.2, 0.4, 0.2]
    spread = float(np.std(differences, ddof=1))
    together = more_pairs(differences, 0.01, spread, lambda pairs: 7 * (pairs - 1))
    assert 0 < together < more_pairs(differences, 0.01)
    effect, pairs = np.mean(differences) / spread, 5 + together
    critical = stats.t.isf(0.005, 7 * (pairs - 1))
    assert stats.nct.sf(critical, 7 * (pairs - 1), effect * pairs**0.5) >= 0.8
