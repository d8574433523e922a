"""Rows of linear models, whose optimum is known: autoencoders, probabilistic PCA, and reservoirs."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import subspace_angles
from torch import Tensor, nn

from rnnae_bench.contracts.spec import Static, TaskSpec, Values
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
