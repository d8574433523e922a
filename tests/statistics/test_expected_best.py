"""The expected best of n against every way to draw n, and against drawing by chance."""

import itertools

import numpy as np
import pytest

from rnnae_bench.statistics.expected_best import expected_best


@pytest.mark.parametrize("values", [[3.0], [0.2, 0.1], [5.0, -1.0, 2.0, 2.0, 0.5, 7.0, 7.0]])
def test_it_is_the_mean_over_every_way_to_draw(values):
    expected = [
        np.mean([max(drawn) for drawn in itertools.combinations(values, size)]) for size in range(1, len(values) + 1)
    ]
    np.testing.assert_allclose(expected_best(values), expected, rtol=1e-14)


def test_it_is_what_drawing_by_chance_gives():
    random = np.random.default_rng(0)
    values = random.normal(size=40)
    draws = values[np.argsort(random.random((20_000, 40)), axis=1)]
    found = np.maximum.accumulate(draws, axis=1)
    error = found.std(axis=0) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - expected_best(values.tolist())) <= 4 * error + 1e-12).all()


def test_from_the_mean_to_the_best_and_never_down():
    values = np.random.default_rng(1).normal(size=300)
    expected = expected_best(values.tolist())
    assert expected[0] == pytest.approx(values.mean())
    assert expected[-1] == values.max()
    assert (np.diff(expected) >= 0).all()


def test_nothing_tried_is_nothing_expected():
    assert expected_best([]).shape == (0,)
