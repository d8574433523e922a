"""The numbers drawn from profiles of gradients by lag, against closed forms, scipy and counting by hand."""

import math

import numpy as np
import pytest
from scipy.stats import linregress

from rnnae_bench.records.history import Series
from rnnae_bench.records.profile import (
    decay_rate,
    effective_horizon,
    explosion_count,
    log10_vanish_ratio,
    measures,
    profiles_of,
    relative,
    time_constant,
)

NOTHING = np.full(5, np.nan)
NAME = "gradient_flow/last_step/recurrence.l0/h"


def scalar_recurrence(a: float, steps: int = 100) -> np.ndarray:
    """log10 of |a|^lag: the gradient of the last state with respect to the state `lag` steps before it."""
    return np.arange(steps) * math.log10(abs(a))


@pytest.mark.parametrize("a", [0.9, 1.1, -0.5, 0.999, 1e-2])
@pytest.mark.parametrize("scale", [1.0, 1e-200])
def test_a_scalar_recurrence_decays_at_the_logarithm_of_its_weight(a, scale):
    profile = scalar_recurrence(a) + math.log10(scale)
    assert decay_rate(profile) == pytest.approx(math.log(abs(a)), rel=1e-12)
    assert decay_rate(profile.astype(np.float32)) == pytest.approx(math.log(abs(a)), abs=1e-6)
    expected = None if abs(a) > 1 else pytest.approx(-1 / math.log(abs(a)), rel=1e-12)
    assert time_constant(profile) == expected


def test_the_numbers_of_the_course_notes():
    vanishing, exploding = scalar_recurrence(0.9), scalar_recurrence(1.1)
    assert 10 ** log10_vanish_ratio(vanishing) == pytest.approx(2.95e-5, rel=2e-3)
    assert 10 ** log10_vanish_ratio(exploding) == pytest.approx(1.25e4, rel=4e-3)
    assert time_constant(vanishing) == pytest.approx(9.4912, rel=1e-5)
    assert effective_horizon(vanishing) == max(lag for lag in range(100) if 0.9**lag > 1e-3) == 65
    assert effective_horizon(exploding) == 99
    assert explosion_count(np.stack([vanishing, exploding])) == 1
    assert explosion_count(np.stack([vanishing, exploding])[:, :72]) == 0  # 1.1^72 = 955, 1.1^73 = 1051
    assert explosion_count(np.stack([vanishing, exploding])[:, :74]) == 1


