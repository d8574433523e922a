"""The linear autoencoder: principal components by scikit-learn, and the closed form of its penalty."""

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch import nn

from rnnae_bench.contracts.spec import Images, Static, TaskSpec, Values
from rnnae_bench.errors import UserError
from rnnae_bench.models.dense_autoencoder import DenseAutoencoder
from rnnae_bench.models.linear_autoencoder import LinearAutoencoder


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def vectors(features):
    return TaskSpec("vectors", Static(features), Values(features), "last step", causal=False)


def fitted(model, rows, loss_terms, iterations=400):
    """The model at a minimum of its training loss on all rows."""
    model.double()
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=iterations, tolerance_grad=1e-10, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = sum(loss_terms(model, rows).values())
        loss.backward()
        return loss

    optimizer.step(closure)
    return model


@pytest.mark.parametrize("tied", [False, True])
def test_it_finds_the_principal_components(tied, loss_terms):
    rows = load_digits().data / 16
    model = LinearAutoencoder(vectors(64), code_size=8, tied=tied)
    data = torch.from_numpy(rows)
    fitted(model, data, loss_terms)
    components = PCA(8).fit(rows)
    best = ((components.inverse_transform(components.transform(rows)) - rows) ** 2).mean()
    assert (model(data) - data).square().mean().item() == pytest.approx(best, rel=0.01)
    weight = model.encoder[1].weight if tied else model.decoder[0].weight.T
    angles = subspace_angles(weight.detach().numpy().T, components.components_.T)
    assert np.degrees(angles.max()) < 1


@pytest.mark.parametrize("tied", [False, True])
def test_a_penalty_shrinks_each_component_as_the_closed_form_says(tied, loss_terms):
    """Kunin et al. (2019): gains 1 - l2 / sigma^2, and 0 where that is negative."""
    generator = np.random.default_rng(0)
    variances = np.array([4.0, 2.0, 1.0, 0.5, 0.2, 0.1])
    axes = np.linalg.qr(generator.normal(size=(6, 6)))[0]
    rows = generator.normal(size=(500, 6))
    rows = (rows - rows.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T, bias=True))).T
    rows = rows * np.sqrt(variances) @ axes.T + 3.0
    model = fitted(LinearAutoencoder(vectors(6), code_size=4, tied=tied, l2=0.7), torch.from_numpy(rows), loss_terms)
    with torch.no_grad():
        centre = torch.from_numpy(rows.mean(0, keepdims=True))
        found = (model(centre + torch.from_numpy(axes.T)) - model(centre)).numpy() @ axes
    np.testing.assert_allclose(found, np.diag([1 - 0.7 / 4, 1 - 0.7 / 2, 1 - 0.7, 0, 0, 0]), atol=2e-4)


def test_the_penalty_is_over_the_numbers_of_a_row(loss_terms):
    model = LinearAutoencoder(vectors(5), code_size=2, l2=3.0)
    rows = torch.rand(4, 5)
    terms = loss_terms(model, rows)
    squares = sum(weight.square().sum() for weight in (model.encoder[1].weight, model.decoder[0].weight))
    assert terms["l2"].item() == pytest.approx(3 * squares.item() / 5, rel=1e-6)
    assert terms["reconstruction"].item() == pytest.approx((model(rows) - rows).square().mean().item(), rel=1e-6)


def test_without_a_penalty_there_is_one_loss(loss_terms):
    assert list(loss_terms(LinearAutoencoder(vectors(5), code_size=2), torch.rand(4, 5))) == ["loss"]


@pytest.mark.parametrize(("tied", "count"), [(False, 2 * 64 * 8 + 64 + 8), (True, 64 * 8 + 64 + 8)])
@pytest.mark.parametrize("kind", [LinearAutoencoder, DenseAutoencoder])
def test_the_number_of_weights(kind, tied, count):
    image = Images(1, 8, 8)
    model = kind(TaskSpec("images", image, image, "every step", causal=False), code_size=8, tied=tied)
    assert sum(weight.numel() for weight in model.parameters()) == count
    assert model.state_size == 8
    assert model(torch.rand(3, 1, 8, 8)).shape == (3, 1, 8, 8)


def test_tied_layers_are_the_transposes():
    model = DenseAutoencoder(vectors(6), code_size=2, hidden_sizes=(4,), activation="tanh", tied=True).double()
    for weight in model.parameters():
        nn.init.normal_(weight)
    first, second = model.encoder[1], model.encoder[3]
    last, above = model.borrowed.biases
    rows = torch.rand(5, 6, dtype=torch.float64)
    code = torch.tanh(torch.tanh(rows @ first.weight.T + first.bias) @ second.weight.T + second.bias)
    expected = torch.tanh(code @ second.weight + last) @ first.weight + above
    torch.testing.assert_close(model(rows), expected)


def test_bad_settings_are_refused_by_name():
    with pytest.raises(UserError, match=r"l2 is -1\.0"):
        LinearAutoencoder(vectors(5), code_size=2, l2=-1.0)
    with pytest.raises(UserError, match="code_size is 0"):
        LinearAutoencoder(vectors(5), code_size=0)
