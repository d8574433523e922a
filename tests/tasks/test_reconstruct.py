"""The reconstruction task: its data against their definitions, principal components against other ways to them."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from rnnae_tasks import reconstruct
from rnnae_tasks.datasets.build_optical_digits import permuted_digits
from rnnae_tasks.datasets.digits import packed_digits
from rnnae_tasks.datasets.optical_digits import PACKED, optical_digits, optical_labels
from rnnae_tasks.reconstruct.datamodule import ReconstructTask
from rnnae_tasks.reconstruct.pca import fit_pca, pca_of_covariance
from rnnae_tasks.reconstruct.sines import covariance, sine_windows
from scipy.integrate import dblquad
from scipy.optimize import least_squares
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.models.conv_autoencoder import ConvAutoencoder
from rnnae_bench.models.dense_autoencoder import DenseAutoencoder
from rnnae_bench.models.recurrent import GRU

VARIANTS = ReconstructTask.card().variants


def test_packed_digits_are_scikit_learns_in_the_order_of_the_published_split():
    images, labels = permuted_digits()
    with np.load(PACKED) as content:
        np.testing.assert_array_equal(content["images"], images)
        np.testing.assert_array_equal(content["labels"], labels)
    order = np.random.default_rng(0).permutation(1797)
    digits, shown = optical_digits(), optical_labels()
    assert [len(part) for part in digits] == [len(part) for part in shown] == [1293, 144, 360]
    np.testing.assert_array_equal(torch.cat(digits[:2]).flatten(1), load_digits().data[order[:1437]])
    np.testing.assert_array_equal(digits.test.flatten(1), load_digits().data[order[1437:]])
    np.testing.assert_array_equal(shown.test, load_digits().target[order[1437:]])


def test_the_drawn_example_is_the_first_test_image():
    task = ReconstructTask()
    readme = Path(reconstruct.__file__).with_name("README.md").read_text(encoding="utf-8")
    pair = task.evaluation_set("test").inputs[0, 0], task.baseline_answer("pca")[0, 0]
    for rows in zip(*map(draw, pair), strict=True):
        line = "|{}|            |{}|".format(*rows)
        assert line in ReconstructTask.__doc__
        assert line in readme


def draw(image):
    """An image in five greys."""
    return ["".join(" .:+#"[min(max(int(5 * pixel), 0), 4)] for pixel in row) for row in image.tolist()]


@pytest.mark.parametrize("data", ["digits", "mnist"])
def test_an_epoch_shows_every_training_image_once_and_nothing_else(data):
    images = optical_digits().train.double() / 16 if data == "digits" else packed_digits().train.double() / 255
    task = ReconstructTask(data, protocol=Protocol(batch_size=len(images)))
    batch = task.train_batch(1)
    assert torch.equal(batch.inputs, batch.targets)
    rows = {row.numpy().tobytes() for row in batch.inputs}
    assert rows == {row.numpy().tobytes() for row in images.float()}
    for name in task.evaluation_sets:
        assert not rows.intersection(row.numpy().tobytes() for row in task.evaluation_set(name).inputs)


def test_windows_are_sines_of_all_phases_and_frequencies_alike():
    windows = sine_windows(4000, torch.Generator().manual_seed(0)).double()[:, :, 0]
    # Of a sine, x[t - 1] + x[t + 1] = 2 cos(w) x[t]; arc length makes the frequency of the rows that are not near 0.
    around = windows[:, :-2] + windows[:, 2:]
    cosine = (around * windows[:, 1:-1]).sum(1) / windows[:, 1:-1].square().sum(1) / 2
    torch.testing.assert_close(2 * cosine[:, None] * windows[:, 1:-1], around, atol=1e-5, rtol=0)
    frequency = cosine.clamp(max=1).arccos().numpy()
    assert chi_square((frequency - 0.1) / 0.4) < 27.9  # the 0.999 quantile with 9 degrees of freedom
    step = torch.from_numpy(frequency)
    phase = torch.atan2(windows[:, 0], (windows[:, 1] - windows[:, 0] * step.cos()) / step.sin())
    assert chi_square((phase.numpy() + math.pi) / (2 * math.pi)) < 27.9


def chi_square(shares):
    """Of ten bins of [0, 1], all as likely."""
    counts = np.histogram(shares, bins=10, range=(0, 1))[0]
    return ((counts - len(shares) / 10) ** 2 / (len(shares) / 10)).sum()


@pytest.mark.parametrize(("t", "s"), [(0, 0), (3, 7), (19, 0)])
def test_the_covariance_of_sines_is_its_integral(t, s):
    found = dblquad(lambda a, w: math.sin(w * t + a) * math.sin(w * s + a), 0.1, 0.5, 0, 2 * math.pi)[0]
    assert covariance()[t, s].item() == pytest.approx(found / (0.4 * 2 * math.pi), abs=1e-7)


def test_two_numbers_are_enough_for_a_sine():
    """Frequency and phase give a window back: a search that knows the window alone reaches the ceiling of 0."""
    time = np.arange(20)
    for window in ReconstructTask("sine", 2).evaluation_set("test").inputs[:5, :, 0].numpy():
        starts = [(w, a) for w in (0.15, 0.25, 0.35, 0.45) for a in np.arange(6)]
        found = (least_squares(lambda p, x=window: np.sin(p[0] * time + p[1]) - x, start).cost for start in starts)
        assert min(found) < 1e-10


def test_training_data_depend_on_step_and_data_seed_only():
    for data in ("digits", "sine"):
        one, same, other = (ReconstructTask(data, data_seed=seed) for seed in (0, 0, 1))
        first = one.train_batch(7).inputs
        one.train_batch(500)
        assert torch.equal(same.train_batch(7).inputs, first)
        assert not torch.equal(one.train_batch(8).inputs, first)
        assert not torch.equal(other.train_batch(7).inputs, first)
        assert torch.equal(one.evaluation_set("test").inputs, other.evaluation_set("test").inputs)


# Principal components


@cache
def decomposed(data):
    """Of pictures from the data's own sources, flat and in float64: those that components are fitted to, those of the
    test, all components of scikit-learn, and all eigenvectors of the covariance, the most important last.
    """
    if data == "digits":
        rows = load_digits().data[np.random.default_rng(0).permutation(1797)] / 16
        train, test = rows[:1437], rows[1437:]
    else:
        digits = [part.flatten(1).double().numpy() / 255 for part in packed_digits()]
        train, test = np.concatenate(digits[:2]), digits[2]
    return train, test, PCA(32, svd_solver="full").fit(train), np.linalg.eigh(np.cov(train.T, bias=True))[1]


@pytest.mark.parametrize("variant", [v for v in VARIANTS.values() if v.data["data"] != "sine"], ids=lambda v: v.name)
def test_floors_of_pictures_are_those_of_scikit_learns_pca(variant, agrees):
    label, size = f"reconstruct:{variant.name}", variant.data["code_limit"]
    train, test, found, vectors = decomposed(variant.data["data"])
    codes = found.transform(test)
    codes[:, size:] = 0
    error = ((found.inverse_transform(codes) - test) ** 2).mean()
    spread = ((train.mean(0) - test) ** 2).mean()
    agrees(label, "pca", "mse", error, "scikit-learn's PCA")
    agrees(label, "pca", "variance_explained", 1 - error / spread, "scikit-learn's PCA")
    agrees(label, "mean", "mse", spread, "numpy's mean")
    left_out = (test - train.mean(0)) @ vectors[:, :-size]
    agrees(label, "pca", "mse", (left_out**2).sum() / test.size, "numpy's eigenvectors of the covariance")


@pytest.mark.parametrize(("size", "published"), [(2, 0.0534), (8, 0.0247), (16, 0.0116), (32, 0.0027)])
def test_published_errors_of_principal_components_on_digits(size, published):
    assert ReconstructTask("digits", size).baseline("pca")["mse"] == pytest.approx(published, abs=5e-5)


def test_the_floor_of_sines_is_that_of_a_fit_to_many_and_of_the_eigenvalues(agrees):
    rows = ReconstructTask("sine", 2).evaluation_set("test").inputs[:, :, 0].double().numpy()
    many = sine_windows(40_000, torch.Generator().manual_seed(1))[:, :, 0].double().numpy()
    found = PCA(2, svd_solver="full").fit(many)
    error = ((found.inverse_transform(found.transform(rows)) - rows) ** 2).mean()
    agrees("reconstruct:sine", "pca", "mse", error, "scikit-learn's PCA of 40,000 windows", rel=0.003)
    explained = 1 - error / (rows**2).mean()
    agrees(
        "reconstruct:sine", "pca", "variance_explained", explained, "scikit-learn's PCA of 40,000 windows", rel=0.003
    )
    agrees("reconstruct:sine", "mean", "mse", 0.5, "half the square of the amplitude", within=0.005)
    # What the test rows show is what the law says, but for sampling.
    squares = ((found.inverse_transform(found.transform(rows)) - rows) ** 2).mean(1)
    expected = np.linalg.eigvalsh(covariance().numpy())[:-2].sum() / 20
    within = 4 * squares.std() / math.sqrt(len(squares))
    agrees("reconstruct:sine", "pca", "mse", expected, "the eigenvalues left out", within=within)


def test_no_linear_code_does_better_on_the_rows_it_was_fitted_to():
    """Eckart & Young: what is left is the singular values left out, and random planes leave more."""
    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.arange(1, 7)
    found = fit_pca(rows, 2)
    error = (found.reconstruct(rows) - rows).square().sum()
    values = np.linalg.svd((rows - rows.mean(0)).numpy())[1]
    assert error.item() == pytest.approx((values[2:] ** 2).sum(), rel=1e-10)
    for seed in range(20):
        plane = torch.linalg.qr(torch.randn(6, 2, generator=torch.Generator().manual_seed(seed)).double()).Q
        assert (found._replace(axes=plane).reconstruct(rows) - rows).square().sum() > error
    again = pca_of_covariance((rows - rows.mean(0)).T @ (rows - rows.mean(0)), 2)
    torch.testing.assert_close(again.axes.abs(), found.axes.abs())


# What is asked of a model


def test_a_perfect_player_reaches_the_ceiling():
    for data in ("digits", "sine"):
        task = ReconstructTask(data, 2)
        rows = task.evaluation_set("test").inputs
        metrics = task.metrics()
        metrics.update(rows, rows)
        assert {name: value.item() for name, value in metrics.compute().items()} == {
            "mse": 0,
            "variance_explained": 1,
        }


def test_codes_are_as_large_as_the_task_allows_unless_it_is_said():
    task = ReconstructTask("digits", 3)
    assert DenseAutoencoder(task.spec).state_size == ConvAutoencoder(task.spec).state_size == 3
    assert DenseAutoencoder(task.spec, code_size=2).state_size == 2
    with pytest.raises(UserError, match="its code has 4 numbers, and the task allows 3"):
        DenseAutoencoder(task.spec, code_size=4)
    assert "through a code of at most 3 numbers, and the model has none" in GRU.supports(task.spec)


def test_a_dense_autoencoder_reads_a_series_as_one_vector():
    task = ReconstructTask("sine", 2)
    model = DenseAutoencoder(task.spec, hidden_sizes=(4,))
    batch = task.train_batch(0)
    assert model.code(batch.inputs).shape == (64, 2)
    prediction = model(batch.inputs)
    assert prediction.shape == batch.targets.shape
    first, second = (layer for layer in model.encoder if hasattr(layer, "weight"))
    hidden = (batch.inputs[:, :, 0] @ first.weight.T + first.bias).relu()
    torch.testing.assert_close(model.encode(batch.inputs), (hidden @ second.weight.T + second.bias).relu())
    assert "images, and the task's inputs are 20 steps of 1 real number" in ConvAutoencoder.supports(task.spec)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"code_limit": 0}, "code_limit is 0"),
        ({"code_limit": 64}, "code_limit is 64 with data 'digits', whose rows have 64 numbers"),
        ({"data": "mnist", "code_limit": 10**9}, "code_limit is 1000000000 with data 'mnist', whose rows have 784"),
        ({"data": "sine", "code_limit": 20}, "code_limit is 20 with data 'sine', whose rows have 20"),
    ],
)
def test_bad_settings_are_refused_by_name(setting, message):
    with pytest.raises(UserError, match=message) as refusal:
        ReconstructTask(**setting)
    assert "\n" not in str(refusal.value)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="no baseline 'ica'; it has mean, pca"):
        ReconstructTask().baseline("ica")