@pytest.mark.parametrize("level", [0.0, -0.3, -200.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_flat_profile_neither_vanishes_nor_explodes(level, dtype):
    profile = np.full(784, level, dtype=dtype)
    assert decay_rate(profile) == 0
    assert time_constant(profile) is None
    assert effective_horizon(profile) == 783
    assert log10_vanish_ratio(profile) == 0
    assert explosion_count(profile[None]) == 0


def test_what_no_float_holds():
    profile = -4.0 * np.arange(100)
    assert log10_vanish_ratio(profile) == -396
    assert decay_rate(profile) == pytest.approx(-4 * math.log(10), rel=1e-12)
    assert effective_horizon(profile) == 0


def test_the_slope_is_that_of_an_independent_regression_over_the_lags_measured():
    generator = np.random.default_rng(0)
    profile = generator.normal(-3, 2, 200)
    profile[generator.random(200) < 0.4] = np.nan
    lags = np.flatnonzero(~np.isnan(profile))
    expected = linregress(lags, np.log(10.0 ** profile[lags])).slope
    assert decay_rate(profile) == pytest.approx(expected, rel=1e-10)


def test_lags_that_were_not_measured():
    profile = np.array([0.0, -1.0, np.nan, -2.9, -3.1, np.nan])
    assert effective_horizon(profile) == 3
    assert log10_vanish_ratio(profile) == -3.1
    without_start = np.array([np.nan, -1.0, -2.0])
    assert effective_horizon(without_start) is None
    assert log10_vanish_ratio(without_start) is None
    assert decay_rate(without_start) == pytest.approx(-math.log(10))
    for scalar in (decay_rate, time_constant, effective_horizon, log10_vanish_ratio):
        assert scalar(NOTHING) is None
    only_start = np.array([-1.0, np.nan])
    assert decay_rate(only_start) is None
    assert log10_vanish_ratio(only_start) is None
    assert effective_horizon(only_start) == 0
    assert explosion_count(np.stack([NOTHING, NOTHING])) == 0


def test_the_horizon_is_the_last_lag_above_the_threshold_even_behind_a_gap():
    assert effective_horizon(np.array([-5.0, -9.0, -9.0, -7.5, -8.5])) == 3


def test_explosions_are_counted_by_profile_and_against_lag_0():
    profiles = np.array(
        [[0.0, 2.9, 0.0], [0.0, 3.1, 9.0], [-200.0, -196.0, -300.0], [5.0, 5.0, 5.0], [np.nan, 9.0, 9.0]]
    )
    assert explosion_count(profiles) == 2


def test_relative_is_zero_at_lag_0_of_each_profile():
    profiles = np.array([[-200.0, -201.5], [3.0, 4.0], [np.nan, 1.0]], dtype=np.float32)
    np.testing.assert_array_equal(relative(profiles), [[0, -1.5], [0, 1], [np.nan, np.nan]])
    np.testing.assert_array_equal(relative(profiles[0]), [0, -1.5])


def series_of(*rates: float) -> Series:
    profiles = np.stack([scalar_recurrence(rate, 30) - 2 for rate in rates])
    return Series(np.arange(1, len(rates) + 1), profiles.astype(np.float32))


def test_the_record_says_what_was_at_the_start_and_at_the_end():
    name = "gradient_flow/last_step/recurrence.l0/h"
    series = {name: series_of(0.5, 0.7, 1.4, 0.9), f"{name}/q10": series_of(0.1), f"{name}/q90": series_of(0.1)}
    numbers = measures(series)
    expected = {
        "initial/decay_rate": math.log(0.5),
        "initial/time_constant": -1 / math.log(0.5),
        "initial/effective_horizon": 9,
        "initial/log10_vanish_ratio": 29 * math.log10(0.5),
        "final/decay_rate": math.log(0.9),
        "final/time_constant": -1 / math.log(0.9),
        "final/effective_horizon": 29,
        "final/log10_vanish_ratio": 29 * math.log10(0.9),
        "explosion_count": 1,
    }
    assert numbers == {f"{name}/{key}": pytest.approx(value, rel=1e-5) for key, value in expected.items()}


def test_profiles_of_a_loss_that_was_not_finite_are_passed_over():
    one = series_of(0.5, 0.5, 0.5, 0.5)
    one.values[0] = one.values[-1] = np.nan
    one.values[1] *= 2
    numbers = measures({"gradient_flow/last_step/l0/h": one})
    assert numbers["gradient_flow/last_step/l0/h/initial/decay_rate"] == pytest.approx(2 * math.log(0.5), rel=1e-5)
    assert numbers["gradient_flow/last_step/l0/h/final/decay_rate"] == pytest.approx(math.log(0.5), rel=1e-5)


def shares(alive, dead):
    return {
        f"{NAME}/alive": Series(np.array([1]), np.array([alive], dtype=np.float32)),
        f"{NAME}/dead": Series(np.array([1]), np.array([dead], dtype=np.float32)),
    }


def test_where_most_sequences_are_dead_the_gradient_is_lost_however_alive_the_others_are():
    """One sequence of 32 whose gradient passes on undiminished; that of all others is zero beyond lag 2."""
    flat = Series(np.array([1]), np.full((1, 6), -1.0, dtype=np.float32))
    alive, dead = [1, 1, 0.5, 1 / 32, 1 / 32, 1 / 32], [0, 0, 0.5, 31 / 32, 31 / 32, 30 / 32]
    (one,) = profiles_of({NAME: flat, **shares(alive, dead)})
    np.testing.assert_array_equal(one.typical.values, [[-1, -1, -1, -np.inf, -np.inf, -np.inf]])
    assert measures({NAME: flat, **shares(alive, dead)}) == {
        **{f"{NAME}/{when}/effective_horizon": 2 for when in ("initial", "final")},
        **{f"{NAME}/{when}/decay_rate": 0.0 for when in ("initial", "final")},
        **{f"{NAME}/{when}/time_constant": None for when in ("initial", "final")},
        **{f"{NAME}/{when}/log10_vanish_ratio": None for when in ("initial", "final")},
        **{f"{NAME}/{when}/least_alive": 1 / 32 for when in ("initial", "final")},
        f"{NAME}/explosion_count": 0,
    }


def test_where_most_sequences_are_not_finite_nothing_is_known():
    flat = Series(np.array([1]), np.full((1, 3), -1.0, dtype=np.float32))
    (one,) = profiles_of({NAME: flat, **shares([1, 0.25, 0.25], [0, 0.25, 0.5])})
    np.testing.assert_array_equal(one.typical.values, [[-1, np.nan, -np.inf]])
    nothing = {NAME: flat, **shares([0, 0, 0], [0, 0, 0])}
    assert measures(nothing) == {}


def test_a_gradient_that_is_zero_from_lag_1_on_spans_time_all_the_same():
    """A cut one, say: the reading of the last step is what is looked at, since the sequences have more lags."""
    cut = Series(np.array([1]), np.array([[-1.0, np.nan, np.nan]], dtype=np.float32))
    rows = Series(np.array([1]), np.array([[4.0, 4.0, 2.0]], dtype=np.float32))
    series = {NAME: cut, f"{NAME}/rows": rows, **shares([1, 0, 0], [0, 1, 1])}
    series[NAME.replace("last_step", "training_loss")] = series_of(0.5)
    (one,) = profiles_of(series)
    assert one.name == NAME
    assert measures(series)[f"{NAME}/final/effective_horizon"] == 0


def test_the_record_keeps_the_lowest_layers_and_one_reading():
    names = [
        "gradient_flow/training_loss/recurrence.l0/h",
        "gradient_flow/training_loss/recurrence.l0/c",
        "gradient_flow/last_step/recurrence.l0/h",
        "gradient_flow/last_step/recurrence.l0_reverse/h",
        "gradient_flow/last_step/recurrence.l1/h",
        "gradient_flow/last_step/recurrence.l1_reverse/h",
        "gradient_flow/last_step/encoder.l10/h",
        "gradient_flow/last_step/cell/h",
        "input_saliency/last_step/inputs/x",
    ]
    numbers = measures({name: series_of(0.5) for name in names})
    kept = dict.fromkeys(name.rsplit("/", 1)[0].removesuffix("/initial").removesuffix("/final") for name in numbers)
    assert list(kept) == [names[1], names[2], names[3], names[7], names[8]]
    assert len(numbers) == 5 * 9


def test_the_profiles_to_look_at():
    name = "gradient_flow/last_step/recurrence.l0/h"
    alone = Series(np.array([1]), np.array([[-1.0, np.nan, np.nan]], dtype=np.float32))
    series = {
        "loss": Series(np.array([1]), np.array([1.0])),
        "validation/last_step/a/b": Series(np.array([1]), np.array([1.0])),
        "gradient_flow/last_step/recurrence.l0_reverse/h": alone,
        "gradient_flow/training_loss/recurrence.l0_reverse/h": series_of(0.5),
        f"{name}/q90": series_of(0.8),
        name: series_of(0.5),
        "gradient_flow/training_loss/recurrence.l0/h": series_of(0.5),
        "gradient_flow/last_step/recurrence.l0/c": Series(np.empty(0, np.int64), np.empty((0, 3), np.float32)),
    }
    backward, forward = profiles_of(series)
    assert backward.title == "recurrence.l0_reverse h, training loss"
    assert (forward.name, forward.layer, forward.state) == (name, "recurrence.l0", "h")
    assert forward.title == "recurrence.l0 h, loss of the last scored step alone"
    assert forward.middle is series[name]
    assert forward.low is None
    assert forward.high is series[f"{name}/q90"]
    assert profiles_of({}) == []
    assert measures({}) == {}
