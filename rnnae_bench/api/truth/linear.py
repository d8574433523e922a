"""Rows of linear models, whose optimum is known: autoencoders, probabilistic PCA, filters, readouts of reservoirs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.linalg import subspace_angles
from torch import Tensor, nn
from torchmetrics import MetricCollection

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Static, TaskSpec, Values, Vectors
from rnnae_bench.contracts.task import Task
from rnnae_bench.metrics import SquaredError, squared_error
from rnnae_bench.plugins.registry import models, tasks


def _vectors(features: int) -> TaskSpec:
    return TaskSpec("vectors", Static(features), Values(features), "last step", causal=False)


def _minimised(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Bring a model to a minimum of a loss without chance."""
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=8000, tolerance_grad=1e-6, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        found = loss()
        found.backward()
        return found

    optimizer.step(closure)


def _digits() -> Tensor:
    """All 1,797 of scikit-learn's images of digits, over 16."""
    from sklearn.datasets import load_digits

    return torch.from_numpy(load_digits().data / 16)


def principal_angle(name: str) -> list[float]:
    """The largest angle, in degrees, between what a linear autoencoder spans and eight principal components."""
    from sklearn.decomposition import PCA

    torch.manual_seed(0)
    rows, model = _digits(), models().get("linear_ae").load()(_vectors(64), code_size=8).double()
    _minimised(model, lambda: (model(rows) - rows).square().mean())
    components = PCA(8).fit(rows.numpy()).components_
    angles = subspace_angles(model.decoder[0].weight.detach().numpy(), components.T)
    return [float(np.degrees(angles.max()))]


def shrunk_components(name: str) -> list[float]:
    """The largest deviation of the gains of a regularised linear autoencoder from 1 - l2 / sigma^2, or 0."""
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    variances, l2 = np.array([4.0, 2.0, 1.0, 0.5, 0.2, 0.1]), 0.7
    axes = np.linalg.qr(generator.normal(size=(6, 6)))[0]
    white = generator.normal(size=(500, 6))
    white = (white - white.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(white.T, bias=True))).T
    rows = torch.from_numpy(white * np.sqrt(variances) @ axes.T)
    model = models().get("linear_ae").load()(_vectors(6), code_size=4, l2=l2).double()

    def loss() -> Tensor:
        squares = sum(layer[-1].weight.square().sum() for layer in (model.encoder, model.decoder))
        return (model(rows) - rows).square().mean() + l2 * squares / 6

    _minimised(model, loss)
    with torch.no_grad():
        found = (model(torch.from_numpy(axes.T.copy())) - model(torch.zeros(1, 6).double())).numpy() @ axes
    return [float(np.abs(found - np.diag(np.maximum(0, 1 - l2 / variances))).max())]


def linear_vae(name: str) -> list[float]:
    """The evidence lower bound that a linear VAE reaches, in nats an image; the mean over its noise is exact."""
    torch.manual_seed(0)
    size, rows = int(name.removeprefix("ppca-")), _digits()
    kind = models().get("vae").load()
    model = kind(_vectors(64), code_size=size, hidden_sizes=(), output="linear").double()

    def loss() -> Tensor:
        mean, log_variance = model.posterior(rows)
        # Of a linear decoder W the noise adds sum_j v_j |w_j|^2 to the squared error.
        added = log_variance.exp() @ model.decoder[0].weight.square().sum(0)
        likelihood = model.negative_log_likelihood(mean, rows) + 0.5 * added * (-model.log_variance).exp()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return (likelihood + divergence).mean()

    _minimised(model, loss)
    return [-loss().item()]


def reservoir_capacity(name: str) -> list[float]:
    """The linear memory capacity of a linear reservoir of 20 units, over 40 lags."""
    torch.manual_seed(0)
    kind = tasks().get("capacity").load()
    task = kind(lags=40, length=140)
    options = {"activation": "identity", "topology": "cycle", "radius": 0.8, "bias": 0.0, "ridge": 0.0}
    model = models().get("esn").load()(task.spec, hidden_size=20, steps=30_000, **options).double()
    model.fit(task)
    batch = task.evaluation_set("test")
    metrics = task.metrics()
    metrics.update(model(batch.inputs.double()).float(), batch.targets)
    return [float(metrics.compute()["capacity"])]


