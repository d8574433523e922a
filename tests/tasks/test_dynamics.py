"""The dynamical systems against other solvers and known exponents, and their forecasters against scikit-learn's."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from rnnae_tasks.dynamics.datamodule import DynamicsTask
from rnnae_tasks.dynamics.forecasters import continued
from rnnae_tasks.dynamics.systems import SYSTEMS, Flow
from scipy.integrate import solve_ivp
from sklearn.linear_model import Ridge
from sklearn.preprocessing import PolynomialFeatures

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.rollout import rollout
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import RootSquaredError, ValidTime, valid_steps
from rnnae_bench.models.recurrent import GRU

VARIANTS = list(DynamicsTask.card().variants)
SMALL = {"window": 12, "horizon": 9, "trajectories": 4, "length": 40, "evaluation_size": 6}


def equations(name: str, state: np.ndarray) -> np.ndarray:
    """The right-hand sides once more, from the papers."""
    if name == "lorenz63":
        x, y, z = state
        return np.array([10 * y - 10 * x, 28 * x - x * z - y, x * y - 8 * z / 3])
    angle, speed = state
    return np.array([speed, -0.05 * speed - np.sin(angle)])


def solved(name: str, states: np.ndarray, times: np.ndarray) -> np.ndarray:
    """All states ``[values rows]`` at once by an adaptive method of eighth order: ``[rows times values]``."""
    found = solve_ivp(
        lambda _, flat: equations(name, flat.reshape(states.shape)).ravel(),
        (0, times[-1]),
        states.ravel(),
        "DOP853",
        times,
        rtol=1e-10,
        atol=1e-10,
    )
    return found.y.reshape(*states.shape, len(times)).transpose(1, 2, 0)


@pytest.mark.parametrize("name", ["lorenz63", "pendulum"])
def test_flows_are_those_of_an_adaptive_solver(name):
    task = DynamicsTask(name, horizon=60, evaluation_size=20)
    flow, trajectories = SYSTEMS[name], task.simulated("test").numpy()
    for start in (0, 50, 108):
        expected = solved(name, trajectories[:, start].T, np.array([flow.spacing]))
        np.testing.assert_allclose(trajectories[:, start + 1], expected[:, 0], atol=6e-6)


def test_the_delay_equation_is_solved_as_by_the_method_of_steps():
    """From one delay to the next it is an ordinary equation, whose input is the solution before."""
    system, history, before = SYSTEMS["mackey_glass"], 0.9, lambda t: 0.9
    values = system.integrated(np.array([history]), 4 * 17 * 6)[:, 0]
    for part in range(6):

        def slope(t, x, before=before):
            delayed = before(t - 17)
            return 0.2 * delayed / (1 + delayed**10) - 0.1 * x

        span = (17 * part, 17 * (part + 1))
        found = solve_ivp(slope, span, [history], "DOP853", rtol=1e-11, atol=1e-11, dense_output=True, max_step=1)
        np.testing.assert_allclose(values[68 * part : 68 * part + 69], found.sol(np.linspace(*span, 69))[0], atol=2e-7)
        history, before = found.y[0, -1], lambda t, sol=found.sol: sol(t)[0]


def test_delayed_samples_come_every_fourth_step_after_the_transient():
    system = SYSTEMS["mackey_glass"]
    chance = np.array([[0.25], [0.75]])
    whole = system.integrated(0.5 + 0.8 * chance[:, 0], 4 * 1010)
    np.testing.assert_array_equal(system.trajectories(chance, 10)[..., 0].T, whole[4004::4])


def test_lorenz_exponents_are_the_known_ones():
    """Benettin's method: tangent vectors carried along, and made orthonormal again and again."""
    system = SYSTEMS["lorenz63"]
    rows, step = 60, 0.01
    state = system.trajectories(np.random.default_rng(0).random((rows, 3)), 1)[:, 0].T

    def slope(state, tangents):
        x, y, z = state
        rowwise = np.zeros((rows, 3, 3))
        rowwise[:, 0, 0], rowwise[:, 0, 1] = -10, 10
        rowwise[:, 1, 0], rowwise[:, 1, 1], rowwise[:, 1, 2] = 28 - z, -1, -x
        rowwise[:, 2, 0], rowwise[:, 2, 1], rowwise[:, 2, 2] = y, x, -8 / 3
        return equations("lorenz63", state), rowwise @ tangents

    tangents, logs = np.broadcast_to(np.eye(3), (rows, 3, 3)), np.zeros((rows, 3))
    for count in range(2500):
        k1 = slope(state, tangents)
        k2 = slope(state + step / 2 * k1[0], tangents + step / 2 * k1[1])
        k3 = slope(state + step / 2 * k2[0], tangents + step / 2 * k2[1])
        k4 = slope(state + step * k3[0], tangents + step * k3[1])
        state, tangents = (
            one + step / 6 * (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]) for i, one in enumerate((state, tangents))
        )
        tangents, triangle = np.linalg.qr(tangents)
        if count >= 500:
            logs += np.log(np.abs(np.diagonal(triangle, axis1=1, axis2=2)))
    exponents = logs.mean(0) / (2000 * step)
    assert exponents[0] == pytest.approx(system.exponent, abs=0.03)
    assert exponents[1] == pytest.approx(0, abs=0.03)
    assert exponents.sum() == pytest.approx(-(10 + 1 + 8 / 3), abs=1e-3)
    assert system.time_unit == 1 / system.exponent


