"""The representation task: its rows, its probe and clusters against other ways to them, and its floors."""

from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from rnnae_tasks import represent
from rnnae_tasks.datasets.digits import packed_digits, packed_labels
from rnnae_tasks.datasets.optical_digits import optical_digits, optical_labels
from rnnae_tasks.represent.datamodule import RepresentTask
from scipy.optimize import minimize
from scipy.special import log_softmax
from scipy.stats import entropy
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier

from rnnae_bench.contracts.code_limit import codes
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import CodeKnowledge, clustering_accuracy, linear_probe
from rnnae_bench.models.conv_autoencoder import ConvAutoencoder
from rnnae_bench.models.dense_autoencoder import DenseAutoencoder
from rnnae_bench.models.recurrent import GRU
from rnnae_bench.testing.forms import StandIn


def twin_probe(codes, labels, others):
    """The same regression written out, its gradient by hand, in float64: labels of the other codes."""
    mean, deviation = codes.mean(0), codes.std(0)
    deviation[deviation == 0] = 1
    rows, shown = (codes - mean) / deviation, np.eye(10)[labels]

    def loss(flat):
        weights, biases = flat[:-10].reshape(-1, 10), flat[-10:]
        logs = log_softmax(rows @ weights + biases, axis=1)
        slope = np.exp(logs) - shown
        gradient = np.concatenate(((rows.T @ slope + weights).ravel(), slope.sum(0)))
        return (weights**2).sum() / 2 - (logs * shown).sum(), gradient

    start = np.zeros(10 * (rows.shape[1] + 1))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000, "ftol": 1e-12}).x
    return ((others - mean) / deviation @ found[:-10].reshape(-1, 10) + found[-10:]).argmax(1)


@cache
def images_and_labels(data):
    """Training and test images, flat and in float64, and their labels."""
    digits, labels = (optical_digits(), optical_labels()) if data == "digits" else (packed_digits(), packed_labels())
    brightest = 16 if data == "digits" else 255
    train, _, test = (part.flatten(1).double().numpy() / brightest for part in digits)
    return train, labels.train.numpy(), test, labels.test.numpy()


# Probe and clusters


def test_the_probe_is_the_regression_written_out():
    rows, labels = make_blobs(300, n_features=3, centers=10, cluster_std=2.0, random_state=0)
    rows = np.column_stack((rows * [1, 100, 0.01], np.full(300, 7.0)))
    found = linear_probe(rows[:200], labels[:200], rows[200:])
    assert (found == twin_probe(rows[:200], labels[:200], rows[200:])).mean() == 1
    assert 0.3 < (found == labels[200:]).mean() < 1
    rescaled = linear_probe(rows[:200] * 5 + 3, labels[:200], rows[200:] * 5 + 3)
    np.testing.assert_array_equal(rescaled, found)


def test_clustering_accuracy_is_that_of_the_best_of_all_assignments():
    generator = np.random.default_rng(0)
    for clusters, classes in ((4, 4), (3, 5), (5, 3)):
        found, labels = generator.integers(clusters, size=40), generator.integers(classes, size=40)
        found[:clusters], labels[:classes] = range(clusters), range(classes)
        best = max(
            np.mean([order[one] == label for one, label in zip(found, labels, strict=True)])
            for order in permutations(range(max(clusters, classes)))
        )
        assert clustering_accuracy(found, labels) == pytest.approx(best)


def knowledge(codes, targets, *parts):
    metric = CodeKnowledge()
    for part in parts or (slice(None),):
        metric.update(codes[part], targets[part])
    return {name: value.item() for name, value in metric.compute().items()}


def test_codes_that_are_the_labels_know_all_and_those_that_are_not_finite_nothing():
    targets = RepresentTask("digits", 10).evaluation_set("test").targets
    labels = torch.eye(10)[targets[:, 0]]
    assert knowledge(labels, targets) == dict.fromkeys(
        ("probe_accuracy", "cluster_accuracy", "cluster_information"), pytest.approx(1)
    )
    assert all(np.isnan(value) for value in knowledge(labels / 0 * 0, targets).values())


def test_knowledge_is_of_the_rows_in_any_order_and_information_is_its_formula():
    rows, labels = make_blobs(260, n_features=2, centers=3, cluster_std=3.0, random_state=0)
    row = np.arange(260)
    targets = torch.from_numpy(np.stack((labels, row >= 60, row), axis=1).astype(np.int64))
    found = knowledge(torch.from_numpy(rows), targets)
    assert found == knowledge(torch.from_numpy(rows), targets, slice(1, None, 2), slice(0, None, 2))
    # By Lloyd's iterations from many beginnings, the best of them.
    best = min((lloyd(rows[60:], seed) for seed in range(30)), key=lambda one: one[0])[1]
    assert found["cluster_accuracy"] == pytest.approx(clustering_accuracy(best, labels[60:]), abs=0.01)
    joint = np.histogram2d(best, labels[60:], bins=3)[0] / 200
    own = entropy(joint.sum(0)), entropy(joint.sum(1))
    information = (sum(own) - entropy(joint.ravel())) / np.mean(own)
    assert found["cluster_information"] == pytest.approx(information, abs=0.02)