class _Noisy(Task):
    """Give back a Gaussian vector behind white noise: one step in, as much out.

    Args:
        axes: Orthonormal axes of the covariance, one a row.
        variances: Along each.
        noise: Variance of the noise.
    """

    name = "noisy"

    def __init__(self, axes: Tensor, variances: Tensor, noise: float) -> None:
        super().__init__(Protocol(max_steps=100, batch_size=1000))
        self.axes, self.variances, self.noise = axes, variances, noise

    @property
    def spec(self) -> TaskSpec:
        size = len(self.variances)
        return TaskSpec(self.name, Vectors(size, 1), Values(size), "last step", causal=True)

    def train_batch(self, step: int) -> Batch:
        return self._rows(1000, "train", step)

    def evaluation_set(self, name: str) -> Batch:
        return self._rows(1000, name)

    def _rows(self, count: int, *key: str | int) -> Batch:
        generator, size = self.generator(*key), len(self.variances)
        clean, noise = torch.randn(2, count, size, dtype=torch.float64, generator=generator)
        clean = clean * self.variances.sqrt() @ self.axes
        return Batch((clean + self.noise**0.5 * noise).unsqueeze(1), clean)

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        return squared_error(prediction, batch)

    def metrics(self) -> MetricCollection:
        return MetricCollection({"mse": SquaredError()})

    def baseline(self, name: str) -> dict[str, float]:
        raise NotImplementedError


def wiener(name: str) -> list[float]:
    """What `linear`, fitted to 100,000 noisy vectors, is to be expected to err a number: exact, given its weights."""
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    variances, noise = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.25, 0.125], dtype=torch.float64), 0.5
    task = _Noisy(torch.from_numpy(axes), variances, noise)
    model = models().get("linear").load()(task.spec, ridge=0.0).double()
    model.fit(task)
    with torch.no_grad():
        offset = model(torch.zeros(1, 1, 6).double())
        # Row i is what comes of a unit along axis i.
        gains = (model(task.axes.unsqueeze(1)) - offset) @ task.axes.T
        errors = (gains - torch.eye(6)).square().sum(1) @ variances + noise * gains.square().sum()
        return [float(errors + offset.square().sum()) / 6]


def narma(name: str) -> list[float]:
    """NMSE of ten echo state networks, each fitted to 1,800 steps of one series of NARMA-10; their mean.

    The first 200 steps are left out. Radius and input scale did best, or within a hundredth of it, on validation series
    under two seeds (of 0.8, 0.9, 0.95 and of 0.05, 0.1, 0.3, 1). Units have no bias and the readout does not see the
    input; that was settled on after a look at both: with a bias of 0.2 and the input, 100 and 200 units come to 0.046
    and 0.026 on validation series, below the published figures.
    """
    kind, units = tasks().get("narma").load(), int(name.removeprefix("narma-esn-"))
    found = []
    for seed in range(10):
        torch.manual_seed(seed)
        protocol = Protocol(max_steps=1, batch_size=1)
        task = kind(length=2000, washout=200, evaluation_size=5, protocol=protocol, data_seed=seed)
        options = {"radius": 0.8, "input_scale": 0.1, "bias": 0.0, "direct": False}
        model = models().get("esn").load()(task.spec, hidden_size=units, **options)
        found.append(_scored(model, task)["nrmse"] ** 2)
    return [float(np.mean(found))]


def lorenz(name: str) -> list[float]:
    """Valid times of `ngrc` fitted to 400 samples of Lorenz's system, on 40 trajectories; of three draws of samples."""
    kind, found = tasks().get("dynamics").load(), []
    for seed in range(3):
        protocol = Protocol(max_steps=1, batch_size=1)
        task = kind(window=400, evaluation_size=40, protocol=protocol, data_seed=seed)
        found.append(_scored(models().get("ngrc").load()(task.spec), task)["valid_time"])
    return found


def _scored(model: Any, task: Task) -> dict[str, float]:
    """Fit a model, and measure it on the test set."""
    model.fit(task)
    batch, metrics = task.evaluation_set("test"), task.metrics()
    with torch.no_grad():
        metrics.update(task.predict(model, batch), batch.targets)
    return {metric: float(value) for metric, value in metrics.compute().items()}
