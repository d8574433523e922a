"""The longest length that is solved, against its definition tried on every length."""

import itertools
import math

import pytest

from rnnae_bench.metrics import longest_solved


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_it_and_all_shorter_ones_are_solved(direction):
    good, bad = (1.0, 0.5) if direction == "maximize" else (0.5, 1.0)
    for values in itertools.product((good, bad), repeat=4):
        measured = dict(zip((80, 10, 40, 20), values, strict=True))
        reached = [n for n in measured if all(measured[m] == good for m in measured if m <= n)]
        assert longest_solved(measured, good, direction) == max(reached, default=0)


def test_the_threshold_itself_solves_and_no_number_does_not():
    assert longest_solved({10: 0.99, 20: math.nextafter(0.99, 0)}, 0.99) == 10
    assert longest_solved({10: 0.1, 20: math.nextafter(0.1, 1)}, 0.1, "minimize") == 10
    assert longest_solved({10: 1.0, 20: math.nan, 40: 1.0}, 0.99) == 10
    assert longest_solved({10: math.nan}, 0.99, "minimize") == 0
    assert longest_solved({}, 0.99) == 0
