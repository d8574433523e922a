"""Imputation: the process by statsmodels, its gaps by counting, the optimum by a Kalman smoother."""

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from rnnae_tasks.impute.datamodule import ImputeTask
from rnnae_tasks.impute.gaussian import autocovariance
from scipy.interpolate import interp1d
from statsmodels.tsa.arima_process import arma_acovf
from statsmodels.tsa.statespace.sarimax import SARIMAX

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError

SMALL = {"length": 30, "gaps": 2, "gap_length": 4, "evaluation_size": 20}


def coefficients(period: float, memory: float) -> np.ndarray:
    """Of the autoregression, from its two poles."""
    poles = np.exp(-1 / memory + 2j * np.pi / period * np.array([1, -1]))
    return -np.poly(poles).real[1:]


@pytest.mark.parametrize(("period", "memory"), [(20.0, 30.0), (7.5, 4.0), (3.0, 100.0)])
def test_the_covariance_is_the_autoregressions(period, memory):
    expected = arma_acovf(np.r_[1, -coefficients(period, memory)], [1], nobs=40)
    np.testing.assert_allclose(autocovariance(40, period, memory), expected / expected[0], atol=1e-10)


def test_series_have_the_covariance():
    task = ImputeTask(length=12, gaps=1, gap_length=2, evaluation_size=20_000)
    series = task.evaluation_set("test").targets[:, :, 0].double().numpy()
    np.testing.assert_allclose(np.cov(series.T), task.covariance, atol=0.04)
    batch = task.evaluation_set("test")
    noise = (batch.inputs[:, :, 0] - batch.targets[:, :, 0])[~batch.mask]
    assert noise.std().item() == pytest.approx(0.3, rel=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=0.003)


def test_a_row_is_the_drawn_example():
    batch = ImputeTask(length=10, gaps=1, gap_length=3).evaluation_set("test")
    starts = set()
    for inputs, targets, mask in zip(batch.inputs, batch.targets, batch.mask, strict=True):
        gap = mask.nonzero()[:, 0].tolist()
        starts.add(gap[0])
        assert gap == [*range(gap[0], gap[0] + 3)]
        assert inputs[mask].tolist() == [[0, 0]] * 3
        assert (inputs[~mask, 1] == 1).all()
        assert (inputs[~mask, 0] != 0).all()
        assert targets.shape == (10, 1)
    assert starts == {1, 2, 3, 4, 5, 6}


def test_every_arrangement_of_gaps_is_as_likely():
    task = ImputeTask(length=9, gaps=2, gap_length=2, evaluation_size=3000)
    found = Counter(map(tuple, task.evaluation_set("test").mask.long().tolist()))
    possible = []
    for one, two in combinations(range(1, 7), 2):
        if two >= one + 3:
            row = [0] * 9
            for first in (one, two):
                row[first] = row[first + 1] = 1
            possible.append(tuple(row))
    assert set(found) == set(possible)
    expected = 3000 / len(possible)
    chi_square = sum((count - expected) ** 2 / expected for count in found.values())
    assert len(possible) == 6
    assert chi_square < 20.5  # the 0.999 quantile with 5 degrees of freedom


