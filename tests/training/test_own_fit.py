"""Models that train themselves by ``fit``: a linear autoencoder, and a reservoir with a ridge readout."""

import importlib
import os

import numpy as np
import pytest
import torch
from rnnae_tasks.denoise.datamodule import DenoiseTask
from rnnae_tasks.sine.datamodule import SineTask
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from rnnae_bench.cli import main
from rnnae_bench.errors import UserError
from rnnae_bench.leaderboard.submission import inspect
from rnnae_bench.models.recurrent import GRU
from rnnae_bench.records.store import Store
from rnnae_bench.testing import check_model
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.vectorized import reason_apart
from rnnae_bench.trial.verify import objections

PLUGIN = '''
import torch
from torch import nn

from rnnae_bench import Autoencoder, SequenceModel, Task, TaskSpec


class Components(Autoencoder):
    """Principal components of the clean images.

    Args:
        spec: The task to serve.
        code_size: Numbers in the code.
    """

    def __init__(self, spec: TaskSpec, code_size: int = 8) -> None:
        super().__init__(spec)
        self.shape = (spec.inputs.channels, spec.inputs.height, spec.inputs.width)
        pixels = self.shape[0] * self.shape[1] * self.shape[2]
        self.mean = nn.Parameter(torch.zeros(pixels))
        self.components = nn.Parameter(torch.randn(code_size, pixels))

    @property
    def state_size(self) -> int:
        return len(self.components)

    def encode(self, inputs):
        return (inputs.flatten(1) - self.mean) @ self.components.T

    def decode(self, code):
        return (code @ self.components + self.mean).unflatten(1, self.shape)

    @torch.no_grad()
    def fit(self, task: Task) -> None:
        batches = [task.train_batch(step).targets for step in range(task.protocol.max_steps)]
        rows = torch.cat(batches).flatten(1).to(self.mean)
        self.mean.copy_(rows.mean(0))
        self.components.copy_(torch.linalg.svd(rows - self.mean, full_matrices=False).Vh[: len(self.components)])


class Reservoir(SequenceModel):
    """Echo state network (Jaeger 2001): a fixed random recurrence, and a readout by ridge regression.

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state.
        penalty: Of the readout's squared weights.
    """

    def __init__(self, spec: TaskSpec, hidden_size: int = 16, penalty: float = 0.1) -> None:
        super().__init__(spec, hidden_size)
        self.penalty = penalty
        self.recurrence = nn.RNN(self.embedding.features, hidden_size, batch_first=True)

    def states(self, inputs, lengths=None):
        return self.recurrence(inputs)[0]

    @torch.no_grad()
    def fit(self, task: Task) -> None:
        states, targets = [], []
        for step in range(task.protocol.max_steps):
            batch = task.train_batch(step).to(self.device)
            states.append(self.states(self.embedding(batch.inputs.to(self.head.affine.weight)))[:, -1])
            targets.append(batch.targets.to(states[-1]))
        x, y = torch.cat(states), torch.cat(targets)
        x_mean, y_mean = x.mean(0), y.mean(0)
        x, y = x - x_mean, y - y_mean
        gram = x.T @ x + self.penalty * torch.eye(x.shape[1]).to(x)
        weights = torch.linalg.solve(gram, x.T @ y)
        self.head.affine.weight.copy_(weights.T)
        self.head.affine.bias.copy_(y_mean - x_mean @ weights)
'''

PROTOCOL = {"max_steps": 6, "evaluate_every": 3, "batch_size": 16}
EXACT = {"accelerator": "cpu", "precision": "64-true"}


@pytest.fixture
def plugin(install, monkeypatch, tmp_path):
    points = {"components": "fitting_models:Components", "reservoir": "fitting_models:Reservoir"}
    install("fitting", {"fitting_models.py": PLUGIN}, models=points)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return importlib.import_module("fitting_models")


def trial(task: str, model: str, **trainer) -> Trial:
    pair = Pair(task, model)
    return Trial(pair, pair.resolve({"task": {"protocol": PROTOCOL}, "trainer": {**EXACT, **trainer}}), seed=0)


def test_principal_components_are_those_of_sklearn(plugin, tmp_path):
    made = trial("denoise:smoke", "components")
    outcome = made.run(Store(tmp_path / "runs"), ["x"])
    record, task = outcome.record, made.task
    assert record.status == "ok", record.failure
    rows = torch.cat([task.train_batch(step).targets for step in range(6)]).flatten(1).double().numpy()
    pca, test = PCA(8, svd_solver="full").fit(rows), task.evaluation_set("test")
    answer = pca.inverse_transform(pca.transform(test.inputs.flatten(1).double().numpy()))
    wanted = ((answer - test.targets.flatten(1).double().numpy()) ** 2).mean()
    # Metrics are taken of single precision.
    assert record.primary.value == pytest.approx(wanted, rel=1e-5)
    measures = record.measures
    assert (measures.steps, measures.steps_per_second, measures.parameters) == (0, None, 9 * rows.shape[1])
    assert 0 < measures.training_seconds < 60
    reason = "the model trains itself by fit, without optimiser steps"
    for name in ("loss", "learning_rate", "gradient_norm", "gradient_underflow", "gradient_flow/training_loss"):
        assert record.absent[name] == reason
    assert outcome.series["validation/mse"].steps.tolist() == [0]
    saliency = outcome.series["input_saliency/last_step/inputs/x"]
    assert saliency.steps.tolist() == [0]
    assert np.isfinite(saliency.values).all()


