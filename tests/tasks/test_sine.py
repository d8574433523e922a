"""The sine task against its closed forms, its baselines against scikit-learn, its rollout against a loop by hand."""

import math

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from rnnae_tasks.sine.datamodule import SineTask
from scipy.optimize import curve_fit
from scipy.signal import periodogram
from scipy.special import softmax
from scipy.stats import norm
from sklearn.linear_model import LinearRegression

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.models.recurrent import GRU

SMALL = {"span": 60.0, "samples": 300, "window": 5, "horizon": 4, "noise": 0.1, "validation_share": 0.2}


def rolled_out_by_hand(windows: np.ndarray, weights: np.ndarray, horizon: int) -> np.ndarray:
    continuations = []
    for window in windows:
        values = list(window)
        for _ in range(horizon):
            values.append(sum(w * x for w, x in zip(weights, values[-len(weights) :], strict=True)))
        continuations.append(values[len(window) :])
    return np.array(continuations)


def test_the_course_series_is_numpys():
    task = SineTask()
    series = np.sin(np.linspace(0, 100, 500))
    test = task.evaluation_set("test")
    assert test.inputs.shape == (80, 20, 1)
    assert test.targets.shape == (80, 1)
    np.testing.assert_allclose(test.inputs[0, :, 0], series[400:420], atol=1e-7)
    np.testing.assert_allclose(test.targets[:, 0], series[420:], atol=1e-7)
    assert torch.equal(task.evaluation_set("validation").inputs, test.inputs)


def test_training_rows_pair_each_window_with_the_next_observed_sample():
    task = SineTask(**SMALL, protocol=Protocol(batch_size=175))
    batch = task.train_batch(0)
    series = task.observed.float()
    starts = [int((series == first).nonzero()) for first in batch.inputs[:, 0, 0]]
    assert sorted(starts) == list(range(175))  # an epoch: every window of samples 0..179 once
    for row, start in enumerate(starts):
        assert torch.equal(batch.inputs[row, :, 0], series[start : start + 5])
        assert batch.targets[row, 0] == series[start + 5]


def test_ordered_rows_continue_each_other():
    task = SineTask(**SMALL, ordered=True, protocol=Protocol(batch_size=3))
    assert task.spec.continues
    assert not SineTask(**SMALL).spec.continues
    series = task.observed.float()
    windows = 35  # of five samples, each with a target, in samples 0..179
    for row, first in enumerate((0, 11, 23)):
        for step in range(40):
            start = 5 * ((first + step) % windows)
            batch = task.train_batch(step)
            assert torch.equal(batch.inputs[row, :, 0], series[start : start + 5])
            assert batch.targets[row, 0] == series[start + 5]


def test_parts_share_no_sample():
    task = SineTask(**SMALL)
    assert task.parts == {"train": (0, 180), "validation": (180, 240), "test": (240, 300)}
    observed, clean = task.observed.float(), task.clean.float()
    for split in ("validation", "test"):
        start, stop = task.parts[split]
        inputs, targets = task.evaluation_set(split)[:2]
        assert len(inputs) == 60 - 5 - 4 + 1
        assert torch.equal(inputs[0, :, 0], observed[start : start + 5])
        assert torch.equal(inputs[-1, :, 0], observed[stop - 9 : stop - 4])
        assert torch.equal(targets[-1], clean[stop - 4 : stop])


def test_noise_is_gaussian_of_the_stated_size_and_fixed():
    task = SineTask(span=2000.0, samples=10_000, noise=0.7)
    noise = (task.observed - task.clean) / 0.7
    assert noise.mean().abs() < 3.3 / math.sqrt(10_000)
    assert noise.var().item() == pytest.approx(1, abs=3.3 * math.sqrt(2 / 10_000))
    assert (noise.abs() < 1.96).double().mean().item() == pytest.approx(0.95, abs=0.008)
    assert torch.equal(task.observed, SineTask(span=2000.0, samples=10_000, noise=0.7, data_seed=1).observed)


