"""NARMA-10 against its recursion step by step, and its filters against scikit-learn's."""

import numpy as np
import pytest
import torch
from rnnae_tasks.narma.datamodule import NarmaTask, recursion
from scipy.stats import kstest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import PolynomialFeatures

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError

SMALL = {"length": 40, "washout": 25, "evaluation_size": 30}


def by_the_book(u: np.ndarray) -> list[float]:
    """y(1), ..., y(T) of one row of inputs u(0), ..., u(T-1), as the equation stands."""
    y = [0.0] * 10
    for t in range(9, len(u)):
        y.append(0.3 * y[t] + 0.05 * y[t] * sum(y[t - i] for i in range(10)) + 1.5 * u[t - 9] * u[t] + 0.1)
    return y[1:]


def test_outputs_follow_the_recursion():
    task = NarmaTask(**SMALL)
    batch = task.evaluation_set("test")
    for inputs, targets in zip(batch.inputs[..., 0].double().numpy(), batch.targets[..., 0].numpy(), strict=True):
        np.testing.assert_allclose(targets, by_the_book(inputs), atol=1e-6)


def test_a_row_is_the_drawn_example():
    task = NarmaTask(length=30, washout=25)
    targets = task.evaluation_set("test").targets[0, :, 0]
    assert targets[:9].tolist() == [0] * 9  # y1 to y9
    assert (targets[9:] >= 0.1).all()  # y10, under the input of step 9
    assert task.spec.scored_steps == (25, 30)


def test_the_needed_lag_is_that_of_the_product():
    inputs = np.random.default_rng(0).random((1, 30)) / 2
    for variant in NarmaTask.card().variants.values():
        changed = inputs.copy()
        changed[0, 29 - variant.needed_lag] += 0.1
        assert recursion(changed)[0, 29] != pytest.approx(recursion(inputs)[0, 29], abs=1e-3)


def test_inputs_are_uniform_and_rows_that_run_away_are_drawn_anew():
    task = NarmaTask(length=400, evaluation_size=2000)
    generator = task.generator("test")
    first = 0.5 * torch.rand(2000, 400, dtype=torch.float64, generator=generator)
    with np.errstate(over="ignore", invalid="ignore"):
        bad = ~(recursion(first.numpy()).max(axis=1) <= 1)
    assert 0 < bad.sum() < 40  # the case occurs, and is rare
    batch = task.evaluation_set("test")
    assert torch.equal(batch.inputs[~bad, :, 0], first[~bad].float())
    assert not torch.equal(batch.inputs[bad, :, 0], first[bad].float())
    assert batch.targets.max() <= 1
    assert batch.targets.isfinite().all()
    assert kstest(2 * batch.inputs[:200].flatten().double().numpy(), "uniform").pvalue > 1e-3


def test_training_data_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=4)
    one, same, other = (NarmaTask(**SMALL, protocol=protocol, data_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.train_batch(7).inputs, same.train_batch(7).inputs)
    assert not torch.equal(one.train_batch(7).inputs, one.train_batch(8).inputs)
    assert not torch.equal(one.train_batch(7).inputs, other.train_batch(7).inputs)
    assert torch.equal(one.evaluation_set("test").inputs, other.evaluation_set("test").inputs)


def test_neither_loss_nor_metric_looks_at_the_washout():
    task = NarmaTask(**SMALL)
    batch = task.evaluation_set("test")
    prediction = batch.targets.clone()
    prediction[:, :25] = 7.0
    metrics = task.metrics()
    metrics.update(prediction, batch.targets)
    assert task.loss(prediction, batch) == 0
    assert metrics.compute()["nrmse"] == 0


@pytest.mark.parametrize("variant", list(NarmaTask.card().variants))
def test_filters_are_scikit_learns(variant, agrees):
    task = NarmaTask.from_variant(variant)
    fitted, test = task.rows(200, task.generator("fitted")), task.evaluation_set("test")

    def lagged(batch):
        inputs, targets = (one[..., 0].double().numpy() for one in batch[:2])
        steps = range(task.washout, task.length)
        rows = np.concatenate([inputs[:, t - 19 : t + 1] for t in steps])
        return rows, np.concatenate([targets[:, t] for t in steps])

    (past, wanted), (rows, truth) = lagged(fitted), lagged(test)
    for degree, name in enumerate(("mean", "linear_filter", "volterra")):
        if degree == 0:
            answer = np.full_like(truth, wanted.mean())
        else:
            expand = PolynomialFeatures(degree, include_bias=False).fit_transform
            # In parts, for the memory's sake.
            player = Ridge(1e-9, solver="cholesky").fit(expand(past), wanted)
            answer = np.concatenate([player.predict(expand(part)) for part in np.array_split(rows, 20)])
        nrmse = np.sqrt(np.mean((answer - truth) ** 2) / np.var(truth))
        agrees(f"narma:{variant}", name, "nrmse", nrmse, "scikit-learn's least squares", rel=1e-4)


@pytest.mark.parametrize("setting", [{"washout": 18}, {"length": 50}, {"length": 20}, {"evaluation_size": 0}], ids=str)
def test_bad_settings_are_refused_by_name(setting):
    with pytest.raises(UserError, match=f"{next(iter(setting))} is"):
        NarmaTask(**setting)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="mean, linear_filter, volterra"):
        NarmaTask().baseline("chance")