def test_training_data_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=4)
    one, same, other = (ImputeTask(**SMALL, protocol=protocol, data_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.train_batch(7).inputs, same.train_batch(7).inputs)
    assert not torch.equal(one.train_batch(7).inputs, one.train_batch(8).inputs)
    assert not torch.equal(one.train_batch(7).inputs, other.train_batch(7).inputs)
    assert torch.equal(one.evaluation_set("test").inputs, other.evaluation_set("test").inputs)


def test_only_gaps_are_scored():
    task = ImputeTask(**SMALL)
    batch = task.evaluation_set("test")
    prediction = torch.where(batch.mask.unsqueeze(2), batch.targets + 0.5, 9.0)
    assert task.loss(prediction, batch).item() == pytest.approx(0.25, rel=1e-5)
    assert task.example_scores("mse", prediction, batch).tolist() == pytest.approx([0.25] * 20, rel=1e-5)
    assert task.example_scores("loss", prediction, batch) is None


def statespace(task: ImputeTask, period: float, memory: float) -> tuple[np.ndarray, np.ndarray]:
    """A Kalman filter and Rauch-Tung-Striebel smoother of (x_t, x_(t-1)), all test rows at once.

    Returns:
        The smoothed series; and the filter's forecast of each step from those observed before it ``[rows time]``.
    """
    inputs = task.evaluation_set("test").inputs.double().numpy()
    ar = coefficients(period, memory)
    first, second = arma_acovf(np.r_[1, -ar], [1], nobs=2)
    move, drive = np.array([ar, [1, 0]]), np.diag([1 / first, 0.0])
    mean, spread = np.zeros((len(inputs), 2)), np.tile([[1, second / first], [second / first, 1]], (len(inputs), 1, 1))
    forecasts, filtered = [], []
    for value, observed in inputs.transpose(1, 2, 0):
        forecasts.append((mean, spread))
        gain = observed[:, None] * spread[:, :, 0] / (spread[:, 0, 0] + task.noise**2)[:, None]
        mean = mean + gain * (value - mean[:, 0])[:, None]
        spread = spread - gain[:, :, None] * spread[:, None, 0]
        filtered.append((mean, spread))
        mean, spread = mean @ move.T, move @ spread @ move.T + drive
    smoothed = [filtered[-1][0]]
    for (mean, spread), (ahead, uncertain) in zip(filtered[-2::-1], forecasts[:0:-1], strict=True):
        back = spread @ move.T @ np.linalg.inv(uncertain)
        smoothed.append(mean + (back @ (smoothed[-1] - ahead)[:, :, None])[:, :, 0])
    return np.stack(smoothed[::-1])[:, :, 0].T, np.stack([mean for mean, _ in forecasts])[:, :, 0].T


def by_statsmodels(task: ImputeTask, period: float, memory: float, rows: slice) -> np.ndarray:
    """statsmodels' Kalman smoother, row by row."""
    batch = task.evaluation_set("test").rows(rows)
    ar = coefficients(period, memory)
    variance = 1 / arma_acovf(np.r_[1, -ar], [1], nobs=1)[0]
    found = []
    for values, mask in zip(batch.inputs[:, :, 0].double().numpy(), batch.mask.numpy(), strict=True):
        model = SARIMAX(np.where(mask, np.nan, values), order=(2, 0, 0), measurement_error=True)
        found.append(model.smooth([*ar, task.noise**2, variance], transformed=True).smoothed_state[0])
    return np.array(found)


@pytest.mark.parametrize("variant", list(ImputeTask.card().variants))
def test_the_optima_are_those_of_a_kalman_smoother_and_filter(variant, agrees):
    task = ImputeTask.from_variant(variant)
    batch = task.evaluation_set("test")
    both, past = statespace(task, 20.0, 30.0)
    np.testing.assert_allclose(both[:5], by_statsmodels(task, 20.0, 30.0, slice(0, 5)), atol=1e-6)
    mask, truth = batch.mask.numpy(), batch.targets[:, :, 0].double().numpy()
    for name, states in (("bayes", both), ("filter", past)):
        if (variant, name) != ("long", "filter"):  # dense algebra for each of 15 gaps takes a minute there
            answer = task.baseline_answer(name)[:, :, 0].numpy()
            np.testing.assert_allclose(answer[mask], states[mask], atol=1e-6)
        error = np.mean((states - truth)[mask] ** 2)
        agrees(f"impute:{variant}", name, "mse", error, "a Kalman smoother and filter", rel=1e-5)


@pytest.mark.parametrize("variant", list(ImputeTask.card().variants))
def test_simple_fillings_are_scipys(variant, agrees):
    task = ImputeTask.from_variant(variant)
    batch = task.evaluation_set("test")
    errors = {"mean": [], "last": [], "linear": []}
    for inputs, targets, mask in zip(*(one.double().numpy() for one in batch[:2]), batch.mask.numpy(), strict=True):
        known, missing, truth = np.flatnonzero(~mask), np.flatnonzero(mask), targets[mask, 0]
        errors["mean"].extend(truth**2)
        for name, kind in (("last", "previous"), ("linear", "linear")):
            errors[name].extend((interp1d(known, inputs[known, 0], kind)(missing) - truth) ** 2)
    for name, squares in errors.items():
        agrees(f"impute:{variant}", name, "mse", np.mean(squares), "scipy's interp1d", rel=1e-5)


def test_the_optimum_has_the_error_that_it_expects():
    """The mean posterior variance, of the same gaps."""
    task = ImputeTask.from_variant("standard")
    expected = []
    for mask in task.evaluation_set("test").mask.numpy():
        seen, gap = np.flatnonzero(~mask), np.flatnonzero(mask)
        k = task.covariance.numpy()
        inner = np.linalg.solve(k[np.ix_(seen, seen)] + 0.09 * np.eye(len(seen)), k[np.ix_(seen, gap)])
        expected.extend(np.diag(k)[gap] - np.einsum("ij,ij->j", k[np.ix_(seen, gap)], inner))
    assert task.baseline("bayes")["mse"] == pytest.approx(np.mean(expected), rel=0.08)


@pytest.mark.parametrize(
    "setting",
    [{"length": 21}, {"gaps": 0}, {"gap_length": 0}, {"period": 2.0}, {"memory": 0.0}, {"noise": -0.1},
     {"evaluation_size": 0}, {"period": math.inf}, {"memory": math.inf}, {"noise": math.inf}],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused_by_name(setting):
    with pytest.raises(UserError, match=f"{next(iter(setting))} is"):
        ImputeTask(**setting)


def test_gaps_that_just_fit_are_drawn():
    batch = ImputeTask(length=22).evaluation_set("test")
    assert (batch.mask.sum(1) == 18).all()


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="mean, last, linear, filter, bayes"):
        ImputeTask().baseline("chance")