def test_the_data_seed_orders_the_training_windows_only():
    protocol = Protocol(batch_size=16)
    one, same, other = (SineTask(**SMALL, protocol=protocol, data_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.train_batch(3).inputs, same.train_batch(3).inputs)
    assert not torch.equal(one.train_batch(3).inputs, one.train_batch(4).inputs)
    assert not torch.equal(one.train_batch(3).inputs, other.train_batch(3).inputs)
    for split in ("validation", "test"):
        assert torch.equal(one.evaluation_set(split).inputs, other.evaluation_set(split).inputs)
        assert torch.equal(one.evaluation_set(split).targets, other.evaluation_set(split).targets)


def test_a_clean_sine_is_an_exact_second_order_autoregression():
    task = SineTask(**{**SMALL, "noise": 0.0})
    step = 60 / 299
    assert task.autoregression(2).tolist() == pytest.approx([-1, 2 * math.cos(step)], abs=1e-9)
    for name in ("ar2", "ar_window"):
        assert task.baseline(name)["rollout_mse"] < 1e-20


@pytest.mark.parametrize("order", [2, 5])
def test_autoregression_is_scikit_learns_least_squares(order):
    task = SineTask(**SMALL)
    train = task.observed[:180].numpy()
    rows = np.stack([train[start : start + order + 1] for start in range(180 - order)])
    fitted = LinearRegression(fit_intercept=False).fit(rows[:, :-1], rows[:, -1])
    np.testing.assert_allclose(task.autoregression(order), fitted.coef_, rtol=1e-8)


@pytest.mark.parametrize("name", ["persistence", "ar2", "ar_window"])
def test_baselines_are_what_their_definitions_score_by_hand(name):
    task = SineTask(**SMALL)
    weights = {"persistence": np.ones(1)}.get(name)
    if weights is None:
        weights = task.autoregression(2 if name == "ar2" else 5).numpy()
    observed, clean = task.observed.numpy()[240:], task.clean.numpy()[240:]
    windows = np.stack([observed[start : start + 5] for start in range(52)])
    truth = np.stack([clean[start + 5 : start + 9] for start in range(52)])
    squares = (rolled_out_by_hand(windows, weights, 4) - truth) ** 2
    assert task.baseline(name) == pytest.approx({"mse": squares[:, 0].mean(), "rollout_mse": squares.mean()})


def test_bayes_is_the_posterior_mean_by_numerical_integration():
    task = SineTask(**SMALL)
    step = 60 / 299
    window = task.observed.numpy()[240:245]
    phases = (np.arange(7000) + 0.5) * 2 * math.pi / 7000  # a grid other than the task's
    likelihood = np.prod(
        [norm.pdf(window[t], loc=np.sin(phases + step * t), scale=0.1) for t in range(5)],
        axis=0,
    )
    expected = [np.average(np.sin(phases + step * t), weights=likelihood) for t in range(5, 9)]
    np.testing.assert_allclose(task.phase_posterior(task.observed[240:245][None])[0], expected, rtol=1e-6)


def test_least_squares_is_scikit_learns_for_each_step():
    task = SineTask(**SMALL)
    train, test = task.observed[:180].numpy(), task.observed[240:].numpy()
    rows = np.stack([train[start : start + 9] for start in range(172)])
    windows = np.stack([test[start : start + 5] for start in range(52)])
    truth = np.stack([task.clean[240:].numpy()[start + 5 : start + 9] for start in range(52)])
    forecast = np.stack(
        [
            LinearRegression(fit_intercept=False).fit(rows[:, :5], rows[:, step]).predict(windows)
            for step in range(5, 9)
        ],
        axis=1,
    )
    squares = (forecast - truth) ** 2
    expected = {"mse": squares[:, 0].mean(), "rollout_mse": squares.mean()}
    assert task.baseline("least_squares") == pytest.approx(expected)


def test_the_frequency_is_where_scipys_periodogram_peaks():
    task = SineTask(**SMALL)
    train = task.observed[:180].numpy()
    angles, power = periodogram(train, fs=2 * math.pi, nfft=2**20, detrend=False)
    assert task.frequency() == pytest.approx(angles[power.argmax()], abs=2 * math.pi / 2**20)


def test_a_fitted_sine_is_scipys_curve_fit_at_amplitude_one():
    task = SineTask(**SMALL)
    windows = task.observed[240:].unfold(0, 5, 1)[:8]

    def wave(time, amplitude, phase):
        return amplitude * np.sin(task.frequency() * time + phase)

    for window, continuation in zip(windows, task.fitted_sine(windows), strict=True):
        (amplitude, phase), _ = curve_fit(wave, np.arange(5), window.numpy(), p0=(1, 0))
        expected = np.sign(amplitude) * wave(np.arange(5, 9), 1, phase)
        np.testing.assert_allclose(continuation, expected, atol=1e-6)


def test_the_strong_baselines_of_standard():
    """What the issue that asked for them measured."""
    values = {name: one.values["rollout_mse"] for name, one in SineTask.card().variant("standard.v2").baselines.items()}
    assert values["least_squares"] == pytest.approx(0.0491, abs=5e-5)
    assert values["periodogram"] == pytest.approx(0.0242, abs=5e-5)
    assert values["bayes"] == pytest.approx(0.0239, abs=5e-5)


def test_bayes_beats_every_linear_forecast():
    task = SineTask.from_variant("standard")
    assert task.baseline("bayes")["rollout_mse"] < 0.5 * task.baseline("ar_window")["rollout_mse"]


def test_without_noise_there_is_no_bayes_baseline():
    with pytest.raises(UserError, match="no baseline 'bayes'"):
        SineTask(noise=0.0).baseline("bayes")


def test_persistence_has_the_error_of_a_sine_seen_late():
    # Over whole periods, E[(sin(a + w h) - sin a)^2] = 1 - cos(w h); the held sample's noise comes on top.
    task = SineTask(span=2 * math.pi * 200, samples=6001, horizon=30, noise=0.5, test_share=0.5)
    step = 2 * math.pi / 30
    expected = np.mean([1 - math.cos(step * h) for h in range(1, 31)]) + 0.25
    assert task.baseline("persistence")["rollout_mse"] == pytest.approx(expected, rel=0.05)


def test_a_rollout_feeds_predictions_back():
    task = SineTask(**{**SMALL, "noise": 0.0})
    test = task.evaluation_set("test")
    step = 60 / 299

    def exact(window, lengths):
        assert lengths is None
        return 2 * math.cos(step) * window[:, -1] - window[:, -2]

    torch.testing.assert_close(task.predict(exact, test), test.targets, atol=2e-5, rtol=0)
    by_hand = rolled_out_by_hand(test.inputs[:, :, 0].numpy(), np.array([0.5, -0.2, 0.9]), 4)

    def linear(window, lengths):
        return window[:, -3:, 0] @ torch.tensor([[0.5], [-0.2], [0.9]])

    np.testing.assert_allclose(task.predict(linear, test), by_hand, atol=1e-6)


def test_metrics_and_loss_are_mean_squares():
    task = SineTask(**SMALL)
    prediction, targets = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(0))
    metrics = task.metrics()
    for rows in (slice(0, 20), slice(20, 30)):
        metrics.update(prediction[rows], targets[rows])
    squares = (prediction - targets).numpy().astype(float) ** 2
    measured = {name: value.item() for name, value in metrics.compute().items()}
    assert measured == pytest.approx({"mse": squares[:, 0].mean(), "rollout_mse": squares.mean()}, rel=1e-6)
    assert set(SineTask().metrics()) == {"mse"}
    batch = task.train_batch(0)
    expected = np.mean((0.25 - batch.targets.numpy()) ** 2)
    assert task.loss(torch.full((64, 1), 0.25), batch).item() == pytest.approx(expected, rel=1e-5)


