"""All pairs of several models tested together: closed forms, continuity, error rates and power by simulation."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from rnnae_bench.statistics import paired
from rnnae_bench.statistics.family import family


def differences(values):
    return [(one - other).tolist() for one, other in combinations(np.asarray(values, dtype=float), 2)]


def corrected(values):
    found = differences(values)
    return family(found, len(values)).corrected(found)


def test_two_models_have_the_paired_t_test():
    first, second = np.random.default_rng(1).normal(size=(2, 6))
    assert corrected([first, second]) == [pytest.approx(stats.ttest_rel(first, second).pvalue)]
    assert family(differences([first, second]), 2).smallest(6, 0.05) == pytest.approx(
        stats.t.isf(0.025, 5) * np.std(first - second, ddof=1) / 6**0.5
    )


def test_models_of_one_variance_have_that_of_the_two_way_layout():
    """Where pairs' variances are no more different than estimates of one, all is as with the residual mean square."""
    values = np.random.default_rng(0).normal(size=(6, 5))
    values[0] += 2.5
    residuals = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    square = (residuals**2).sum() / (5 * 4)
    pairs = list(combinations(values.mean(1), 2))
    p = [2 * stats.t.sf(abs(one - other) / (2 * square / 5) ** 0.5, 20) for one, other in pairs]
    expected = np.maximum(multipletests(p, method="holm")[1], [paired.p_value(one) for one in differences(values)])
    assert family(differences(values), 6).alike == 1
    assert corrected(values) == pytest.approx(expected.tolist())
    assert family(differences(values), 6).smallest(5, 0.05) == pytest.approx(
        max(stats.t.isf(0.025 / 15, 20), stats.t.isf(0.025, 4)) * (2 * square / 5) ** 0.5
    )


def test_models_of_unequal_variances_are_judged_by_their_own():
    random = np.random.default_rng(2)
    values = random.normal(size=(8, 5)) * np.array([100, 100, 1, 1, 1, 1, 1, 1])[:, None]
    found = family(differences(values), 8)
    assert found.alike < 0.1
    pair = (values[2] - values[3]).tolist()
    assert found.spread(pair) > np.std(pair, ddof=1)
    assert found.spread((values[0] - values[1]).tolist()) == pytest.approx(
        np.std(values[0] - values[1], ddof=1), rel=0.1
    )
    assert 4 <= found.degrees(5) < 5


@pytest.mark.parametrize("models", [2, 3, 8, 15, 30])
@pytest.mark.parametrize("moved", [0.0, 1e-9, 1e-6])
def test_perfect_separation_is_no_tie_however_many_models_there_are(models, moved):
    """One model always at 1, all others always at the floor; the floor of p is that of the two alone."""
    values = np.full((models, 5), 0.125)
    values[0] = 1.0
    values[models // 2, 3] += moved
    found = corrected(values)
    assert found[: models - 1] == pytest.approx([2 / 4**5] * (models - 1))
    if not moved:
        assert found[models - 1 :] == [1.0] * (len(found) - models + 1)


def test_p_is_continuous_in_the_data():
    """No step of 1e-9, in any value of whatever kind of table, moves any p by more than 1e-4."""
    random = np.random.default_rng(3)
    tables = [
        random.normal(size=(5, 5)),
        (random.random((6, 5)) < np.array([1, 1, 0.5, 0.5, 0.1, 0])[:, None]).astype(float),
        np.repeat([[1.0], [0.5], [0.4]], 5, axis=1) + np.array([[0], [0], [0.1]]) * random.normal(size=5),
    ]
    for values in tables:
        before = np.array(corrected(values))
        # Of two models that are the same to the last bit, p is 1; moved by whatever, they are never told apart.
        same = np.array([not np.any(one) for one in differences(values)])
        for place in np.ndindex(values.shape):
            moved = values.copy()
            moved[place] += 1e-9
            assert np.abs(np.array(corrected(moved)) - before)[~same].max() < 1e-4
            assert (np.array(corrected(moved))[same] > 0.3).all()


NULLS = {
    "normal": lambda random, size: random.normal(size=size),
    "solved or not": lambda random, size: (random.random(size) < 0.5).astype(float),
    "in steps of 0.05": lambda random, size: np.round(random.beta(9, 1, size) * 20) / 20,
    "unequal variances": lambda random, size: random.normal(size=size) * np.geomspace(0.1, 1, size[0])[:, None],
    "two noisy": lambda random, size: random.normal(size=size) * np.where(np.arange(size[0]) < 2, 1, 0.01)[:, None],
}


@pytest.mark.parametrize("draw", NULLS)
def test_equal_models_are_told_apart_as_seldom_as_promised(draw):
    random = np.random.default_rng(4)
    wrong = sum(min(corrected(NULLS[draw](random, (5, 5)))) <= 0.05 for _ in range(200))
    assert wrong <= 200 * 0.05 + 2.6 * (200 * 0.05 * 0.95) ** 0.5


def test_of_groups_far_apart_those_of_one_are_told_apart_as_seldom():
    random = np.random.default_rng(5)
    group = np.arange(6) % 3
    same = np.array([one == other for one, other in combinations(group, 2)])
    wrong = 0
    for _ in range(300):
        p = np.array(corrected(random.normal(size=(6, 5)) + 20 * group[:, None]))
        assert (p[~same] <= 0.05).all()
        wrong += p[same].min() <= 0.05
    assert wrong <= 300 * 0.05 + 2.6 * (300 * 0.05 * 0.95) ** 0.5


def test_four_standard_deviations_apart_are_told_apart_among_eight_models():
    random = np.random.default_rng(6)
    shown, by_holm = 0, 0
    for _ in range(60):
        values = random.normal(size=(8, 5))
        values[0] += 4
        shown += sum(p <= 0.05 for p in corrected(values)[:7])
        by_holm += sum(p <= 0.05 for p in paired.holm([paired.p_value(one) for one in differences(values)])[:7])
    assert shown / (60 * 7) > 0.9
    assert by_holm / (60 * 7) < 0.6


def test_so_few_seeds_tell_nothing_apart():
    assert family(differences([[1.0, 1.0], [0.0, 0.0]]), 2).smallest(2, 0.05) is None
    assert family(differences([[1.0] * 3, [0.0] * 3]), 2).smallest(3, 0.05) == 0
