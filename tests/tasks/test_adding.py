"""The adding problem against its definition, and its floors against integrals and answers to the test rows."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from rnnae_tasks.adding import datamodule
from rnnae_tasks.adding.datamodule import AddingTask
from scipy.integrate import dblquad
from scipy.stats import chisquare, kstest
from sklearn.linear_model import LinearRegression

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import update_metrics

VARIANTS = AddingTask.card().variants


def drawn(text: str) -> list[list[float]]:
    """Values, markers and target of the drawn row."""
    return [
        [float(number) for number in re.findall(rf"^ *{name} +(.*)$", text, re.M)[0].split()]
        for name in ("value", "marker", "target")
    ]


@pytest.mark.parametrize(
    "text",
    [AddingTask.__doc__, (Path(datamodule.__file__).parent / "README.md").read_text()],
    ids=["docstring", "README"],
)
def test_the_drawn_row_is_the_first_of_the_test_set(text):
    batch = AddingTask(length=8).evaluation_set("test")
    found = [*batch.inputs[0].T.tolist(), batch.targets[0].tolist()]
    assert [[round(number, 2) for number in row] for row in found] == drawn(text)


@pytest.mark.parametrize(("length", "low"), [(2, 0.0), (9, 0.0), (10, -1.0)])
def test_targets_are_the_sums_of_one_marked_value_in_each_half(length, low):
    batch = AddingTask(length=length, low=low, evaluation_size=500).evaluation_set("test")
    for sequence, target in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        marked = [step for step, (_, marker) in enumerate(sequence) if marker == 1]
        assert len(marked) == 2
        assert marked[0] < length // 2 <= marked[1]
        assert {marker for _, marker in sequence} <= {0.0, 1.0}
        assert target[0] == pytest.approx(sequence[marked[0]][0] + sequence[marked[1]][0], abs=1e-6)


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_values_and_places_are_uniform(low):
    inputs = AddingTask(length=20, low=low, evaluation_size=4000).evaluation_set("test").inputs
    assert kstest(inputs[..., 0].flatten(), "uniform", args=(low, 1 - low)).pvalue > 0.001
    places = inputs[..., 1].sum(0)
    assert chisquare(places[:10]).pvalue > 0.001
    assert chisquare(places[10:]).pvalue > 0.001


def test_training_data_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=4)
    one, other = AddingTask(protocol=protocol), AddingTask(protocol=protocol, data_seed=1)
    assert torch.equal(one.train_batch(7).inputs, AddingTask(protocol=protocol).train_batch(7).inputs)
    assert not torch.equal(one.train_batch(7).inputs, one.train_batch(8).inputs)
    assert not torch.equal(one.train_batch(7).inputs, other.train_batch(7).inputs)
    assert torch.equal(one.evaluation_set("test").inputs, other.evaluation_set("test").inputs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_baselines_are_integrals_over_both_numbers(variant, agrees):
    task, label = AddingTask.from_variant(variant), f"adding:{variant}"
    low = task.low
    density, middle = 1 / (1 - low) ** 2, (1 + low) / 2

    def expected(error):
        return dblquad(lambda x, y: density * error(x, y) ** 2, low, 1, low, 1)[0]

    agrees(label, "mean", "mse", expected(lambda x, y: x + y - 2 * middle), "scipy dblquad over both numbers")
    agrees(label, "second_only", "mse", expected(lambda x, y: x - middle), "scipy dblquad over both numbers")
    # The normal equations: values are independent, and each is a number of the sum with the chance p.
    variance = dblquad(lambda x, y: density * (x - middle) ** 2, low, 1, low, 1)[0]
    steps, half = task.length, task.length // 2
    chances = np.array([1 / half] * half + [1 / (steps - half)] * (steps - half))
    covariance = variance * chances
    residual = 2 * variance - covariance @ np.linalg.solve(variance * np.eye(steps), covariance)
    agrees(label, "linear", "mse", residual, "normal equations of the moments")


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_baselines_answers_score_what_the_closed_forms_say(low):
    task = AddingTask(length=12, low=low, evaluation_size=40_000)
    batch = task.evaluation_set("test")
    for name in ("mean", "linear", "second_only"):
        metrics = task.metrics()
        update_metrics(metrics, task.baseline_answer(name), batch)
        assert metrics.compute()["mse"].item() == pytest.approx(task.baseline(name)["mse"], rel=0.02), name
        scores = task.example_scores("mse", task.baseline_answer(name), batch)
        assert scores.mean().item() == pytest.approx(metrics.compute()["mse"].item(), rel=1e-5)


def test_linear_is_what_least_squares_on_values_and_markers_finds():
    task = AddingTask(length=6, evaluation_size=40_000)
    batch, held_out = task.evaluation_set("test"), task.evaluation_set("validation")
    fitted = LinearRegression().fit(held_out.inputs.flatten(1), held_out.targets)
    found = fitted.predict(batch.inputs.flatten(1))
    assert np.mean((found - batch.targets.numpy()) ** 2) == pytest.approx(task.baseline("linear")["mse"], rel=0.02)
    np.testing.assert_allclose(found, task.baseline_answer("linear"), atol=0.03)


def test_a_perfect_player_reaches_the_ceiling():
    task = AddingTask()
    batch = task.evaluation_set("test")
    metrics = task.metrics()
    update_metrics(metrics, batch.inputs.prod(dim=2).sum(dim=1, keepdim=True), batch)
    assert metrics.compute()["mse"].item() == pytest.approx(0, abs=1e-12)


def test_the_needed_lag_is_the_least_from_the_first_number_to_the_answer():
    for variant in VARIANTS.values():
        inputs = AddingTask.from_variant(variant.name, evaluation_size=8000).evaluation_set("test").inputs
        first = inputs[..., 1].argmax(dim=1)
        assert variant.needed_lag == (inputs.shape[1] - 1 - first).min()


@pytest.mark.parametrize(
    "setting",
    [{"length": 1}, {"length": -3}, {"low": 1.0}, {"low": -1.5}, {"low": float("nan")}, {"evaluation_size": 0}],
)
def test_bad_settings_are_refused_by_name_and_value(setting):
    ((option, value),) = setting.items()
    with pytest.raises(UserError, match=f"{option} is {value}"):
        AddingTask(**setting)


def test_an_unknown_baseline_is_refused():
    for ask in (AddingTask().baseline, AddingTask().baseline_answer):
        with pytest.raises(UserError, match="mean, linear, second_only"):
            ask("chance")
