"""The contractive penalty: torch.func's Jacobian to the last digits, for any depth and activation."""

import pytest
import torch
from torch import nn

from rnnae_bench.contracts.spec import Images, TaskSpec
from rnnae_bench.errors import UserError
from rnnae_bench.models.contractive_autoencoder import ContractiveAutoencoder, squared_jacobian
from rnnae_bench.models.dense import ACTIVATIONS

IMAGE = Images(1, 3, 4)
SPEC = TaskSpec("images", IMAGE, IMAGE, "every step", causal=False)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def made(**options):
    model = ContractiveAutoencoder(SPEC, code_size=5, **options).double()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5)
    return model


def penalty_by_jacobians(model, rows):
    return torch.stack([torch.func.jacrev(lambda x: model.encode(x[None])[0])(row).square().sum() for row in rows])


@pytest.mark.parametrize("hidden_sizes", [(), (7,), (9, 6, 4)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_penalty_is_that_of_the_jacobian(activation, hidden_sizes):
    model = made(activation=activation, hidden_sizes=hidden_sizes)
    rows = torch.randn(4, 1, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(
        squared_jacobian(model.encoder, rows), penalty_by_jacobians(model, rows), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("hidden_sizes", [(), (7, 6)])
def test_its_gradient_is_that_of_the_jacobian(hidden_sizes):
    model = made(hidden_sizes=hidden_sizes)
    rows = torch.randn(4, 1, 3, 4, dtype=torch.float64)
    weights = [*model.encoder.parameters()]
    one, other = (
        torch.autograd.grad(penalty.mean(), weights)
        for penalty in (squared_jacobian(model.encoder, rows), penalty_by_jacobians(model, rows))
    )
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-12)


def test_the_logistic_penalty_of_the_source(loss_terms):
    """Rifai et al. (2011), section 3: sum_j (h_j (1 - h_j))^2 sum_i W_ji^2."""
    model, rows = made(weight=0.3), torch.rand(6, 1, 3, 4, dtype=torch.float64)
    h, weight = model.encode(rows), model.encoder[1].weight
    expected = ((h * (1 - h)).square() @ weight.square().sum(1)).mean()
    assert loss_terms(model, rows)["contraction"].item() == pytest.approx(0.3 * expected.item() / 12, rel=1e-12)


def test_bad_settings_are_refused_by_name():
    with pytest.raises(UserError, match=r"weight is -0\.1"):
        ContractiveAutoencoder(SPEC, weight=-0.1)