def lloyd(rows, seed):
    """Squared distances to three centres, and the nearest of each row, where the iteration comes to rest."""
    centres = rows[np.random.default_rng(seed).choice(len(rows), 3, replace=False)]
    for _ in range(100):
        distances = ((rows[:, None] - centres) ** 2).sum(2)
        nearest = distances.argmin(1)
        centres = np.stack([rows[nearest == one].mean(0) for one in range(3)])
    return distances.min(1).sum(), nearest


# The task


@pytest.mark.parametrize("data", ["digits", "mnist"])
def test_sets_are_the_labelled_training_images_and_then_their_own(data):
    train, labels, test, truth = images_and_labels(data)
    task = RepresentTask(data)
    batch = task.evaluation_set("test")
    np.testing.assert_allclose(batch.inputs.flatten(1), np.concatenate((train, test)), rtol=1e-6)
    expected = [
        np.concatenate((labels, truth)),
        np.repeat((0, 1), (len(labels), len(truth))),
        range(len(batch.targets)),
    ]
    np.testing.assert_array_equal(batch.targets.T, expected)
    validation = task.evaluation_set("validation")
    scored = {row.numpy().tobytes() for row in validation.inputs[len(labels) :]}
    assert len(scored) == (144 if data == "digits" else 500)
    assert not scored.intersection(row.numpy().tobytes() for row in batch.inputs)
    assert all(row >= len(labels) for row in task.samples())


def test_training_and_held_out_rows_have_no_labels():
    task = RepresentTask()
    for batch in (task.train_batch(3), task.held_out(32)):
        assert torch.equal(batch.inputs, batch.targets)
    scored = task.evaluation_set("validation").inputs[1293:]
    assert len(task.held_out(10**6).inputs) == 144
    assert torch.equal(task.held_out(144).inputs, scored)


def test_the_drawn_rows_are_real():
    targets = RepresentTask().evaluation_set("test").targets
    readme = Path(represent.__file__).with_name("README.md").read_text(encoding="utf-8")
    for part, row in (("training", 0), ("test", 1293)):
        label, scored, number = targets[row].tolist()
        line = f"a {label}, {part}".ljust(16) + f"{label}  {scored}  {number:>4}"
        assert line in RepresentTask.__doc__
        assert line in readme


def test_what_is_scored_is_the_code():
    task = RepresentTask("digits", 3)
    batch = task.evaluation_set("validation").rows(slice(0, 5))
    for kind in (DenseAutoencoder, ConvAutoencoder):
        model = kind(task.spec)
        assert torch.equal(task.predict(model, batch), model.encode(batch.inputs))
    player = StandIn(task.spec)
    assert codes(player, batch).shape == (5, 3)
    player.code = lambda inputs, lengths: torch.randn(len(inputs), 2, dtype=torch.complex64)
    assert codes(player, batch).shape == (5, 4)
    assert "through a code of at most 3 numbers, and the model has none" in GRU.supports(task.spec)


@pytest.mark.parametrize("variant", RepresentTask.card().variants)
def test_floors_are_those_of_a_probe_written_out(variant, agrees):
    declared = RepresentTask.card().variant(variant)
    train, labels, test, truth = images_and_labels(declared.data["data"])
    components = PCA(declared.data["code_limit"], svd_solver="full").fit(train)
    within = 1.01 / len(truth)  # one image on the border between two classes
    for name, (known, asked) in {
        "pca": (components.transform(train), components.transform(test)),
        "pixels": (train, test),
    }.items():
        accuracy = (twin_probe(known, labels, asked) == truth).mean()
        method = "the regression written out, by scipy's L-BFGS"
        agrees(f"represent:{variant}", name, "probe_accuracy", accuracy, method, within=within)
    commonest = DummyClassifier().fit(train, labels).score(test, truth)
    agrees(f"represent:{variant}", "constant", "probe_accuracy", commonest, "scikit-learn's DummyClassifier")
    task = RepresentTask.from_variant(variant)
    batch = task.evaluation_set("test")
    nothing = knowledge(torch.zeros(len(batch.targets), 2), batch.targets)
    agrees(f"represent:{variant}", "constant", "probe_accuracy", nothing["probe_accuracy"], "the probe on zeros")
    assert task.baseline("pca")["probe_accuracy"] == pytest.approx(declared.baselines["pca"].values["probe_accuracy"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"code_limit": 0}, "code_limit is 0"),
        ({"code_limit": 64}, "code_limit is 64 with data 'digits', whose pictures have 64 pixels"),
        ({"data": "mnist", "code_limit": 784}, "code_limit is 784 with data 'mnist', whose pictures have 784 pixels"),
    ],
)
def test_bad_settings_are_refused_by_name(setting, message):
    with pytest.raises(UserError, match=message) as refusal:
        RepresentTask(**setting)
    assert "\n" not in str(refusal.value)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="no baseline 'ica'; it has constant, pca, pixels"):
        RepresentTask().baseline("ica")
