"""Memory capacity: its rows step by step, and linear reservoirs, which have as much of it as units."""

import numpy as np
import pytest
import torch
from rnnae_tasks.capacity.datamodule import CapacityTask
from scipy.stats import kstest, ortho_group

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError


def measured(task: CapacityTask, prediction: torch.Tensor, targets: torch.Tensor) -> float:
    metrics = task.metrics()
    metrics.update(prediction, targets)
    return metrics.compute()["capacity"].item()


def test_a_row_is_the_drawn_example():
    task = CapacityTask(lags=3, length=6)
    inputs, targets = task.evaluation_set("test")[:2]
    for u, out in zip(inputs[:, :, 0], targets, strict=True):
        for step in range(6):
            assert out[step].tolist() == [u[step - lag].item() if lag <= step else 0 for lag in (1, 2, 3)]
    assert task.spec.scored_steps == (3, 6)


def test_inputs_are_uniform_and_independent():
    inputs = CapacityTask().evaluation_set("test").inputs[:, :, 0].double().numpy()
    assert kstest(inputs.ravel(), "uniform", (-1, 2)).pvalue > 1e-3
    for lag in (1, 2, 30):
        correlation = np.corrcoef(inputs[:, lag:].ravel(), inputs[:, :-lag].ravel())[0, 1]
        assert abs(correlation) < 3.3 / np.sqrt(inputs[:, lag:].size)


def test_training_data_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=4)
    one, same, other = (CapacityTask(protocol=protocol, data_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.train_batch(7).inputs, same.train_batch(7).inputs)
    assert not torch.equal(one.train_batch(7).inputs, one.train_batch(8).inputs)
    assert not torch.equal(one.train_batch(7).inputs, other.train_batch(7).inputs)
    assert torch.equal(one.evaluation_set("test").inputs, other.evaluation_set("test").inputs)


def test_a_perfect_player_has_all_lags():
    for variant in CapacityTask.card().variants.values():
        task = CapacityTask.from_variant(variant.name, evaluation_size=3)
        targets = task.evaluation_set("test").targets
        assert measured(task, targets, targets) == pytest.approx(variant.scale.ceiling)
        assert task.loss(targets, task.evaluation_set("test")) == 0


@pytest.mark.parametrize("variant", list(CapacityTask.card().variants))
def test_baselines_are_what_such_players_have(variant, agrees):
    """A delay line is run step by step; the memoryless player says a fixed function of the present input."""
    task = CapacityTask.from_variant(variant)
    batch = task.evaluation_set("test")
    line, said = torch.zeros(len(batch.inputs), 10), torch.zeros_like(batch.targets)
    for step in range(task.length):
        held = min(10, task.lags)
        said[:, step, :held] = line[:, :held]
        line = torch.cat((batch.inputs[:, step], line[:, :-1]), dim=1)
    agrees(f"capacity:{variant}", "delay_line", "capacity", measured(task, said, batch.targets), "run step by step")
    present = batch.inputs.expand(-1, -1, task.lags).cos()
    noise = 30 * task.lags / batch.inputs[:, task.lags :].numel()  # squared correlations by chance
    chance = measured(task, present, batch.targets)
    agrees(f"capacity:{variant}", "memoryless", "capacity", chance, "simulation", within=noise)


def reservoir(units: int, inputs: np.ndarray, radius: float, random: np.random.Generator) -> np.ndarray:
    """States ``[rows time units]`` of a linear reservoir with a random orthogonal matrix, scaled."""
    matrix = radius * ortho_group.rvs(units, random_state=random)
    into = random.standard_normal(units)
    state, states = np.zeros((len(inputs), units)), []
    for step in range(inputs.shape[1]):
        # Before it reads the present input, which lag 0 would be.
        states.append(state)
        state = state @ matrix.T + inputs[:, step, None] * into
    return np.stack(states, axis=1)


@pytest.mark.parametrize("units", [5, 12])
def test_a_linear_reservoir_has_as_much_capacity_as_units(units):
    """Jaeger (2001), propositions 2 and 4: at most as many as units, and of linear units exactly as many."""
    task = CapacityTask(lags=80, length=400, evaluation_size=60)
    random = np.random.default_rng(0)
    train, test = task.evaluation_set("validation"), task.evaluation_set("test")
    both = np.concatenate([one.inputs[:, :, 0].double().numpy() for one in (train, test)])
    states = reservoir(units, both, 0.9, random)
    rows = states[:60, 80:].reshape(-1, units)
    gram = rows.T @ rows + 1e-9 * np.eye(units)
    readout = np.linalg.solve(gram, rows.T @ train.targets[:, 80:].flatten(0, 1).double().numpy())
    found = measured(task, torch.from_numpy(states[60:] @ readout), test.targets)
    assert found == pytest.approx(units, abs=0.08)  # some 80 lags, of 19,200 steps each


@pytest.mark.parametrize("setting", [{"lags": 0}, {"length": 40}, {"evaluation_size": 0}], ids=str)
def test_bad_settings_are_refused_by_name(setting):
    with pytest.raises(UserError, match=f"{next(iter(setting))} is"):
        CapacityTask(**setting)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="memoryless, delay_line"):
        CapacityTask().baseline("chance")


def test_the_needed_lag_is_the_longest():
    for variant in CapacityTask.card().variants.values():
        task = CapacityTask.from_variant(variant.name, evaluation_size=1)
        inputs, targets = task.evaluation_set("test")[:2]
        assert torch.equal(inputs[0, : -variant.needed_lag, 0], targets[0, variant.needed_lag :, -1])
