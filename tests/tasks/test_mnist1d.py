"""MNIST-1D: its rows against the published package, its baselines against definitions and other routes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from rnnae_tasks import mnist1d
from rnnae_tasks.mnist1d.datamodule import MNIST1DTask
from rnnae_tasks.mnist1d.generator import outlines, published_series
from rnnae_tasks.mnist1d.shift_kernel import NARROWNESS, RIDGE, shift_kernel, without_slope
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.signal import detrend
from scipy.spatial.distance import cdist
from sklearn.multiclass import OneVsOneClassifier
from sklearn.svm import SVC

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError

VARIANTS = [f"mnist1d:{name}" for name in MNIST1DTask.card().variants]


@pytest.fixture(scope="module")
def task():
    return MNIST1DTask()


@pytest.fixture(scope="module")
def arrays(task):
    """Training rows and digits, test rows and digits, as arrays in double precision."""
    return tuple(one.numpy() for part in ("train", "test") for one in task.parts[part])


# The data


def test_rows_are_those_of_the_package():
    data = pytest.importorskip("mnist1d.data")
    before = np.random.get_state()
    published = data.make_dataset()
    np.random.set_state(before)
    for (rows, digits), suffix in zip(published_series(), ("", "_test"), strict=True):
        np.testing.assert_array_equal(digits, published[f"y{suffix}"])
        np.testing.assert_allclose(rows, published[f"x{suffix}"], rtol=0, atol=1e-12)


def test_rows_stay_the_same():
    """Also where the package is not installed: the digits, and the rows to four places."""
    train, test = published_series()
    digits = torch.cat((train.digits, test.digits)).numpy().astype("<i8").tobytes()
    assert hashlib.sha256(digits).hexdigest()[:16] == "6feec4a017698c7f"
    rows = torch.cat((train.rows, test.rows))
    assert [round(value, 4) for value in rows[:3, :3].flatten().tolist()] == [
        -0.332,
        -0.4719,
        -0.7787,
        1.9655,
        2.3002,
        2.2134,
        -0.0193,
        0.0786,
        0.6249,
    ]
    assert rows.mean().item() == pytest.approx(0, abs=1e-12)
    assert rows.std(correction=0).item() == pytest.approx(1)
    assert np.bincount(torch.cat((train.digits, test.digits))).tolist() == [500] * 10


def test_outlines_begin_at_nought_and_are_of_one_size():
    assert (outlines()[:, 0] == 0).all()
    np.testing.assert_allclose(outlines().std(1), 1 / 6)


def test_a_figure_is_found_where_it_was_put_however_it_is_moved_and_scaled():
    """The outline that fits best, over places, widths and sizes, with a slope: mostly the digit that was drawn."""
    rows, digits = (one[:200] for one in published_series()[1])
    steps, straight = np.arange(40), detrend(rows.numpy())
    best = np.full((200, 10), -np.inf)
    for width in (6.7, 7.5, 8.3, 9.2, 10.0):
        span = np.arange(int(width) + 1)
        for digit, outline in enumerate(outlines()):
            figure = np.zeros(40)
            figure[span] = np.interp(span, np.linspace(0, width, 12), outline)
            for place in steps:
                moved = detrend(np.roll(figure, place))
                best[:, digit] = np.maximum(best[:, digit], straight @ moved / np.linalg.norm(moved))
    assert (best.argmax(1) == digits.numpy()).mean() > 0.4  # by chance 0.1


def test_parts_are_the_published_ones_and_the_validation_set_is_the_end_of_the_training_rows(task):
    train, test = published_series()
    assert torch.equal(task.parts["train"].rows, train.rows[:3500])
    assert torch.equal(task.parts["validation"].rows, train.rows[3500:])
    assert torch.equal(task.evaluation_set("test").inputs[..., 0], test.rows.float())
    assert torch.equal(task.evaluation_set("validation").targets, train.digits[3500:])
    rows = torch.cat([part.rows for part in task.parts.values()])
    assert len(rows.unique(dim=0)) == 5000


def test_an_epoch_shows_every_training_row_once_with_its_digit():
    task, other = (MNIST1DTask(Protocol(batch_size=500), data_seed=seed) for seed in (0, 1))
    batches = [task.train_batch(step) for step in range(7)]
    inputs, targets = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("inputs", "targets"))
    whole, digits = task.parts["train"]
    order, wanted = inputs[:, 0, 0].argsort(), whole[:, 0].float().argsort()
    assert torch.equal(inputs[order, :, 0], whole[wanted].float())
    assert torch.equal(targets[order], digits[wanted])
    assert not torch.equal(other.train_batch(0).inputs, batches[0].inputs)


def test_the_drawn_row_is_test_row_0(task):
    batch = task.evaluation_set("test")
    drawn = " ".join(str(round(10 * number)) for number in batch.inputs[0, :, 0].tolist())
    readme = Path(mnist1d.__file__).with_name("README.md").read_text(encoding="utf-8")
    for text in (MNIST1DTask.__doc__, readme):
        assert drawn in " ".join(text.split())
    assert batch.targets[0] == 2


def test_spec_and_refusals(task):
    assert str(task.spec) == "40 steps of 1 real number -> one of 10 classes, last step"
    assert not task.spec.causal
    with pytest.raises(
        UserError, match="'mnist1d' has no baseline 'cnn'; it has majority, logistic, nearest, svm, shif"
    ):
        task.baseline("cnn")
    with pytest.raises(UserError, match="data_seed is -1"):
        MNIST1DTask(data_seed=-1)


def test_a_perfect_player_reaches_the_ceiling(task):
    batch = task.evaluation_set("test")
    metrics = task.metrics()
    metrics.update(torch.nn.functional.one_hot(batch.targets, 10) * 100.0, batch.targets)
    assert metrics.compute()["accuracy"] == 1


# Baselines


def test_majority(arrays, agrees):
    _, known, _, wanted = arrays
    shares = np.bincount(known) / len(known)
    for label in VARIANTS:
        agrees(label, "majority", "accuracy", (wanted == shares.argmax()).mean(), "counted digits")
        agrees(label, "majority", "loss", -np.log(shares[wanted]).mean(), "counted digits")


def test_nearest(arrays, agrees):
    rows, known, asked, wanted = arrays
    right = known[cdist(asked, rows).argmin(1)] == wanted
    for label in VARIANTS:
        agrees(label, "nearest", "accuracy", right.mean(), "scipy's cdist")


def test_logistic(arrays, agrees):
    rows, known, asked, wanted = map(torch.from_numpy, arrays)

    def objective(flat):
        weights = torch.from_numpy(flat).reshape(41, 10).requires_grad_()
        value = torch.nn.functional.cross_entropy(rows @ weights[:40] + weights[40], known, reduction="sum")
        value = value + weights[:40].square().sum() / 2
        return value.item(), torch.autograd.grad(value, weights)[0].flatten().numpy()

    options = {"maxiter": 5000, "gtol": 1e-4, "ftol": 0}
    weights = torch.from_numpy(minimize(objective, np.zeros(410), jac=True, method="L-BFGS-B", options=options).x)
    logits = asked @ weights.reshape(41, 10)[:40] + weights.reshape(41, 10)[40]
    for label in VARIANTS:
        method = "scipy's L-BFGS-B on autograd, float64"
        agrees(label, "logistic", "accuracy", (logits.argmax(1) == wanted).double().mean(), method)
        agrees(label, "logistic", "loss", torch.nn.functional.cross_entropy(logits, wanted), method)


def test_svm(arrays, agrees):
    """On a kernel matrix of our own, one machine a pair, joined by scikit-learn's other code for that."""
    rows, known, asked, wanted = arrays
    gamma = 1 / (40 * rows.var())
    kernel, between = (np.exp(-gamma * cdist(one, rows, "sqeuclidean")) for one in (rows, asked))
    machines = OneVsOneClassifier(SVC(C=10.0, kernel="precomputed", tol=1e-6)).fit(kernel, known)
    for label in VARIANTS:
        right = machines.predict(between) == wanted
        agrees(label, "svm", "accuracy", right.mean(), "precomputed kernel, one machine a pair")


