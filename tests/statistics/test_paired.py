"""Paired comparison, checked against scipy, statsmodels and simulation."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.nonparametric import rank_compare_2indep

from rnnae_bench.statistics import paired


@pytest.mark.parametrize("count", [2, 5, 20])
def test_p_and_interval_are_those_of_scipys_paired_t_test(count):
    random = np.random.default_rng(count)
    first, second = random.normal(0.5, 1, count), random.normal(size=count)
    expected = stats.ttest_rel(first, second)
    assert paired.p_value((first - second).tolist()) == pytest.approx(max(expected.pvalue, 2 / 4**count), rel=1e-9)
    found, interval = paired.difference((first - second).tolist()), expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_five_seeds_can_show_a_difference_where_signs_alone_can_not():
    differences = [0.11, 0.12, 0.10, 0.13, 0.11]
    assert stats.ttest_1samp(differences, 0).pvalue < 2 / 4**5 == paired.p_value(differences)
    assert stats.wilcoxon(differences).pvalue == 2 / 32


def test_equal_differences_have_the_p_of_the_worst_case():
    assert paired.p_value([0.0] * 5) == 1.0
    assert paired.p_value([0.5] * 5) == 2 / 4**5
    assert paired.p_value([0.1 + 0.2 - 0.3 + 0.5, 0.5]) == 2 / 4**2
    with pytest.raises(ValueError, match="two differences"):
        paired.p_value([0.5])


@pytest.mark.parametrize("moved", [1e-9, -1e-6, 1e-4])
def test_p_does_not_jump_where_differences_cease_to_be_equal(moved):
    assert paired.p_value([0.5, 0.5, 0.5, 0.5, 0.5 + moved]) == paired.p_value([0.5] * 5)


def test_the_worst_case_is_two_values_that_are_equally_likely():
    """P(x - y = c) of independent x and y with one distribution on a grid is never above 1/4."""
    random = np.random.default_rng(0)
    masses = random.dirichlet(np.full(6, 0.3), size=20_000)
    assert (masses[:, 1:] * masses[:, :-1]).sum(axis=1).max() <= 0.25
    assert (masses[:, 2:] * masses[:, :-2]).sum(axis=1).max() <= 0.25


@pytest.mark.parametrize("count", [0, 1, 2, 10])
def test_holm_is_that_of_statsmodels(count):
    p = np.random.default_rng(count).random(count) ** 3
    expected = multipletests(p, method="holm")[1].tolist() if count else []
    assert paired.holm(p.tolist()) == pytest.approx(expected)


def test_superiority_counts_pairs_with_ties_half():
    first, second = [1.0, 2.0, 2.0, 4.0, 5.0], [0.0, 2.0, 3.0, 1.0, 2.0]
    found = paired.superiority(first, second)
    assert found.value == pytest.approx(stats.mannwhitneyu(first, second).statistic / 25)
    opposite = paired.superiority(second, first)
    assert (opposite.value, opposite.low, opposite.high) == pytest.approx(
        (1 - found.value, 1 - found.high, 1 - found.low)
    )


def test_superiority_has_an_interval_where_all_are_better():
    found = paired.superiority([2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 1.0, 1.5, 1.0, 1.2])
    assert (found.value, found.high) == pytest.approx((1, 1))
    assert 0.5 < found.low < 0.8


def test_superiority_of_many_is_near_brunner_and_munzel():
    random = np.random.default_rng(5)
    first, second = random.normal(0.5, 1, 60), random.normal(size=60)
    found = paired.superiority(first.tolist(), second.tolist())
    independent = rank_compare_2indep(first, second)
    assert found.value == pytest.approx(independent.prob1)
    assert (found.low, found.high) == pytest.approx(independent.conf_int(alpha=0.05), abs=0.02)


@pytest.mark.parametrize("values", [2, 3, 20])
def test_equal_models_with_ties_are_rarely_told_apart(values):
    random = np.random.default_rng(values)
    differences = random.integers(values, size=(3000, 5)) - random.integers(values, size=(3000, 5))
    p = np.array([paired.p_value(one) for one in differences.astype(float).tolist()])
    assert (p <= 0.05).mean() < 0.06
    assert (p <= 0.005).mean() < 0.015