def test_a_readout_is_the_ridge_regression_of_sklearn(plugin, tmp_path):
    made = trial("sine:smoke", "reservoir")
    model = made.build_model().double()
    task = made.task
    with torch.no_grad():
        batches = [task.train_batch(step) for step in range(6)]
        states = torch.cat([model.states(model.embedding(one.inputs.double()))[:, -1] for one in batches])
    targets = torch.cat([one.targets for one in batches])
    ridge = Ridge(0.1).fit(states.numpy(), targets.double().numpy())
    model.fit(task)
    np.testing.assert_allclose(model.head.affine.weight.detach().numpy(), np.atleast_2d(ridge.coef_), rtol=1e-6)
    np.testing.assert_allclose(model.head.affine.bias.detach().numpy(), np.atleast_1d(ridge.intercept_), rtol=1e-6)
    record = made.run(Store(tmp_path / "runs"), ["x"]).record
    assert record.status == "ok", record.failure
    assert any(name.startswith("gradient_flow/last_step/recurrence.l0/h") for name in record.measures.by_name)


def test_they_pass_the_exam(plugin):
    check_model(plugin.Components, DenoiseTask.from_variant("smoke"))
    check_model(plugin.Reservoir, SineTask.from_variant("smoke"))


def test_they_are_swept_checked_and_reproduced_as_others_are(plugin, tmp_path, capsys):
    runs = str(tmp_path / "runs")
    assert main(["sweep", "--task", "denoise:smoke", "--model", "components", "--seeds", "2", "--out", runs]) == 0
    records = Store(tmp_path / "runs").read().records
    assert [record.status for record in records] == ["ok", "ok"]
    assert records[0].environment.vectorized is None
    found = inspect(tmp_path / "runs", objections).findings
    reasons = {reason for one in found for reason in one.reasons if "(dirty)" not in reason}
    assert len(found) == 2
    assert not reasons
    capsys.readouterr()
    again = ["reproduce", records[0].id, "--from", runs, "--out", str(tmp_path / "again")]
    assert main(again) == 0
    assert capsys.readouterr().out.endswith("reproduced bit for bit\n")


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({"accumulate_grad_batches": 2}, "--trainer.accumulate_grad_batches 2 is for optimiser steps, and model"),
        ({"gradient_clip_val": 0.5}, "--trainer.gradient_clip_val 0.5 is for optimiser steps, and model"),
        ({"devices": 2, "strategy": "ddp"}, "is done on one device, and 2 were asked for"),
    ],
)
def test_options_for_optimiser_steps_are_refused_before_work(trainer, said, plugin):
    with pytest.raises(UserError, match=said):
        trial("denoise:smoke", "components", **trainer)


def test_they_are_not_trained_as_one(plugin):
    assert reason_apart(trial("denoise:smoke", "components")) == "it trains itself by its fit"


class Greedy(GRU):
    """Takes more than it was given."""

    def fit(self, task):
        task.train_batch(PROTOCOL["max_steps"])


class Cheating(GRU):
    """Learns from the test set."""

    def fit(self, task):
        task.evaluation_set("test")


class Infinite(GRU):
    """Ends in a division by zero."""

    def fit(self, task):
        self.head.affine.weight.data.fill_(float("nan"))


class Other(GRU):
    """A method of that name for something else."""

    def fit(self, inputs, targets):
        """Not what a model that trains itself has."""


@pytest.mark.parametrize(
    ("model_class", "said"),
    [
        (Greedy, "Greedy.fit asked for the training batch of step 6, and the protocol has 6 steps"),
        (Cheating, "Cheating.fit asked for the test set, which is for scoring"),
        (Infinite, "Infinite.fit left head.affine.weight with values that are not finite"),
    ],
)
def test_a_fit_that_breaks_the_contract_is_told_in_a_line(model_class, said, tmp_path):
    pair = Pair("copy:smoke", "gru")
    pair.model_class = model_class
    made = Trial(pair, pair.resolve({"task": {"protocol": PROTOCOL}, "trainer": EXACT}), seed=0)
    record = made.run(Store(tmp_path), ["x"]).record
    assert record.status == "error"
    assert said in record.failure.message
    assert made.task.train_batch(PROTOCOL["max_steps"]) is not None


def test_a_fit_that_takes_something_else_is_refused_before_work():
    pair = Pair("copy:smoke", "gru")
    pair.model_class = Other
    with pytest.raises(UserError, match=r"Other.fit\(self, inputs, targets\) can't be called with the task alone"):
        Trial(pair, pair.resolve({"trainer": EXACT}), seed=0)