def test_a_model_of_the_suite_fits_the_spec():
    task = SineTask(**SMALL)
    model = GRU(task.spec, hidden_size=4)
    batch = task.train_batch(0)
    assert task.loss(model(batch.inputs, batch.lengths), batch).isfinite()
    test = task.evaluation_set("test")
    assert task.predict(model, test).shape == test.targets.shape
    assert GRU.supports(task.spec, bidirectional=True) is not None


def twin_forecasts(task):
    """What each baseline says of the test windows, with numpy, scipy and scikit-learn alone; and the truth."""
    (start, stop), (first, last), window, horizon = task.parts["train"], task.parts["test"], task.window, task.horizon
    train, test = task.observed.numpy()[start:stop], task.observed.numpy()[first:last]
    windows = sliding_window_view(test[:-horizon], window)
    truth = sliding_window_view(task.clean.numpy()[first + window : last], horizon)

    def regression(lag, steps):
        rows = sliding_window_view(train, lag + steps)
        return LinearRegression(fit_intercept=False).fit(rows[:, :lag], rows[:, lag:])

    def rolled_out(order):
        values, model = windows, regression(order, 1)
        for _ in range(horizon):
            values = np.column_stack((values, model.predict(values[:, -order:])))
        return values[:, window:]

    time = np.arange(window + horizon)
    angles, power = periodogram(train, fs=2 * math.pi, nfft=2**22, detrend=False)
    waves = np.exp(1j * angles[power.argmax()] * time)
    fit = np.linalg.lstsq(np.column_stack((waves.real, waves.imag))[:window], windows.T, rcond=None)[0]
    forecasts = {
        "persistence": np.repeat(windows[:, -1:], horizon, axis=1),
        "ar2": rolled_out(2),
        "ar_window": rolled_out(window),
        "least_squares": regression(window, horizon).predict(windows),
        "periodogram": (fit.T @ np.stack((waves.real, waves.imag)))[:, window:] / np.hypot(*fit)[:, None],
    }
    if task.noise:
        phases = (np.arange(3001) + 0.5) * 2 * math.pi / 3001  # a grid other than the task's
        sines = np.sin(phases[:, None] + task.radians_per_step * time)
        products = windows @ sines[:, :window].T - (sines[:, :window] ** 2).sum(1) / 2
        forecasts["bayes"] = softmax(products / task.noise**2, axis=1) @ sines[:, window:]
    return forecasts, truth


