"""Figures for a paper: what is drawn is what the suite's statistics say, and names can be read."""

from itertools import combinations

import numpy as np
import pytest

from rnnae_bench.records.history import Series
from rnnae_bench.report.paper.cost import front
from rnnae_bench.report.paper.curves import POINTS, over_seeds
from rnnae_bench.report.paper.names import place
from rnnae_bench.report.paper.style import PaperFigure, looks, styled
from rnnae_bench.statistics import estimates


def series(values, every=10):
    return Series(every * np.arange(1, len(values) + 1), np.asarray(values, dtype=float))


def test_a_curve_is_the_mean_of_the_seeds_at_each_step_in_its_interval():
    values = np.random.default_rng(0).random((5, 4))
    curve = over_seeds([series(one) for one in values], "interval")
    assert curve.steps.tolist() == [10, 20, 30, 40]
    for place_, column in enumerate(values.T):
        expected = estimates.mean(column.tolist())
        assert (curve.middle[place_], curve.low[place_], curve.high[place_]) == pytest.approx(
            (expected.value, expected.low, expected.high)
        )


def test_seeds_are_aligned_on_steps_and_one_that_ended_early_counts_as_long_as_it_lasted():
    curve = over_seeds([series([1, 2, 3]), series([3, np.nan]), Series(np.array([25]), np.array([7.0]))], "range")
    assert curve.steps.tolist() == [10, 20, 25, 30]
    assert curve.middle.tolist() == [2, 2, 7, 3]
    assert curve.low.tolist() == [1, 2, 7, 3]
    assert curve.high.tolist() == [3, 2, 7, 3]


def test_an_interval_of_a_primary_metric_ends_at_its_ceiling(make_record):
    values = [[0.99], [0.98], [1.0], [0.9], [1.0]]
    free, bound = (
        over_seeds([series(one) for one in values], "interval", primary) for primary in (None, make_record().primary)
    )
    assert free.high[0] > 1
    assert bound.high[0] == 1
    assert bound.low[0] == free.low[0]


def test_on_a_logarithmic_axis_the_mean_is_geometric():
    curve = over_seeds([series([1.0, 0.0]), series([100.0, 5.0])], "range", log=True)
    assert curve.middle == pytest.approx([10, 5])
    assert curve.low == pytest.approx([1, 5])
    assert curve.high == pytest.approx([100, 5])


def test_many_steps_become_few_points():
    curve = over_seeds([series(np.arange(5000.0), every=1)], "range")
    assert len(curve.steps) == POINTS
    assert curve.steps[-1] == 5000


@pytest.mark.parametrize("rising", [True, False])
def test_the_front_has_those_points_that_no_other_one_beats(rising):
    points = [tuple(one) for one in np.random.default_rng(1).integers(1, 9, size=(40, 2)).astype(float).tolist()]
    sign = 1 if rising else -1

    def beats(one, other):
        return one[0] <= other[0] and sign * one[1] >= sign * other[1] and one != other

    expected = {one for one in points if not any(beats(other, one) for other in points)}
    found = front(points, rising)
    assert {points[one] for one in found} == expected
    assert len(found) == len(expected)


def test_a_row_looks_the_same_whatever_is_drawn_beside_it_and_like_no_other():
    names = [f"m{number:02}" for number in range(28)]
    found = looks(reversed(names))
    assert found == looks(names)
    assert len({(one.colour, str(one.dash)) for one in found.values()}) == 28


def test_names_cover_neither_each_other_nor_points():
    points = np.random.default_rng(2).random((14, 2))
    with styled():
        figure = PaperFigure(3.25, 2.5)
        axes = figure.subplots()
        axes.plot(*points.T, "o", markersize=3)
        figure.draw_without_rendering()
        place(axes, [tuple(one) for one in points], [f"model{number}" for number in range(14)])
        boxes = [text.get_window_extent() for text in axes.texts]
        assert len(boxes) == 14
        assert not [1 for one, other in combinations(boxes, 2) if one.overlaps(other)]
        pixels = axes.transData.transform(points)
        assert not [1 for box in boxes for pixel in pixels if box.contains(*pixel)]
        assert all(axes.get_window_extent().padded(1).contains(*corner) for box in boxes for corner in box.corners())
