"""The forecast task against its files' source; its baselines against statsmodels, loops and a published figure."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest
import torch
from rnnae_tasks.forecast import build_series, datamodule
from rnnae_tasks.forecast.classical import Autoregression, seasonal
from rnnae_tasks.forecast.datamodule import PENALTIES, ForecastTask
from rnnae_tasks.forecast.series import NATURES, file_of, packed
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, mean_absolute_percentage_error, root_mean_squared_error
from statsmodels.tsa.ar_model import AutoReg, ar_select_order

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.models.recurrent import GRU

VARIANTS = ["smoke", "standard", "airline", "sunspots"]
PUBLISHED_MAPE = 0.13189432350948402
"""Of the seasonal naive forecast of the last 36 months of airline, in sktime's forecasting tutorial."""


@cache
def task(variant: str) -> ForecastTask:
    return ForecastTask.from_variant(variant)


def origins(one: ForecastTask) -> range:
    """The steps of the series at which test forecasts begin."""
    return range(one.test_start, len(one.values) - one.horizon + 1)


def score(one: ForecastTask, forecasts: list) -> dict[str, float]:
    """The metrics of test forecasts by numpy and scikit-learn."""
    y, f = one.values.numpy(), np.array(forecasts)
    targets = np.array([y[origin : origin + one.horizon] for origin in origins(one)])
    known = y[: one.train_stop]
    found = {
        "mase": mean_absolute_error(targets, f) / np.abs(known[one.season :] - known[: -one.season]).mean(),
        "smape": (2 * np.abs(targets - f) / (np.abs(targets) + np.abs(f))).mean(),
        "rmse": root_mean_squared_error(targets.ravel(), f.ravel()),
    }
    return found | ({"mape": mean_absolute_percentage_error(targets, f)} if one.series != "sunspots" else {})


def agree_on_all(agrees, variant: str, baseline: str, forecasts: list, method: str) -> None:
    """Hold all values of a card, and what the task computes now, equal to those of other forecasts."""
    one = task(variant)
    wanted = score(one, forecasts)
    for metric, value in wanted.items():
        agrees(f"forecast:{variant}", baseline, metric, value, method)
    assert one.baseline(baseline) == pytest.approx(wanted, rel=1e-5)


def installed(package: str) -> bool:
    try:
        return version(package) == build_series.VERSIONS[package]
    except PackageNotFoundError:
        return False


@pytest.mark.parametrize("name", list(NATURES))
def test_the_embedded_files_are_what_their_script_makes(name):
    package = build_series.PACKAGES[name]
    if not installed(package):
        pytest.skip(f"the file was made from {package} {build_series.VERSIONS[package]}")
    assert file_of(name).read_text(encoding="utf-8") == build_series.text(name)


def test_series_are_the_known_ones():
    airline, co2, sunspots = (packed(name) for name in ("airline", "co2", "sunspots"))
    assert (len(airline), len(co2), len(sunspots)) == (144, 526, 309)
    assert airline[[0, 1, 2, -1]].tolist() == [112, 118, 132, 432]
    assert co2[0] == 316.1
    times = [line.split("\t")[0] for line in file_of("co2").read_text().splitlines()]
    assert times == [f"{1958 + (k + 2) // 12}-{(k + 2) % 12 + 1:02d}" for k in range(526)]
    gap = times.index("1964-02")
    np.testing.assert_allclose(
        co2[gap : gap + 3], np.linspace(co2[gap - 1].item(), co2[gap + 3].item(), 5)[1:-1], atol=1e-4
    )
    assert int(sunspots.argmax()) == 1957 - 1700
    assert [bool((series > 0).all()) for series in (airline, co2, sunspots)] == [True, True, False]


def test_the_published_mape_of_the_seasonal_naive_forecast_is_met():
    one = ForecastTask("airline", horizon=36, validation=36, test=36)
    assert len(one.evaluation_set("test").targets) == 1
    assert one.baseline("seasonal_naive")["mape"] == pytest.approx(PUBLISHED_MAPE, rel=1e-12, abs=0)


def test_the_drawn_row_is_the_first_test_row():
    batch = task("standard").evaluation_set("test")
    folder = Path(datamodule.__file__).parent
    for text in (ForecastTask.__doc__, (folder / "README.md").read_text(encoding="utf-8")):
        for label, row in (("input ", batch.inputs[0, :, 0].tolist()), ("target", batch.targets[0].tolist())):
            shown = [f"{value:.2f}" for value in row]
            assert f"{label}   {' '.join(shown[:3])} ... {' '.join(shown[-3:])}    " in text