def test_the_delay_equation_has_the_stated_exponent():
    """The growth of a small difference, by the linearised equation and Heun's method along the solution."""
    system, rows, steps, late = SYSTEMS["mackey_glass"], 60, 4 * 3000, 68
    random = np.random.default_rng(1)
    x = system.integrated(0.5 + 0.8 * random.random(rows), 4000 + steps)[4000 - late :]
    gain = 0.2 * (1 - 9 * x**10) / (1 + x**10) ** 2
    small = np.zeros_like(x)
    small[: late + 1] = random.standard_normal((late + 1, rows))
    logs = []
    for now in range(late, late + steps):
        slope = gain[now - late] * small[now - late] - 0.1 * small[now]
        end = gain[now + 1 - late] * small[now + 1 - late] - 0.1 * (small[now] + slope / 4)
        small[now + 1] = small[now] + (slope + end) / 8
        if (now + 1) % late == 0:
            size = np.sqrt((small[now + 1 - late : now + 2] ** 2).mean(0))
            small[now + 1 - late : now + 2] /= size
            logs.append(np.log(size))
    found = np.mean(logs[30:]) / 17
    assert found == pytest.approx(system.exponent, abs=0.0004)


def test_a_pendulum_never_turns_over_and_begins_with_its_amplitudes_energy():
    system = SYSTEMS["pendulum"]
    chance = np.random.default_rng(0).random((500, 3))
    angle, speed = system.start(chance)
    amplitude = 0.5 + 2.5 * chance[:, 0]
    np.testing.assert_allclose(speed**2 / 2 - np.cos(angle), -np.cos(amplitude), atol=1e-12)
    assert (np.abs(angle) <= amplitude).all()
    assert 0.4 < (speed > 0).mean() < 0.6
    assert np.abs(system.trajectories(chance, 300)[..., 0]).max() < 3


def test_a_pendulums_small_errors_die_out():
    """So that no positive exponent gives a unit of time; at rest both exponents are minus half the damping."""
    system = SYSTEMS["pendulum"]
    assert isinstance(system, Flow)
    matrix = np.array([[0, 1], [-1, -system.damping]])
    np.testing.assert_allclose(np.linalg.eigvals(matrix).real, -0.025)
    assert system.time_unit == 2 * math.pi


def test_a_row_is_the_drawn_example():
    task = DynamicsTask(**{**SMALL, "window": 4, "horizon": 3}, protocol=Protocol(batch_size=50))
    series = task.standardised("test")
    batch = task.evaluation_set("test")
    assert torch.equal(batch.inputs, series[:, :4])
    assert torch.equal(batch.targets, series[:, 4:7])
    train, rows = task.standardised("train"), task.train_batch(0)
    for inputs, targets in zip(rows.inputs, rows.targets, strict=True):
        which, start = (int(place) for place in (train[:, :, 0] == inputs[0, 0]).nonzero()[0])
        assert torch.equal(inputs, train[which, start : start + 4])
        assert torch.equal(targets, train[which, start + 1 : start + 5])


def test_every_training_window_can_be_drawn():
    task = DynamicsTask(**{**SMALL, "length": 14}, protocol=Protocol(batch_size=400))
    first = task.train_batch(0).inputs[:, 0, 0]
    found, counts = first.unique(return_counts=True)
    assert len(found) == 4 * 2  # trajectories, and starts in each
    assert ((counts - 50) ** 2 / 50).sum() < 24.3  # the 0.999 quantile with 7 degrees of freedom


