"""Shared losses and metrics against scikit-learn, scikit-image and plain numpy, with and without padding."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity as skimage_similarity
from sklearn.metrics import accuracy_score, log_loss, r2_score, zero_one_loss
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from rnnae_bench import Batch
from rnnae_bench.metrics import (
    Accuracy,
    BalancedCrossEntropy,
    BitsPerSymbol,
    CrossEntropy,
    ErrorRate,
    SquaredError,
    StructuralSimilarity,
    VarianceExplained,
    cross_entropy,
    squared_error,
    summed_cross_entropy,
    update_metrics,
)

ROWS, STEPS, CLASSES = 12, 7, 4


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def labelled(generator, padded: bool) -> tuple[torch.Tensor, Batch, np.ndarray]:
    """Logits, their batch, and which steps count."""
    logits = torch.randn(ROWS, STEPS, CLASSES, generator=generator, dtype=torch.float64)
    targets = torch.randint(CLASSES, (ROWS, STEPS), generator=generator)
    inputs = torch.zeros(ROWS, STEPS, dtype=torch.long)
    if not padded:
        return logits, Batch(inputs, targets), np.ones((ROWS, STEPS), bool)
    lengths = torch.randint(2, STEPS + 1, (ROWS,), generator=generator)
    mask = torch.rand(ROWS, STEPS, generator=generator) < 0.8
    mask[:, 0] = True
    counted = (np.arange(STEPS) < lengths.numpy()[:, None]) & mask.numpy()
    targets[torch.arange(STEPS) >= lengths[:, None]] = -100
    return logits, Batch(inputs, targets, lengths, mask), counted


@pytest.mark.parametrize("padded", [False, True])
def test_classes_of_the_steps_that_count_are_scored_as_by_scikit_learn(generator, padded):
    logits, batch, counted = labelled(generator, padded)
    chances, truth = logits.softmax(-1).numpy(), batch.targets.numpy()
    metrics = MetricCollection(
        {
            "loss": CrossEntropy(),
            "late": CrossEntropy(last=3),
            "right": Accuracy(),
            "whole": Accuracy(last=2, whole=True),
            "wrong": ErrorRate(),
            "anywhere wrong": ErrorRate(last=2, whole=True),
        }
    )
    for rows in (slice(0, 5), slice(5, None)):
        update_metrics(metrics, logits[rows], batch.rows(rows))
    found = {name: value.item() for name, value in metrics.compute().items()}
    late = counted & (np.arange(STEPS) >= STEPS - 3)
    answers = chances.argmax(-1)
    assert found["loss"] == pytest.approx(log_loss(truth[counted], chances[counted], labels=range(CLASSES)))
    assert found["late"] == pytest.approx(log_loss(truth[late], chances[late], labels=range(CLASSES)))
    assert found["right"] == pytest.approx(accuracy_score(truth[counted], answers[counted]))
    whole = [(answers[row, -2:] == truth[row, -2:])[counted[row, -2:]].all() for row in range(ROWS)]
    assert found["whole"] == pytest.approx(np.mean(whole))
    assert found["wrong"] == pytest.approx(zero_one_loss(truth[counted], answers[counted]))
    assert found["anywhere wrong"] == pytest.approx(1 - np.mean(whole))

    rows = [log_loss(truth[r][counted[r]], chances[r][counted[r]], labels=range(CLASSES)) for r in range(ROWS)]
    assert cross_entropy(logits, batch).item() == pytest.approx(np.mean(rows))
    gradient = torch.func.grad(cross_entropy)(logits, batch)
    assert gradient.isfinite().all()
    assert not gradient[~torch.from_numpy(counted)].any()


@pytest.mark.parametrize("padded", [False, True])
def test_values_of_the_steps_that_count_have_numpys_squared_error(generator, padded):
    _, batch, counted = labelled(generator, padded)
    targets = torch.randn(ROWS, STEPS, 2, generator=generator, dtype=torch.float64)
    prediction = torch.randn(ROWS, STEPS, 2, generator=generator, dtype=torch.float64)
    batch = batch._replace(targets=targets)
    squares = ((prediction - targets) ** 2).numpy()
    whole, early = SquaredError(), SquaredError(first=3)
    for rows in (slice(0, 5), slice(5, None)):
        update_metrics(whole, prediction[rows], batch.rows(rows))
        update_metrics(early, prediction[rows], batch.rows(rows))
    assert whole.compute().item() == pytest.approx(squares[counted].mean())
    assert early.compute().item() == pytest.approx(squares[counted & (np.arange(STEPS) < 3)].mean())
    rows = [squares[row][counted[row]].mean() for row in range(ROWS)]
    assert squared_error(prediction, batch).item() == pytest.approx(np.mean(rows))


def test_one_answer_a_row_has_no_padding(generator):
    logits, batch, _ = labelled(generator, padded=True)
    once = batch._replace(targets=torch.arange(ROWS) % CLASSES, mask=None)
    expected = log_loss(once.targets, logits[:, 0].softmax(-1))
    metric = CrossEntropy()
    update_metrics(metric, logits[:, 0], once)
    assert metric.compute().item() == pytest.approx(expected)
    assert cross_entropy(logits[:, 0], once).item() == pytest.approx(expected)
    vectors = once._replace(targets=logits[:, 0, :])
    assert squared_error(logits[:, 1, :], vectors).item() == pytest.approx(
        ((logits[:, 0] - logits[:, 1]) ** 2).mean().item()
    )


def test_targets_of_a_length_of_their_own_end_where_they_say(generator):
    logits, batch, _ = labelled(generator, padded=False)
    own = torch.randint(1, STEPS + 1, (ROWS,), generator=generator)
    metric = Accuracy()
    update_metrics(metric, logits, batch._replace(target_lengths=own))
    right = (logits.argmax(-1) == batch.targets).numpy()
    assert metric.compute().item() == pytest.approx(right[np.arange(STEPS) < own.numpy()[:, None]].mean())


def test_balanced_cross_entropy_is_the_mean_of_the_classes_means(generator):
    logits = torch.randn(9, 3, generator=generator)
    targets = torch.tensor([0] * 6 + [1] * 3)
    metric = BalancedCrossEntropy(3)
    metric.update(logits, targets)
    losses = -logits.double().log_softmax(1)[torch.arange(9), targets].numpy()
    assert metric.compute().item() == pytest.approx((losses[:6].mean() + losses[6:].mean()) / 2)


def test_structural_similarity_is_scikit_images(generator):
    clean, noise = torch.rand(3, 1, 20, 17, generator=generator), torch.rand(3, 1, 20, 17, generator=generator)
    noisy = (clean + 0.3 * noise).clamp(0, 1)
    metric = StructuralSimilarity()
    metric.update(noisy, clean)
    setting = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    wanted = [skimage_similarity(a[0].numpy(), b[0].numpy(), **setting) for a, b in zip(noisy, clean, strict=True)]
    assert metric.compute().item() == pytest.approx(np.mean(wanted), abs=1e-5)


def test_torchmetrics_own_metrics_stand_beside_those_of_batches(generator):
    logits, batch, _ = labelled(generator, padded=False)
    logits, batch = logits[:, 0], batch._replace(targets=batch.targets[:, 0])
    metrics = MetricCollection({"theirs": MulticlassAccuracy(CLASSES, average="micro"), "ours": Accuracy()})
    for rows in (slice(0, 5), slice(5, None)):
        update_metrics(metrics, logits[rows], batch.rows(rows))
    found = {name: value.item() for name, value in metrics.compute().items()}
    expected = accuracy_score(batch.targets, logits.argmax(-1))
    assert found == {"theirs": pytest.approx(expected), "ours": pytest.approx(expected)}


def test_the_share_of_the_variance_about_a_centre_is_scikit_learns_r_squared(generator):
    targets = torch.randn(30, 2, 3, generator=generator, dtype=torch.float64) * torch.arange(1, 4)
    prediction = targets + 0.5 * torch.randn(30, 2, 3, generator=generator, dtype=torch.float64)
    about_mean, about_zero = VarianceExplained(targets.flatten(1).mean(0)), VarianceExplained(torch.zeros(6))
    for metric in (about_mean, about_zero):
        for rows in (slice(0, 20), slice(20, 30)):
            metric.update(prediction[rows], targets[rows])
    flat = targets.flatten(1).numpy(), prediction.flatten(1).numpy()
    assert about_mean.compute().item() == pytest.approx(r2_score(*flat, multioutput="variance_weighted"))
    assert about_zero.compute().item() == pytest.approx(1 - ((flat[0] - flat[1]) ** 2).sum() / (flat[0] ** 2).sum())


def test_bits_per_symbol_is_cross_entropy_in_base_two(generator):
    logits, batch, counted = labelled(generator, padded=True)
    metric = BitsPerSymbol()
    for rows in (slice(0, 5), slice(5, None)):
        metric.update(logits[rows], batch=batch.rows(rows))
    chances = logits.softmax(-1).gather(2, batch.targets.clamp(min=0).unsqueeze(2)).squeeze(2).numpy()
    assert metric.compute().item() == pytest.approx(-np.log2(chances[counted]).mean())


def test_summed_cross_entropy_takes_the_steps_of_all_rows_alike():
    """A coin ends a string: the chance that minimises sums over steps is the coin's, that of means over rows is not."""
    generator = torch.Generator().manual_seed(0)
    ends = torch.rand(4000, 40, generator=generator) < 0.2
    ends[:, -1] = True
    lengths = ends.long().argmax(dim=1) + 1
    batch = Batch(torch.zeros(4000, 40), ends.long(), lengths)
    found = {}
    for name, loss in (
        ("sum", lambda p: summed_cross_entropy(p, batch, 5.0)),
        ("mean", lambda p: cross_entropy(p, batch)),
    ):
        logit = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([logit], max_iter=100)

        def closure(loss=loss, logit=logit, optimizer=optimizer):
            optimizer.zero_grad()
            value = loss(logit.expand(4000, 40, 2))
            value.backward()
            return value

        optimizer.step(closure)
        found[name] = logit.softmax(0)[1].item()
    counted = torch.arange(40) < lengths.unsqueeze(1)
    assert found["sum"] == pytest.approx(ends[counted].double().mean().item(), rel=1e-4)
    assert found["mean"] > 0.35
    logits = torch.randn(6, 5, 3, dtype=torch.float64, generator=generator)
    rows = Batch(torch.zeros(6, 5), torch.randint(3, (6, 5), generator=generator), torch.tensor([5, 1, 3, 2, 5, 4]))
    by_hand = [
        -logits[row, step].log_softmax(0)[rows.targets[row, step]]
        for row in range(6)
        for step in range(int(rows.lengths[row]))
    ]
    assert summed_cross_entropy(logits, rows, 4.0).item() == pytest.approx(sum(by_hand).item() / 24)