@pytest.mark.parametrize("variant", VARIANTS)
def test_parts_are_cut_by_time_and_share_no_target(variant):
    one = task(variant)
    y, steps = one.values.float(), len(one.values)
    cuts = {"validation": (one.train_stop, one.test_start), "test": (one.test_start, steps)}
    for part, (first, stop) in cuts.items():
        inputs, targets = one.evaluation_set(part)[:2]
        assert len(targets) == stop - first - one.horizon + 1
        for row in range(len(targets)):
            assert torch.equal(inputs[row, :, 0], y[first + row - one.window : first + row])
            assert torch.equal(targets[row], y[first + row : first + row + one.horizon])


@pytest.mark.parametrize("variant", VARIANTS[1:])
def test_training_rows_are_the_scaled_windows_of_the_training_part(variant):
    one = task(variant)
    y = one.values[: one.train_stop].numpy()
    y = np.log(y) if one.series == "airline" else y
    count = len(y) - one.window - one.horizon + 1
    levels = [
        y.mean() if one.series == "sunspots" else y[k + one.window - 12 : k + one.window].mean() for k in range(count)
    ]
    centred = np.array([y[k : k + one.window] - level for k, level in enumerate(levels)])
    ahead = np.array([y[k + one.window : k + one.window + one.horizon] - level for k, level in enumerate(levels)])
    spread = centred.std(ddof=1)
    whole = ForecastTask.from_variant(variant, protocol=Protocol(batch_size=count)).train_batch(0)
    order = whole.inputs[:, :, 0].double().numpy()
    place = [int(np.abs(centred / spread - row).sum(1).argmin()) for row in order]
    assert sorted(place) == list(range(count))  # an epoch: every window once
    np.testing.assert_allclose(order, centred[place] / spread, atol=1e-4)
    np.testing.assert_allclose(whole.targets, ahead[place] / spread, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS[1:])
def test_forecasts_come_back_in_units_of_the_series(variant):
    one = task(variant)
    batch, scaled = one.evaluation_set("validation"), one.held_out(10**6)
    assert len(scaled.targets) == len(batch.targets)

    def knows(inputs, lengths):
        torch.testing.assert_close(inputs, scaled.inputs)
        return scaled.targets

    torch.testing.assert_close(one.predict(knows, batch), batch.targets, rtol=1e-5, atol=1e-3)
    metrics = one.metrics()
    metrics.update(batch.targets, batch.targets)
    assert all(value == 0 for value in metrics.compute().values())  # a perfect player is at the ceiling
    assert one.loss(scaled.targets, scaled) == 0


def test_a_model_answers_the_whole_horizon():
    one = task("standard")
    model = GRU(one.spec, hidden_size=4)
    with torch.no_grad():
        assert one.predict(model, one.evaluation_set("test")).shape == (109, 12)


