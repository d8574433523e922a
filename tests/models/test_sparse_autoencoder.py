"""Sparse autoencoders: each term from its equation, and the sparseness that it brings."""

import numpy as np
import pytest
import torch
from scipy.special import rel_entr

from rnnae_bench.contracts.spec import Images, TaskSpec
from rnnae_bench.errors import UserError
from rnnae_bench.models.sparse_autoencoder import SparseAutoencoder

IMAGE = Images(1, 4, 4)
SPEC = TaskSpec("images", IMAGE, IMAGE, "every step", causal=False)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_l1_is_the_mean_over_rows_of_the_sum_over_the_code(loss_terms):
    model, rows = SparseAutoencoder(SPEC, code_size=9, weight=0.5), torch.rand(7, 1, 4, 4)
    terms = loss_terms(model, rows)
    code = model.encode(rows)
    assert terms["sparsity"].item() == pytest.approx(0.5 * np.abs(code.detach().numpy()).sum(1).mean() / 16, rel=1e-5)
    assert terms["reconstruction"].item() == pytest.approx((model(rows) - rows).square().mean().item(), rel=1e-5)


def test_kl_is_scipys_of_the_means_over_the_batch(loss_terms):
    model = SparseAutoencoder(SPEC, code_size=9, sparsity="kl", weight=2.0, rho=0.1)
    rows = torch.rand(7, 1, 4, 4)
    means = model.encode(rows).detach().double().numpy().mean(0)
    expected = 2 * (rel_entr(0.1, means) + rel_entr(0.9, 1 - means)).sum() / 16
    assert loss_terms(model, rows)["sparsity"].item() == pytest.approx(expected, rel=1e-5)


def test_top_k_keeps_the_largest(loss_terms):
    model, rows = SparseAutoencoder(SPEC, code_size=32, sparsity="top_k", k=3), torch.rand(50, 1, 4, 4)
    dense, code = model.encoder(rows), model.encode(rows)
    assert ((code != 0).sum(1) <= 3).all()
    for whole, kept in zip(dense, code, strict=True):
        largest = whole.argsort(descending=True)[:3]
        torch.testing.assert_close(kept[largest], whole[largest])
        assert kept.sum().item() == pytest.approx(whole[largest].sum().item())
    assert list(loss_terms(model, rows)) == ["loss"]


@pytest.mark.parametrize("sparsity", ["l1", "kl"])
def test_more_weight_makes_codes_sparser(sparsity, loss_terms):
    active = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        model = SparseAutoencoder(SPEC, code_size=24, sparsity=sparsity, weight=weight)
        rows = torch.rand(64, 1, 4, 4)
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for _ in range(150):
            optimizer.zero_grad()
            sum(loss_terms(model, rows).values()).backward()
            optimizer.step()
        active.append(model.encode(rows).mean().item())
    assert active[1] < 0.5 * active[0]


@pytest.mark.parametrize("sparsity", ["l1", "kl", "top_k"])
def test_half_precision_comes_near(sparsity, loss_terms):
    model, rows = SparseAutoencoder(SPEC, code_size=24, sparsity=sparsity), torch.rand(8, 1, 4, 4)
    exact = sum(loss_terms(model, rows).values())
    with torch.autocast("cpu", torch.bfloat16):
        near = sum(loss_terms(model, rows).values())
    assert near.item() == pytest.approx(exact.item(), rel=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1.0}, r"weight is -1\.0"),
        ({"rho": 1.0}, r"rho is 1\.0; it must be between 0 and 1"),
        ({"k": 0}, "k is 0; it must be from 1 to 512"),
        ({"k": 9, "code_size": 8}, "k is 9; it must be from 1 to 8"),
        ({"hidden_sizes": (3, 0)}, r"hidden_sizes is \[3, 0\]"),
    ],
)
def test_bad_settings_are_refused_by_name(options, message):
    with pytest.raises(UserError, match=message):
        SparseAutoencoder(SPEC, **options)