def test_training_data_depend_on_step_and_data_seed_only():
    one, same, other = (DynamicsTask(**SMALL, data_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.train_batch(3).inputs, same.train_batch(3).inputs)
    assert not torch.equal(one.train_batch(3).inputs, other.train_batch(3).inputs)
    sets = [one.simulated(name) for name in ("train", "validation", "test")]
    assert all(not torch.equal(a[:, 0], b[: len(a), 0]) for a, b in pairwise([*sets, sets[0]]) if len(a) == len(b))
    assert torch.equal(one.evaluation_set("test").inputs, other.evaluation_set("test").inputs)


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_samples_are_standardised_by_the_training_set(system):
    train = DynamicsTask(system, **SMALL).standardised("train").double()
    np.testing.assert_allclose(train.mean((0, 1)), 0, atol=5e-4)
    np.testing.assert_allclose(train.std((0, 1), correction=0), 1, atol=1e-3)


def test_held_out_rows_have_the_form_of_training_rows():
    task = DynamicsTask(**SMALL)
    batch, series = task.held_out(3), task.standardised("validation")
    assert torch.equal(batch.inputs, series[[0, 2, 4], :12])
    assert torch.equal(batch.targets, series[[0, 2, 4], 1:13])


def test_the_first_coordinate_alone():
    whole, part = DynamicsTask(**SMALL), DynamicsTask(coordinates="first", **SMALL)
    assert part.spec.inputs.features == part.spec.outputs.features == 1
    assert torch.equal(part.evaluation_set("test").targets, whole.evaluation_set("test").targets[..., :1])


def test_valid_times_end_where_the_error_first_exceeds_the_threshold():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(30, 20, 3, generator=generator)
    prediction = targets + 0.15 * torch.randn(30, 20, 3, generator=generator)
    prediction[0, 5] = math.nan
    prediction[1] = targets[1]
    expected = []
    for row, truth in zip(prediction.numpy(), targets.numpy(), strict=True):
        steps = 0
        while steps < 20 and np.sqrt(np.mean((row[steps] - truth[steps]) ** 2)) <= 0.2:
            steps += 1
        expected.append(steps)
    assert expected[1] == 20
    assert valid_steps(prediction, targets, 0.2).tolist() == expected
    metric = ValidTime(0.2, 0.5)
    for rows in (slice(0, 7), slice(7, None)):
        metric.update(prediction[rows], targets[rows])
    assert metric.compute().item() == pytest.approx(0.5 * np.mean(expected))


def test_the_root_of_the_squared_error_is_that_of_all_rows_together():
    generator = torch.Generator().manual_seed(0)
    targets, prediction = torch.randn(2, 12, 5, 2, generator=generator)
    metric = RootSquaredError(first=2)
    for rows in (slice(0, 7), slice(7, None)):
        metric.update(prediction[rows], targets[rows])
    wanted = np.sqrt(np.mean((prediction - targets)[:, :2].numpy() ** 2))
    assert metric.compute().item() == pytest.approx(wanted, rel=1e-6)


def test_a_perfect_player_is_valid_to_the_end():
    task = DynamicsTask(**SMALL)
    batch = task.evaluation_set("test")
    assert task.example_scores("valid_time", batch.targets, batch).tolist() == [9 * 0.02 * 0.9056] * 6
    assert task.example_scores("one_step_nrmse", batch.targets, batch) is None
    for variant in DynamicsTask.card().variants.values():
        task = DynamicsTask.from_variant(variant.name)
        assert variant.scale.ceiling == pytest.approx(task.horizon * task.step, rel=1e-4)


def test_a_free_run_hands_the_state_on():
    task = DynamicsTask(**SMALL)
    model, batch = GRU(task.spec, hidden_size=5), task.evaluation_set("test")
    with torch.no_grad():
        found = task.predict(model, batch)
        inputs = batch.inputs
        for _ in range(task.horizon):
            inputs = torch.cat((inputs, model(inputs, None)[:, -1:]), dim=1)
    torch.testing.assert_close(found, inputs[:, task.window :], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rollout(lambda x, _: model(x, None), batch.inputs, 9), found, rtol=1e-4, atol=1e-5)


class RidgeForecaster:
    """Scikit-learn's features and ridge regression, on the rows of every trajectory one by one."""

    def __init__(self, series: np.ndarray, lags: range, degree: int | None) -> None:
        self.lags, self.degree = lags, degree
        reach = lags[-1] + 1
        rows = np.concatenate([series[:, t - reach : t] for t in range(reach, series.shape[1])])
        following = np.concatenate([series[:, t] for t in range(reach, series.shape[1])])
        if degree is not None:
            following = following - rows[:, -1]
        self.ridge = Ridge(2.5e-6, fit_intercept=False, solver="cholesky").fit(self.features(rows), following)

    def features(self, window: np.ndarray) -> np.ndarray:
        chosen = np.concatenate([window[:, -1 - lag] for lag in self.lags], axis=1)
        return chosen if self.degree is None else PolynomialFeatures(self.degree).fit_transform(chosen)

    def __call__(self, window: torch.Tensor) -> torch.Tensor:
        # What runs away is long invalid, and scikit-learn takes no infinite numbers.
        near = np.nan_to_num(window.numpy()).clip(-1e3, 1e3)
        answer = torch.from_numpy(self.ridge.predict(self.features(near)).reshape(len(window), -1))
        return answer if self.degree is None else answer + window[:, -1]


RESERVOIRS = {"partial": (range(0, 18, 3), 3), "pendulum": (range(2), 3), "mackey-glass": (range(0, 18, 3), 4)}
"""Lags and degree; else two lags and degree 2."""


@pytest.mark.parametrize("variant", VARIANTS)
def test_regressions_are_scikit_learns(variant, agrees):
    task = DynamicsTask.from_variant(variant)
    series = task.simulated("train").numpy()
    mean, deviation = series.mean((0, 1)).round(4), series.std((0, 1)).round(4)
    series = (series - mean) / deviation
    window, truth = task.evaluation_set("test")[:2]
    lags, degree = RESERVOIRS.get(variant, (range(2), 2))
    players = {"ar2": (range(2), None), "ar10": (range(10), None), "next_generation_reservoir": (lags, degree)}
    for name, (chosen, power) in players.items():
        forecast = continued(RidgeForecaster(series, chosen, power), window.double(), task.horizon).numpy()
        measured = measured_by_hand(task, forecast, truth.numpy())
        agrees(f"dynamics:{variant}", name, "valid_time", measured[0], "scikit-learn's ridge", rel=5e-3)
        agrees(f"dynamics:{variant}", name, "one_step_nrmse", measured[1], "scikit-learn's ridge", rel=5e-3)


def measured_by_hand(task: DynamicsTask, forecast: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Valid time in the system's unit, and the error of the first step."""
    error = np.sqrt(np.mean((forecast - truth.astype(float)) ** 2, axis=2))
    exceeds = ~(error <= 0.4)
    steps = np.where(exceeds.any(1), exceeds.argmax(1), task.horizon)
    name = task.system.coordinates
    unit = {3: 0.02 * 0.9056, 2: 0.1 / (2 * math.pi), 1: 0.0051}[len(name)]
    return unit * steps.mean(), math.sqrt(np.mean((forecast - truth)[:, 0].astype(float) ** 2))


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_held_and_what_the_equations_say(variant, agrees):
    task = DynamicsTask.from_variant(variant)
    window, truth = (part.numpy().astype(float) for part in task.evaluation_set("test")[:2])
    held = np.repeat(window[:, -1:], task.horizon, axis=1)
    players = {"persistence": (held, "numpy", 1e-6)}
    if "equations" in DynamicsTask.card().variant(variant).baselines:
        name = "pendulum" if variant == "pendulum" else "lorenz63"
        mean, deviation = (moment.numpy() for moment in task.moments())
        times = task.system.spacing * np.arange(1, task.horizon + 1)
        states = solved(name, (window[:, -1] * deviation + mean).T, times)
        players["equations"] = (states - mean) / deviation, "scipy's DOP853", 1e-3
    for name, (forecast, method, rel) in players.items():
        valid, error = measured_by_hand(task, forecast, truth)
        agrees(f"dynamics:{variant}", name, "valid_time", valid, method, rel=rel)
        agrees(f"dynamics:{variant}", name, "one_step_nrmse", error, method, rel=1e-6, within=1e-7)


def test_the_floor_is_the_strongest_linear_forecast():
    for variant in DynamicsTask.card().variants.values():
        values = {name: one.values["valid_time"] for name, one in variant.baselines.items()}
        assert values["ar10"] == max(values[name] for name in ("persistence", "ar2", "ar10"))
        assert values["next_generation_reservoir"] > 2 * values["ar10"]


@pytest.mark.parametrize(
    "setting",
    [{"window": 0}, {"horizon": 0}, {"trajectories": 0},
     {"length": 50}, {"evaluation_size": 0}, {"threshold": 0.0}],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused_by_name(setting):
    with pytest.raises(UserError, match=f"{next(iter(setting))} is"):
        DynamicsTask(**setting)


def test_baselines_that_are_not_there_are_refused():
    with pytest.raises(UserError, match="no baseline 'equations' here; it has persistence, ar2, ar10"):
        DynamicsTask("mackey_glass", **SMALL).baseline("equations")
    with pytest.raises(UserError, match="window is 12; the baseline 'next_generation_reservoir' looks back on 16"):
        DynamicsTask("mackey_glass", **SMALL).baseline("next_generation_reservoir")