def test_training_batches_depend_on_step_and_data_seed_only():
    one, same, other = ForecastTask(), ForecastTask(), ForecastTask(data_seed=1)
    assert torch.equal(one.train_batch(5).inputs, same.train_batch(5).inputs)
    assert not torch.equal(one.train_batch(5).inputs, one.train_batch(6).inputs)
    assert not torch.equal(one.train_batch(5).inputs, other.train_batch(5).inputs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_naive_forecasts_are_those_of_a_loop(variant, agrees):
    one = task(variant)
    y, season, ahead = one.values.tolist(), one.season, range(one.horizon)
    agree_on_all(agrees, variant, "naive", [[y[o - 1]] * one.horizon for o in origins(one)], "a loop")
    last = [[y[o + h - season * (h // season + 1)] for h in ahead] for o in origins(one)]
    agree_on_all(agrees, variant, "seasonal_naive", last, "a loop")
    first, final = y[0], y[one.train_stop - 1]
    steps = one.train_stop - 1
    if one.series == "airline":  # a rise of logarithms is a factor
        drift = [
            [value * (final / first) ** (season * (h // season + 1) / steps) for h, value in enumerate(row)]
            for row in last
        ]
    else:
        drift = [
            [value + (final - first) * season * (h // season + 1) / steps for h, value in enumerate(row)]
            for row in last
        ]
    agree_on_all(agrees, variant, "seasonal_drift", drift, "a loop")


def test_seasons_go_on_beyond_the_first():
    window = torch.tensor([[9.0, 1.0, 2.0, 3.0]])
    assert seasonal(window, season=3, horizon=7).tolist() == [[1, 2, 3, 1, 2, 3, 1]]
    assert seasonal(window, season=3, horizon=4, slope=0.5).tolist() == [[2.5, 3.5, 4.5, 4.0]]


@pytest.mark.parametrize("variant", VARIANTS)
def test_autoregression_is_statsmodels(variant, agrees):
    one = task(variant)
    y = np.log(one.values.numpy()) if one.series == "airline" else one.values.numpy()
    order = max(ar_select_order(y[: one.train_stop], maxlag=one.window, ic="aic", trend="c").ar_lags)
    fitted = AutoReg(y[: one.train_stop], order, trend="c").fit()
    ours = Autoregression.fitted(torch.from_numpy(y[: one.train_stop]), one.window)
    np.testing.assert_allclose([ours.intercept, *ours.coefficients.flip(0)], fitted.params, rtol=1e-5, atol=1e-7)
    forecasts = []
    for origin in origins(one):
        known = AutoReg(y[:origin], order, trend="c")
        forecasts.append(known.predict(fitted.params, start=origin, end=origin + one.horizon - 1))
    forecasts = np.exp(forecasts) if one.series == "airline" else forecasts
    agree_on_all(agrees, variant, "autoregression", forecasts, "statsmodels' AutoReg")


@pytest.mark.parametrize("variant", VARIANTS)
def test_linear_is_the_ridge_regression_that_forecasts_left_out_rows_best(variant, agrees):
    one = task(variant)
    count = len(one._train.targets)
    whole = ForecastTask.from_variant(variant, protocol=Protocol(batch_size=count)).train_batch(0)
    x, y = whole.inputs.squeeze(-1).double().numpy(), whole.targets.double().numpy()
    centred, errors = x - x.mean(0), {}
    for penalty in PENALTIES:
        hat = centred @ np.linalg.solve(centred.T @ centred + penalty * np.eye(x.shape[1]), centred.T) + 1 / count
        errors[penalty] = (((y - hat @ y) / (1 - np.diag(hat))[:, None]) ** 2).mean()
    best = min(errors, key=errors.get)
    for left_out in (0, count // 2):  # the formula for errors of left-out rows, by fits without them
        others = np.arange(count) != left_out
        error = y[left_out] - Ridge(best).fit(x[others], y[others]).predict(x[[left_out]])[0]
        hat = centred @ np.linalg.solve(centred.T @ centred + best * np.eye(x.shape[1]), centred.T) + 1 / count
        np.testing.assert_allclose((y - hat @ y)[left_out] / (1 - hat[left_out, left_out]), error, atol=0.02)
    model = Ridge(best, solver="cholesky").fit(x, y)
    forecasts = one.predict(lambda rows, _: torch.from_numpy(model.predict(rows[:, :, 0])), one.evaluation_set("test"))
    agree_on_all(agrees, variant, "linear", forecasts.numpy(), "normal equations, errors by the hat matrix")


def test_the_needed_lag_is_from_the_windows_end_to_the_season_before_its_target():
    for name in VARIANTS:
        one, lag = task(name), ForecastTask.card().variant(name).needed_lag
        batch = one.evaluation_set("test")
        season_before = one.values[
            one.test_start - one.season : one.test_start - one.season + len(batch.targets)
        ].float()
        assert torch.equal(batch.inputs[:, one.window - 1 - lag, 0], season_before)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"window": 0}, "window is 0"),
        ({"horizon": 0}, "horizon is 0"),
        ({"validation": 0}, "validation is 0"),
        ({"test": -1}, "test is -1"),
        ({"season": 0}, "season is 0"),
        ({"season": 25}, "season is 25 and window 24"),
        ({"window": 6}, "season is 12 and window 6"),
        ({"window": 600}, "series 'co2' has 526 steps.*346 to learn from.*window 600"),
        ({"horizon": 121, "validation": 200}, "horizon is 121 and test 120"),
        ({"horizon": 61}, "horizon is 61 and validation 60"),
        ({"test": 10**9}, "has 526 steps.*test 1000000000 leave 0"),
    ],
    ids=str,
)
def test_settings_that_can_not_be_are_refused(setting, message):
    with pytest.raises(UserError, match=message):
        ForecastTask(**setting)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="no baseline 'theta'; it has naive, seasonal_naive"):
        task("standard").baseline("theta")
