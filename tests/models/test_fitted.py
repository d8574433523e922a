"""Models that are fitted in closed form: against scikit-learn, numpy loops, and known capacities."""

import math

import numpy as np
import pytest
import torch
from rnnae_tasks.capacity.datamodule import CapacityTask
from rnnae_tasks.dynamics.datamodule import DynamicsTask
from rnnae_tasks.narma.datamodule import NarmaTask
from rnnae_tasks.ucr.datamodule import UcrTask
from sklearn.linear_model import Ridge
from sklearn.preprocessing import PolynomialFeatures

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.rollout import rollout
from rnnae_bench.contracts.search_space import declared
from rnnae_bench.contracts.spec import Classes, Images, TaskSpec, Tokens, Values, Vectors
from rnnae_bench.contracts.stepping import unroll
from rnnae_bench.errors import UserError
from rnnae_bench.models.echo_state import EchoStateNetwork
from rnnae_bench.models.lagged import LinearModel, NextGenerationReservoir
from rnnae_bench.plugins.registry import tasks

SPEC = TaskSpec("numbers", Vectors(2, 9), Values(3), "every step", causal=True)
SHORT = Protocol(max_steps=20, batch_size=16)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def made(kind, **options):
    return kind(SPEC, **options).double()


MODELS = [
    (EchoStateNetwork, {"hidden_size": 7, "leak": 0.6}),
    (LinearModel, {"taps": 4}),
    (NextGenerationReservoir, {"taps": 3, "skip": 2, "degree": 3}),
]


