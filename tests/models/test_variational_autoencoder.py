"""The variational autoencoder: its terms by torch.distributions, and the likelihood of probabilistic PCA."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from rnnae_bench.contracts.spec import Images, Static, TaskSpec, Values
from rnnae_bench.errors import UserError
from rnnae_bench.models.variational_autoencoder import VariationalAutoencoder, divergence

IMAGE = Images(1, 4, 4)
SPEC = TaskSpec("images", IMAGE, IMAGE, "every step", causal=False)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def vectors(features):
    return TaskSpec("vectors", Static(features), Values(features), "last step", causal=False)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_the_terms_are_those_of_torchs_distributions(likelihood):
    model = VariationalAutoencoder(SPEC, code_size=3, hidden_sizes=(7,), likelihood=likelihood).double()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5)
    rows, code = torch.rand(5, 1, 4, 4).double(), torch.randn(5, 3).double()
    mean, log_variance = model.posterior(rows)
    q = Normal(mean, (0.5 * log_variance).exp())
    torch.testing.assert_close(divergence(mean, log_variance), kl_divergence(q, Normal(0.0, 1.0)).sum(1))
    if likelihood == "gaussian":
        expected = Normal(model.decode(code), (0.5 * model.log_variance).exp()).log_prob(rows)
    else:
        expected = Bernoulli(model.decode(code), validate_args=False).log_prob(rows)
    torch.testing.assert_close(model.negative_log_likelihood(code, rows), -expected.flatten(1).sum(1))


def test_what_is_minimised_is_the_mean_of_the_two_terms(loss_terms):
    model = VariationalAutoencoder(SPEC, code_size=3, beta=4.0, sigma=0.5)
    rows, clean = torch.rand(5, 1, 4, 4), torch.rand(5, 1, 4, 4)
    torch.manual_seed(1)
    terms = loss_terms(model, rows, clean)
    torch.manual_seed(1)
    mean, log_variance = model.posterior(rows)
    code = mean + (0.5 * log_variance).exp() * torch.randn(5, 3)
    squares = (model.decode(code) - clean).square().sum((1, 2, 3))
    expected = (squares / (2 * 0.25)).mean() + 16 * math.log(0.5 * math.sqrt(2 * math.pi))
    assert terms["reconstruction"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["kl"].item() == pytest.approx(4 * divergence(mean, log_variance).mean().item(), rel=1e-5)


def bound(model, rows):
    """The evidence lower bound of a linear decoder, exactly: means of a quadratic by 2 k points."""
    mean, log_variance = model.posterior(rows)
    size = mean.shape[1]
    reach = (size**0.5) * (0.5 * log_variance).exp().unsqueeze(1) * torch.eye(size, dtype=mean.dtype)
    points = torch.cat((mean.unsqueeze(1) + reach, mean.unsqueeze(1) - reach), dim=1)
    losses = model.negative_log_likelihood(points.flatten(0, 1), rows.repeat_interleave(2 * size, 0))
    return -(losses.unflatten(0, (-1, 2 * size)).mean(1) + divergence(mean, log_variance)).mean()


def at_the_optimum(rows, size):
    """A linear VAE with the weights of probabilistic PCA (Tipping & Bishop 1999), and its posterior."""
    model = VariationalAutoencoder(vectors(64), code_size=size, hidden_sizes=(), output="linear").double()
    centre = rows.mean(0)
    values, axes = np.linalg.eigh(np.cov(rows.T, bias=True))
    noise = values[:-size].mean()
    weight = axes[:, -size:] * np.sqrt(values[-size:] - noise)
    precision = weight.T @ weight + noise * np.eye(size)
    inverse = np.linalg.solve(precision, weight.T)
    with torch.no_grad():
        model.decoder[0].weight.copy_(torch.from_numpy(weight))
        model.decoder[0].bias.copy_(torch.from_numpy(centre))
        model.log_variance.fill_(math.log(noise))
        model.mean.weight.copy_(torch.from_numpy(inverse))
        model.mean.bias.copy_(torch.from_numpy(-inverse @ centre))
        model.log_variance_of_code.weight.zero_()
        model.log_variance_of_code.bias.copy_(torch.from_numpy(np.log(noise / np.diag(precision))))
    return model


@pytest.mark.parametrize(("size", "published"), [(2, 0.0057), (8, 14.2098), (16, 23.9294), (32, 35.2470)])
def test_a_linear_one_has_the_likelihood_of_probabilistic_pca_for_its_optimum(size, published):
    """On all 1,797 of scikit-learn's digits over 16; and there nothing pulls at any weight."""
    rows = load_digits().data / 16
    model = at_the_optimum(rows, size)
    found = bound(model, torch.from_numpy(rows))
    assert found.item() == pytest.approx(published, abs=6e-5)
    assert found.item() == pytest.approx(PCA(size).fit(rows).score(rows), abs=1e-4)
    for gradient in torch.autograd.grad(found, list(model.parameters())):
        assert gradient.abs().max() < 1e-9


def test_training_reaches_that_likelihood():
    rows = load_digits().data[:, 18:30] / 16
    model = VariationalAutoencoder(vectors(12), code_size=2, hidden_sizes=(), output="linear").double()
    data = torch.from_numpy(rows)
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=300, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = -bound(model, data)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert bound(model, data).item() == pytest.approx(PCA(2).fit(rows).score(rows), abs=1e-3)


def test_evaluation_is_by_the_mean_and_has_no_chance():
    model, rows = VariationalAutoencoder(SPEC, code_size=3).eval(), torch.rand(5, 1, 4, 4)
    assert torch.equal(model(rows), model(rows))
    assert torch.equal(model(rows), model.decode(model.posterior(rows)[0]))


def test_bfloat16_comes_near(loss_terms):
    model, rows = VariationalAutoencoder(SPEC, code_size=3), torch.rand(64, 1, 4, 4)
    found = []
    for enabled in (False, True):
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append({name: term.item() for name, term in loss_terms(model, rows).items()})
    assert found[0] == pytest.approx(found[1], rel=0.03, abs=0.03)


@pytest.mark.parametrize("hidden_sizes", [(), (7,), (9, 6)])
def test_the_number_of_weights(hidden_sizes):
    model = VariationalAutoencoder(SPEC, code_size=3, hidden_sizes=hidden_sizes)
    n, k = (16, *hidden_sizes), 3
    pairs = pairwise(n)
    count = 2 * k * (n[-1] + 1) + n[-1] * (k + 1) + sum(2 * a * b + a + b for a, b in pairs) + 1
    assert sum(weight.numel() for weight in model.parameters()) == count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -1.0}, r"beta is -1\.0"),
        ({"sigma": 0.0}, r"sigma is 0\.0"),
        ({"likelihood": "bernoulli", "sigma": 1.0}, r"sigma is 1\.0 with likelihood 'bernoulli'"),
        ({"likelihood": "bernoulli", "output": "linear"}, "output is 'linear' with likelihood 'bernoulli'"),
    ],
)
def test_bad_settings_are_refused_by_name(options, message):
    with pytest.raises(UserError, match=message):
        VariationalAutoencoder(SPEC, **options)


def test_a_bernoulli_likelihood_serves_images_alone():
    assert VariationalAutoencoder.supports(SPEC, likelihood="bernoulli") is None
    assert VariationalAutoencoder.supports(vectors(5)) is None
    with pytest.raises(
        UserError, match=r"'bernoulli' is of numbers in \[0, 1\], and the task's inputs are 5 real numbers"
    ):
        VariationalAutoencoder(vectors(5), code_size=2, likelihood="bernoulli")