def test_the_shift_kernel_is_a_sum_over_shifts_and_blind_to_them(arrays):
    rows = without_slope(torch.from_numpy(arrays[0][:6]))
    kernel = shift_kernel(rows, rows).numpy()
    for one in range(6):
        for other in range(6):
            moved = [np.roll(rows[other].numpy().astype(float), shift) for shift in range(40)]
            expected = sum(np.exp(-NARROWNESS * ((rows[one].numpy() - row) ** 2).sum()) for row in moved)
            assert kernel[one, other] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(shift_kernel(rows.roll(7, 1), rows).numpy(), kernel, rtol=1e-4, atol=1e-6)
    assert np.linalg.eigvalsh(kernel.astype(float)).min() > 0


def test_shift_kernel(arrays, agrees):
    """All shifts at once by Fourier transforms, the slope by scipy, the ridge by Cholesky."""
    rows, known, asked, wanted = arrays
    rows, asked = (detrend(one).astype(np.float32) for one in (rows, asked))
    spectrum = np.conj(np.fft.rfft(rows)).astype(np.complex64)

    def kernel(some):
        found = np.empty((len(some), len(rows)))
        for place, row in enumerate(some):
            products = torch.fft.irfft(torch.from_numpy(np.fft.rfft(row).astype(np.complex64) * spectrum), n=40)
            squares = torch.from_numpy((row**2).sum() + (rows**2).sum(1))[:, None] - 2 * products
            found[place] = (-NARROWNESS * squares).clamp_(min=-80).exp_().sum(1)
        return found

    coefficients = cho_solve(cho_factor(kernel(rows) + RIDGE * np.eye(len(rows))), 2 * np.eye(10)[known] - 1)
    right = (kernel(asked) @ coefficients).argmax(1) == wanted
    for label in VARIANTS:
        agrees(label, "shift_kernel", "accuracy", right.mean(), "Fourier transforms and Cholesky")