@pytest.mark.parametrize(("kind", "options"), MODELS)
@pytest.mark.parametrize("time", [1, 2, 63])
def test_states_are_the_loop(kind, options, time):
    model, inputs = made(kind, **options), torch.randn(4, time, 2, dtype=torch.float64)
    found = unroll(model.step, model.initial_state(4), inputs)[0]
    torch.testing.assert_close(model.states(inputs), found)
    one, state = model.resume(inputs[:, : time // 2 + 1])
    two = model.resume(inputs[:, time // 2 + 1 :], state)[0] if time > 2 else one[:, :0]
    torch.testing.assert_close(torch.cat((one, two), dim=1)[:, :time], found)


def test_the_reservoir_follows_its_equation():
    model = made(EchoStateNetwork, hidden_size=6, leak=0.3)
    inputs = np.random.default_rng(0).normal(size=(5, 2))
    into, recurrent, bias = (one.numpy() for one in (model.into, model.recurrent, model.bias))
    x, expected = np.zeros(6), []
    for u in inputs:
        x = 0.7 * x + 0.3 * np.tanh(into @ u + recurrent @ x + bias)
        expected.append(np.concatenate((x, u)))
    np.testing.assert_allclose(model.states(torch.from_numpy(inputs)[None])[0], expected, rtol=1e-12)


@pytest.mark.parametrize("topology", ["random", "orthogonal", "cycle"])
def test_the_spectral_radius(topology):
    model = made(EchoStateNetwork, hidden_size=60, radius=0.8, topology=topology)
    assert np.abs(np.linalg.eigvals(model.recurrent.numpy())).max() == pytest.approx(0.8, rel=1e-5)


@pytest.mark.parametrize("topology", ["orthogonal", "cycle"])
def test_a_linear_reservoir_remembers_as_many_inputs_as_it_has_units(topology):
    """Jaeger (2001): the linear memory capacity is the number of units.

    The present input takes one of them, unless the readout sees it directly; beyond 40 steps almost nothing is left.
    """
    task = CapacityTask(lags=40, length=140, protocol=SHORT)
    options = {"activation": "identity", "bias": 0.0, "radius": 0.8, "ridge": 0.0}
    model = EchoStateNetwork(task.spec, hidden_size=20, topology=topology, **options).double()
    model.fit(task)
    batch = task.evaluation_set("test")
    metrics = task.metrics()
    metrics.update(model(batch.inputs.double()).float(), batch.targets)
    assert metrics.compute()["capacity"].item() == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize("ridge", [1e-6, 1e-3, 0.5])
def test_the_readout_is_scikit_learns_ridge(ridge):
    task = NarmaTask(length=60, protocol=SHORT)
    model = LinearModel(task.spec, taps=12, ridge=ridge)
    model.fit(task)
    first, stop = task.spec.scored_steps or (0, 60)
    rows, wanted = [], []
    for step in range(20):
        batch = task.train_batch(step)
        padded = np.pad(batch.inputs[:, :, 0].double().numpy(), ((0, 0), (11, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 12, axis=1)[:, :, ::-1]
        rows.append(windows[:, first:stop].reshape(-1, 12))
        wanted.append(batch.targets[:, first:stop].double().numpy().reshape(-1, 1))
    x, y = np.concatenate(rows), np.concatenate(wanted)
    expected = Ridge(alpha=ridge * len(x) * x.var(0).mean()).fit(x, y)
    np.testing.assert_allclose(
        model.head.affine.weight.detach().numpy(), expected.coef_.reshape(1, -1), rtol=1e-3, atol=1e-6
    )
    np.testing.assert_allclose(model.head.affine.bias.detach().numpy(), expected.intercept_, rtol=1e-3)


def test_a_penalty_of_the_grid_is_the_best_on_the_validation_set():
    task = UcrTask(protocol=SHORT)
    batch = task.evaluation_set("validation")
    onehot = torch.nn.functional.one_hot(batch.targets, 2)

    def error(model):
        model.fit(task)
        answers = model(batch.inputs).log_softmax(-1)
        return (answers * onehot).sum().item()

    chosen = error(LinearModel(task.spec))
    assert chosen > error(LinearModel(task.spec, ridge=1e-12)) - 1e-6
    assert chosen > 2 * len(batch.targets) * -0.15


def test_monomials_are_scikit_learns():
    model = made(NextGenerationReservoir, taps=3, skip=2, degree=3)
    inputs = torch.randn(1, 12, 2, dtype=torch.float64)
    padded = np.pad(inputs[0].numpy(), ((4, 0), (0, 0)))
    lagged = np.stack([np.concatenate([padded[t + 4 - 2 * tap] for tap in range(3)]) for t in range(12)])
    expected = PolynomialFeatures(3, include_bias=False).fit_transform(lagged)
    found = model.states(inputs)[0].numpy()
    assert found.shape == expected.shape == (12, math.comb(9, 3) - 1)
    np.testing.assert_allclose(np.sort(found, axis=1), np.sort(expected, axis=1), rtol=1e-12)


def test_lorenz_is_forecast_as_by_the_tasks_own_reservoir():
    """The same taps, degree and penalty as the baseline of the card, fitted to the same trajectories."""
    task = DynamicsTask.from_variant("smoke")
    model = NextGenerationReservoir(task.spec, taps=2, degree=2, ridge=1e-9)
    model.fit(task)
    batch = task.evaluation_set("test")
    metrics = task.metrics()
    with torch.no_grad():
        metrics.update(task.predict(model, batch), batch.targets)
    found = metrics.compute()["valid_time"].item()
    assert found > 0.9 * task.baseline("next_generation_reservoir")["valid_time"]


def test_what_they_cannot_serve():
    letters = TaskSpec("letters", Tokens(60, 7), Classes(60), "every step", causal=True)
    assert "7380 products a step, and at most 1000" in NextGenerationReservoir.supports(letters)
    assert NextGenerationReservoir.supports(letters, degree=1) is None
    image = Images(1, 4, 4)
    assert "asks for images" in LinearModel.supports(TaskSpec("images", image, image, "every step", causal=False))
    assert "would read 1059 numbers a step, and at most 1000" in EchoStateNetwork.supports(letters, hidden_size=999)
    assert EchoStateNetwork.supports(letters, hidden_size=999, direct=False) is None


def test_the_search_range_of_an_echo_state_network_can_be_fitted():
    widest = int(declared(EchoStateNetwork)["hidden_size"].high)
    for name in tasks().names():
        spec = tasks().get(name).load().from_variant().spec
        if EchoStateNetwork.supports(spec) is None:
            assert EchoStateNetwork.supports(spec, hidden_size=widest) is None, name


def test_half_precision_reaches_neither_states_nor_readout():
    spec = TaskSpec("system", Vectors(2, 50), Values(2), "every step", causal=True)
    model = EchoStateNetwork(spec, hidden_size=30, leak=0.1)
    inputs = torch.randn(4, 50, 2)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, alone, state = model(inputs), rollout(model, inputs, 5), model.resume(inputs)[1]
    assert mixed.dtype == alone.dtype == state.dtype == torch.float32
    torch.testing.assert_close(mixed, model(inputs))
    torch.testing.assert_close(alone, rollout(model, inputs, 5))
    assert model.states(inputs.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (EchoStateNetwork, {"hidden_size": 0}, "hidden_size is 0"),
        (EchoStateNetwork, {"hidden_size": 3000}, "would have 3002 features a step, and at most 1000"),
        (EchoStateNetwork, {"leak": 0.0}, r"leak is 0\.0"),
        (EchoStateNetwork, {"density": 1.5}, r"density is 1\.5"),
        (EchoStateNetwork, {"ridge": -1.0}, r"ridge is -1\.0"),
        (LinearModel, {"taps": 0}, "taps is 0"),
        (NextGenerationReservoir, {"degree": 7}, "degree is 7"),
        (NextGenerationReservoir, {"taps": 9, "degree": 5}, "features a step, and at most 1000"),
    ],
)
def test_bad_settings_are_refused_by_name(kind, options, message):
    with pytest.raises(UserError, match=message):
        kind(SPEC, **options)
