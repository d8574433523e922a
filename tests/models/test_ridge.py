"""Readouts by ridge regression: which steps are fitted, what a ridge is, and how it is chosen; against scikit-learn."""

import numpy as np
import pytest
import torch
from rnnae_tasks.dynamics.datamodule import DynamicsTask
from rnnae_tasks.forecast.datamodule import ForecastTask
from rnnae_tasks.sine.datamodule import SineTask
from sklearn.linear_model import Ridge

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.models.echo_state import EchoStateNetwork
from rnnae_bench.models.lagged import LinearModel, NextGenerationReservoir
from rnnae_bench.models.ridge import GRID, solved

SHORT = Protocol(max_steps=20, batch_size=16)


def test_where_a_model_goes_on_alone_no_step_is_fitted_that_looks_back_on_zeros():
    task = DynamicsTask(window=12, horizon=20, trajectories=4, length=60, evaluation_size=5, protocol=SHORT)
    model = LinearModel(task.spec, taps=4, ridge=1e-4)
    model.fit(task)
    rows, wanted = [], []
    for step in range(20):
        inputs, targets = (one.double().numpy() for one in task.train_batch(step)[:2])
        for t in range(3, 12):
            rows.append(inputs[:, t - 3 : t + 1][:, ::-1].reshape(16, -1))
            wanted.append(targets[:, t])
    x, y = np.concatenate(rows), np.concatenate(wanted)
    expected = Ridge(alpha=1e-4 * len(x) * x.var(0).mean()).fit(x, y)
    np.testing.assert_allclose(model.head.affine.weight.detach().numpy(), expected.coef_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.head.affine.bias.detach().numpy(), expected.intercept_, rtol=1e-3, atol=1e-5)


def test_of_an_echo_state_network_that_goes_on_alone_the_first_half_of_a_row_is_left_out():
    task = DynamicsTask(window=13, horizon=20, trajectories=4, length=60, evaluation_size=5, protocol=SHORT)
    model = EchoStateNetwork(task.spec, hidden_size=8, ridge=1e-3)
    model.fit(task)
    batches = [task.train_batch(step) for step in range(20)]
    x = torch.cat([model.states(one.inputs)[:, 6:].flatten(0, 1) for one in batches]).double().numpy()
    y = torch.cat([one.targets[:, 6:].flatten(0, 1) for one in batches]).double().numpy()
    expected = Ridge(alpha=1e-3 * len(x) * x.var(0).mean()).fit(x, y)
    np.testing.assert_allclose(model.head.affine.weight.detach().numpy(), expected.coef_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "task",
    [
        DynamicsTask(window=12, horizon=60, evaluation_size=30, protocol=SHORT),
        SineTask(span=200.0, samples=1000, horizon=20, noise=0.5, validation_share=0.1, protocol=SHORT),
    ],
    ids=["dynamics", "sine"],
)
def test_where_a_model_goes_on_alone_the_ridge_is_that_of_the_best_free_runs(task):
    def metric(model):
        metrics = task.metrics()
        batch = task.evaluation_set("validation").rows(torch.arange(min(100, rows)) * rows // min(100, rows))
        metrics.update(task.predict(model, batch), batch.targets)
        found = metrics.compute()
        return -found["valid_time"].item() if "valid_time" in found else found["rollout_mse"].item()

    rows = len(task.evaluation_set("validation").targets)
    kind = NextGenerationReservoir if isinstance(task, DynamicsTask) else LinearModel
    found = {}
    for ridge in (None, *GRID):
        model = kind(task.spec, ridge=ridge)
        model.fit(task)
        with torch.no_grad():
            found[ridge] = metric(model)
    assert found.pop(None) == min(found.values())
    assert min(found.values()) < max(found.values())


def test_lorenz_is_forecast_for_seven_lyapunov_times():
    """As long as by the card's next-generation reservoir, 6.95, whose form is the same."""
    task = DynamicsTask.from_variant("standard", evaluation_size=20)
    model = NextGenerationReservoir(task.spec)
    model.fit(task)
    batch, metrics = task.evaluation_set("test"), task.metrics()
    with torch.no_grad():
        metrics.update(task.predict(model, batch), batch.targets)
    assert metrics.compute()["valid_time"].item() > 6


@pytest.mark.parametrize("series", ["co2", "airline"])
def test_a_ridge_is_chosen_on_held_out_rows_as_they_are_trained(series):
    """The validation set of forecast is in the units of the series; the model is fitted to scaled rows."""
    task = ForecastTask.from_variant("standard" if series == "co2" else series)
    model = LinearModel(task.spec)
    model.fit(task)
    batches = [task.train_batch(step) for step in range(task.protocol.max_steps)]
    x = torch.cat([one.inputs.flatten(1).flip(1) for one in batches]).double().numpy()
    y = torch.cat([one.targets for one in batches]).double().numpy()
    held_out = task.held_out(1000)
    inputs, wanted = held_out.inputs.flatten(1).flip(1).double().numpy(), held_out.targets.double().numpy()
    fits = [Ridge(alpha=ridge * len(x) * x.var(0).mean()).fit(x, y) for ridge in GRID[3:]]
    best = min(fits, key=lambda one: np.square(one.predict(inputs) - wanted).sum())
    np.testing.assert_allclose(model.head.affine.weight.detach().numpy(), best.coef_, rtol=1e-3, atol=1e-4)
    metrics = task.metrics()
    with torch.no_grad():
        batch = task.evaluation_set("test")
        metrics.update(task.predict(model, batch), batch.targets)
    assert metrics.compute()["mase"].item() < task.baseline("linear")["mase"]


def test_neither_unit_nor_offset_nor_repetition_change_what_a_ridge_does():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(40, 3)), generator.normal(size=(40, 2))

    def answers(rows, again=1):
        seen = np.tile(np.concatenate((np.ones((40, 1)), rows, y), axis=1), (again, 1))
        triangle = torch.linalg.qr(torch.from_numpy(seen), mode="r").R
        return np.concatenate((np.ones((40, 1)), rows), axis=1) @ solved(triangle, 3, 0.3).numpy()

    expected = Ridge(alpha=0.3 * 40 * x.var(0).mean()).fit(x, y).predict(x)
    for rows, again in ((x, 1), (7 * x, 1), (x + 100, 1), (x, 5)):
        np.testing.assert_allclose(answers(rows, again), expected, rtol=1e-8, atol=1e-10)
