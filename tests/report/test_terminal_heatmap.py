"""Gradients through time in the terminal: half decades can be told apart, and what is needed is marked."""

import io

import numpy as np
import pytest
from rich.console import Console

from rnnae_bench.records.history import Series
from rnnae_bench.report.terminal_heatmap import coloured, terminal_heatmap

NAME = "gradient_flow/last_step/recurrence.l0/h"


def sloping(*slopes: float, lags: int = 100) -> Series:
    """One profile a slope, in decades a step."""
    profiles = -1 + np.outer(slopes, np.arange(lags))
    return Series(np.arange(1, len(slopes) + 1) ** 2, profiles.astype(np.float32))


def test_to_the_character():
    profiles = [[0, -0.7, -1.2, -2.2, -3.2, -10], [-3, 1, -3, np.nan, -3, -2], [np.nan] * 6]
    series = Series(np.array([1, 30, 2000]), np.array(profiles, dtype=np.float32))
    # the shades of: nothing measured; 0 4 0 - 0 1; 0 -0.7 -1.2 -2.2 -3.2 -10
    assert terminal_heatmap({NAME: series}, 3, width=20) == "\n".join(
        [
            "gradient norm by lag: recurrence.l0 h, loss of the last scored step alone",
            " step",
            "2,000 │",
            "   30 │@@WW@@  @@^^",
            "    1 │@@%%##++--..",
            "      └────────────",
            "  lag  0          5",
            "             ^ needed 3",
            "times lag 0:  W >1e3  ^ >3  @ >.3  % >.1  # >.03  + >.003  - >3e-4  . <1e-4",
            "last profile, step 30: -0.174 log10 per lag",
            "effective horizon (above 0.001 of lag 0): at least 5 lags; the task needs 3",
        ]
    )


def test_each_half_decade_has_a_character_of_its_own():
    lines = terminal_heatmap({NAME: sloping(-0.5, lags=10)}, width=16).splitlines()
    row = lines[2].partition("│")[2]
    assert row == "@%#*+=-:.."
    assert "W" not in "".join(lines[5:6]), "the legend names what occurs, and nothing else"


@pytest.mark.parametrize(
    ("needed", "line"), [(0, "       ^ needed 0"), (50, " " * 32 + "^ needed 50"), (90, " " * 42 + "needed 90 ^")]
)
def test_the_lag_that_the_task_needs_is_marked_where_there_is_room(needed, line):
    lines = terminal_heatmap({NAME: sloping(*[-0.01] * 50)}, needed, width=57).splitlines()
    (marked,) = [one for one in lines if "^ " in one or " ^" in one]
    assert marked == line or marked.strip() == line.strip()
    assert len(marked) <= 57
    column = marked.index("^") - 7
    assert abs(column * 2 - needed) <= 1, "at the column that shows this lag, two lags a column"


def test_a_lag_beyond_what_was_measured_points_out_of_the_picture():
    lines = terminal_heatmap({NAME: sloping(-0.2, lags=20)}, 30).splitlines()
    assert [one.strip() for one in lines if "needed" in one] == ["needed 30 >"]
    assert lines[-1].endswith("14 lags; the task needs 30")
    assert lines[-2] == "last profile, step 1: -0.200 log10 per lag"


def test_what_falls_together_is_shown_by_its_median():
    values = np.zeros((4, 4), dtype=np.float32)
    values[:2, 2:] = [[-1.7, -1.7], [-1.7, np.nan]]
    values[2:, 2:] = [[-20, -2.2], [-2.2, 9]]
    series = Series(np.array([1, 2, 3, 4]), values)
    lines = terminal_heatmap({NAME: series}, width=8, height=2).splitlines()
    assert lines[2:4] == ["   4 │@+", "   1 │@*"]


@pytest.mark.parametrize(("width", "height"), [(60, 12), (40, 5)])
def test_it_keeps_to_its_size(width, height):
    drawn = terminal_heatmap({NAME: sloping(*np.linspace(-1, 1, 300), lags=784)}, 700, width, height)
    lines = drawn.splitlines()
    assert drawn.count("│") == height
    assert max(len(line) for line in lines[1 : height + 5]) == width
    assert max(map(len, lines)) <= 80


def test_of_gradients_that_are_zero_it_says_for_how_many_sequences():
    series = sloping(0.0, 0.0, lags=4)
    shares = np.tile(np.array([1, 1, 0.03125, 0.03125], dtype=np.float32), (2, 1))
    columns = {f"{NAME}/alive": Series(series.steps, shares), f"{NAME}/dead": Series(series.steps, 1 - shares)}
    lines = terminal_heatmap({NAME: series, **columns}, width=10).splitlines()
    assert lines[2] == "   4 │@@.."
    assert lines[-1] == "fewest alive: 3% of the sequences at step 1, lag 2; 97% zero, 0% not finite"


@pytest.mark.parametrize("lags", [2, 784])
def test_any_number_of_lags_can_be_drawn(lags):
    series = sloping(*np.linspace(-2, 0.02, 100), lags=lags)
    series.values[0, 1 + lags // 2 :] = np.nan
    assert terminal_heatmap({NAME: series}).count("│") == 12


def test_colours_come_where_the_terminal_has_them_and_change_no_character():
    drawn = terminal_heatmap({NAME: sloping(-0.5, 0.5, lags=20)}, 10)
    shown = {}
    for colours in (None, "standard"):
        out = io.StringIO()
        Console(file=out, width=100, force_terminal=True, color_system=colours).print(coloured(drawn))
        shown[colours] = out.getvalue()
    assert [line.rstrip() for line in shown[None].splitlines()] == drawn.splitlines()
    assert "\x1b[1;31m" in shown["standard"]


def test_without_profiles_there_is_nothing_to_draw():
    only_lag_0 = Series(np.array([1]), np.array([[1.0, np.nan]], dtype=np.float32))
    for series in ({}, {"loss": Series(np.array([1]), np.array([1.0]))}, {NAME: only_lag_0}):
        assert terminal_heatmap(series) == ""