METHODS = {
    "persistence": "numpy",
    "ar2": "scikit-learn's least squares, rolled out",
    "ar_window": "scikit-learn's least squares, rolled out",
    "least_squares": "scikit-learn's least squares",
    "periodogram": "scipy's periodogram, numpy's least squares",
    "bayes": "a sum over another grid of phases",
}


@pytest.mark.parametrize("variant", SineTask.card().variants.values(), ids=lambda variant: variant.name)
def test_the_cards_baselines_are_what_the_data_give(variant, agrees):
    later = {"least_squares", "periodogram"} if variant.name.endswith(".v2") else set()
    task = SineTask.from_variant(variant.name)
    assert set(variant.baselines) == {"persistence", "ar2", "ar_window", *later} | ({"bayes"} if task.noise else set())
    forecasts, truth = twin_forecasts(task)
    for name, baseline in variant.baselines.items():
        assert task.baseline(name) == pytest.approx(baseline.values, rel=1e-3, abs=1e-12)
        squares = (forecasts[name] - truth) ** 2
        for metric, value in {"mse": squares[:, 0].mean(), "rollout_mse": squares.mean()}.items():
            if metric in baseline.values:
                agrees(f"sine:{variant.name}", name, metric, value, METHODS[name], rel=1e-3, within=1e-12)


def test_the_course_in_full_batches_takes_every_window_at_every_step():
    task = SineTask.from_variant("course-full-batch")
    first, second = task.train_batch(0).targets, task.train_batch(1).targets
    assert len(first) == 380
    torch.testing.assert_close(first.sort(dim=0).values, second.sort(dim=0).values, atol=0, rtol=0)


@pytest.mark.parametrize(
    "setting",
    [{"span": 0.0}, {"samples": 0}, {"window": 0}, {"horizon": 0}, {"noise": -0.1}, {"test_share": 0.0},
     {"test_share": 1.0}, {"validation_share": -0.1}, {"horizon": 90}, {"window": 1}, {"span": math.inf},
     {"noise": math.inf}],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused_by_name(setting):
    with pytest.raises(UserError, match=next(iter(setting)).split("_")[0]):
        SineTask(**setting)


def test_shares_that_leave_no_training_part_are_refused():
    with pytest.raises(UserError, match="the train part has 5 samples"):
        SineTask(validation_share=0.79)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="persistence, ar2, ar_window"):
        SineTask().baseline("chance")
