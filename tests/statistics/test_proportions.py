"""Shares of few trials, checked against statsmodels, scipy and all outcomes that there are."""

from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportion_confint,
    samplesize_proportions_2indep_onetail,
)

from rnnae_bench.statistics import proportions


@pytest.mark.parametrize("trials", [1, 5, 17, 100])
def test_the_interval_of_a_share_is_statsmodels_wilson(trials):
    for successes in {0, 1, trials // 3, trials // 2, trials - 1, trials}:
        found = proportions.wilson(successes, trials)
        assert found.value == successes / trials
        assert (found.low, found.high) == pytest.approx(
            proportion_confint(successes, trials, method="wilson"), abs=1e-12
        )
    assert proportions.wilson(0, trials).low == 0
    assert proportions.wilson(trials, trials).high == 1


@pytest.mark.parametrize(
    ("first", "second"), [((3, 5), (0, 5)), ((5, 5), (0, 5)), ((7, 9), (10, 40)), ((2, 5), (2, 5))]
)
def test_two_shares_are_compared_as_by_statsmodels_and_scipy(first, second):
    found = proportions.difference(first, second)
    assert found.value == pytest.approx(first[0] / first[1] - second[0] / second[1])
    expected = confint_proportions_2indep(*first, *second, method="newcomb", compare="diff")
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)
    # Fisher's: all tables of these margins that are no likelier than the one seen.
    successes = first[0] + second[0]
    law = stats.hypergeom(first[1] + second[1], successes, first[1])
    weights = law.pmf(np.arange(first[1] + 1))
    expected = weights[weights <= law.pmf(first[0]) * (1 + 1e-9)].sum()
    assert proportions.p_value(first, second) == pytest.approx(expected)


@pytest.mark.parametrize(("one", "other"), [(0.6, 0.0), (1.0, 0.2), (0.9, 0.6), (0.3, 0.5)])
def test_so_many_trials_tell_as_often_as_they_should_by_counting_all_outcomes(one, other):
    count = proportions.trials_to_tell(one, other)
    assert proportions.trials_to_tell(other, one) == count

    def told(trials):
        chances = [stats.binom(trials, share).pmf(np.arange(trials + 1)) for share in (one, other)]
        return sum(
            chances[0][i] * chances[1][j]
            for i, j in product(range(trials + 1), repeat=2)
            if chances[0][i] * chances[1][j] > 1e-9
            and stats.fisher_exact([[i, trials - i], [j, trials - j]]).pvalue <= 0.05
        )

    assert 0.78 < told(count) < 0.93
    assert told(max(2, count // 2)) < 0.6
    # Without the correction, statsmodels' number: the correction only adds.
    plain = samplesize_proportions_2indep_onetail(one - other, other, 0.8, alpha=0.05, alternative="two-sided")
    assert plain < count < plain + 2 / abs(one - other) + 2


def test_seeds_still_needed():
    assert proportions.p_value((3, 5), (0, 5)) > 0.05
    assert proportions.more_to_tell((3, 5), (0, 5)) == proportions.trials_to_tell(0.6, 0.0) - 5
    assert proportions.more_to_tell((3, 5), (0, 6)) == proportions.trials_to_tell(0.6, 0.0) - 5
    assert proportions.more_to_tell((5, 5), (0, 5)) == 0
    assert proportions.more_to_tell((2, 5), (4, 10)) is None
    assert proportions.more_to_tell((500, 1000), (501, 1000)) is None


@pytest.mark.parametrize(("successes", "trials", "width"), [(3, 5, 0.2), (0, 5, 0.2), (45, 50, 0.1), (50, 100, 0.5)])
def test_the_interval_narrows_as_said_and_not_before(successes, trials, width):
    more = proportions.more_to_narrow(successes, trials, width)
    share = successes / trials
    low, high = proportion_confint(share * (trials + more), trials + more, method="wilson")
    assert high - low <= width
    if more:
        low, high = proportion_confint(share * (trials + more - 1), trials + more - 1, method="wilson")
        assert high - low > width


def test_what_is_no_share_is_refused():
    for successes, trials in [(0, 0), (3, 2), (-1, 5)]:
        with pytest.raises(ValueError, match="is no share"):
            proportions.wilson(successes, trials)
        with pytest.raises(ValueError, match="is no share"):
            proportions.p_value((1, 2), (successes, trials))
    with pytest.raises(ValueError, match="no interval has the width"):
        proportions.more_to_narrow(1, 2, 0.0)


def test_more_are_needed_exactly_where_the_shares_differ_and_the_test_has_not_told():
    for first, second in product([(i, n) for n in (2, 5, 6) for i in range(n + 1)], repeat=2):
        more, gap = proportions.more_to_tell(first, second), abs(first[0] / first[1] - second[0] / second[1])
        assert (more is None) == (gap < 0.06)
        assert (more == 0) == (proportions.p_value(first, second) <= 0.05)
