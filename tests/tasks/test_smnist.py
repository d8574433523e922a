"""Sequential and permuted MNIST: pixels against a loop, baselines against definitions and conditions of optimality."""

import hashlib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from rnnae_tasks import smnist
from rnnae_tasks.classical.classifiers import logistic_regression, support_vectors
from rnnae_tasks.datasets.digits import packed_digits, packed_labels
from rnnae_tasks.smnist.datamodule import PermutedMNISTTask, SequentialMNISTTask
from scipy.optimize import minimize
from sklearn.svm import SVC

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError

BOTH = [SequentialMNISTTask, PermutedMNISTTask]


def pixels_by_hand(image: torch.Tensor, shrink: int) -> list[float]:
    """Line by line, the mean of each square of shrink x shrink pixels, divided by 255."""
    side, read = 28 // shrink, []
    for line in range(side):
        for column in range(side):
            square = image[0, line * shrink : (line + 1) * shrink, column * shrink : (column + 1) * shrink]
            read.append(sum(square.flatten().tolist()) / 255 / shrink**2)
    return read


def squared_distances(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """|a - b|**2 = |a|**2 + |b|**2 - 2 a b, in double precision."""
    return (rows**2).sum(1)[:, None] + (others**2).sum(1) - 2 * rows @ others.T


# What is read


@pytest.mark.parametrize("shrink", [1, 2, 4, 28])
def test_pixels_are_read_line_by_line(shrink):
    inputs, labels = SequentialMNISTTask(shrink=shrink).evaluation_set("test")[:2]
    assert inputs.shape == (1000, (28 // shrink) ** 2, 1)
    for row in (0, 517):
        expected = pixels_by_hand(packed_digits().test[row], shrink)
        np.testing.assert_allclose(inputs[row, :, 0], expected, atol=1e-6)
    assert torch.equal(labels, packed_labels().test)


def test_rows_are_the_lines_of_the_picture():
    inputs = SequentialMNISTTask(shrink=1, reading="rows").evaluation_set("validation").inputs
    assert torch.equal(inputs, packed_digits().validation[:, 0] / 255)


def test_specs():
    assert str(SequentialMNISTTask().spec) == "49 steps of 1 real number -> one of 10 classes, last step"
    assert str(SequentialMNISTTask(1, "rows").spec) == "28 steps of 28 real numbers -> one of 10 classes, last step"
    assert str(PermutedMNISTTask(1).spec) == "784 steps of 1 real number -> one of 10 classes, last step"


@pytest.mark.parametrize("task_class", BOTH)
def test_the_drawn_row_is_test_image_200(task_class):
    batch = task_class().evaluation_set("test").rows(slice(200, 201))
    drawn = " ".join("." if number < 0.1 else str(min(int(10 * number), 9)) for number in batch.inputs.flatten())
    readme = Path(smnist.__file__).with_name("README.md").read_text(encoding="utf-8")
    for text in (task_class.__doc__, readme):
        assert f"  {drawn}\n" in text
    assert batch.targets.item() == 2


# The permutation


@pytest.mark.parametrize(
    ("shrink", "digest"), [(1, "96240fe27409981c"), (2, "c4e50b70c46de955"), (4, "0bc3c13848a30168")]
)
def test_the_order_is_one_permutation_for_all(shrink, digest):
    orders = [PermutedMNISTTask(shrink=shrink, data_seed=seed).order for seed in (0, 1)]
    assert sorted(orders[0].tolist()) == list(range((28 // shrink) ** 2))
    assert torch.equal(*orders)
    assert hashlib.sha256(orders[0].numpy().astype("<i8").tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("shrink", [1, 4])
def test_permuted_images_are_the_others_in_that_order(shrink):
    plain, permuted = (task_class(shrink=shrink, protocol=Protocol(batch_size=16)) for task_class in BOTH)
    for one, other in (
        (plain.evaluation_set("test"), permuted.evaluation_set("test")),
        (plain.evaluation_set("validation"), permuted.evaluation_set("validation")),
    ):
        assert torch.equal(one.inputs[:, permuted.order], other.inputs)
        assert torch.equal(one.targets, other.targets)
    batch = permuted.train_batch(3)
    rows = permuted.shuffled(3, 3500)
    assert torch.equal(batch.inputs, plain.sequences(packed_digits().train[rows])[:, permuted.order])


def test_neighbours_in_the_picture_are_far_apart_in_the_permuted_reading():
    """The mean distance of two steps drawn at random is a third of all; line by line, neighbours are one apart."""
    place = PermutedMNISTTask(shrink=1).order.argsort().reshape(28, 28)
    distance = (place[:, 1:] - place[:, :-1]).abs().double().mean().item()
    assert distance == pytest.approx(784 / 3, rel=0.1)


# The stream


@pytest.mark.parametrize("task_class", BOTH)
def test_an_epoch_shows_every_training_image_once_with_its_label(task_class):
    task = task_class(protocol=Protocol(batch_size=500))
    batches = [task.train_batch(step) for step in range(7)]
    seen = sorted(
        zip(
            (b.tobytes() for x in batches for b in x.inputs.numpy()),
            torch.cat([x.targets for x in batches]).tolist(),
            strict=True,
        )
    )
    whole = task.sequences(packed_digits().train).numpy()
    assert seen == sorted(zip((row.tobytes() for row in whole), packed_labels().train.tolist(), strict=True))
    other = task_class(protocol=Protocol(batch_size=500), data_seed=1).train_batch(0)
    assert not torch.equal(other.inputs, batches[0].inputs)


@pytest.mark.parametrize("task_class", BOTH)
@pytest.mark.parametrize(
    "setting",
    [
        {"shrink": 0},
        {"shrink": -4},
        {"shrink": 3},
        {"shrink": 10**9},
        {"folder": "somewhere"},
    ],
)
def test_bad_settings_are_refused_by_name(task_class, setting):
    with pytest.raises(UserError, match=f"^{next(iter(setting))} is '?{next(iter(setting.values()))}"):
        task_class(**setting)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="'psmnist' has no baseline 'cnn'; it has majority, logistic, nearest, svm"):
        PermutedMNISTTask().baseline("cnn")


def test_all_of_mnist_is_read_from_a_folder(tmp_path, monkeypatch):
    """Which files are read and checked is tested with denoise; here, that this task asks for them."""
    asked = []
    for content in (packed_digits, packed_labels):
        name = content.__name__.replace("packed", "published")

        def published(folder, name=name, content=content):
            asked.append((name, folder))
            return content()

        monkeypatch.setattr(f"rnnae_tasks.smnist.datamodule.{name}", published)
    SequentialMNISTTask(source="torchvision", folder=str(tmp_path)).prepare_data()
    assert asked == [("published_digits", tmp_path), ("published_labels", tmp_path)]
    asked.clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    PermutedMNISTTask.from_variant("long").prepare_data()
    assert asked[0] == ("published_digits", tmp_path / "rnnae-bench" / "torchvision")


def test_a_perfect_player_reaches_the_ceiling():
    task = SequentialMNISTTask()
    batch = task.evaluation_set("test")
    metrics = task.metrics()
    metrics.update(torch.nn.functional.one_hot(batch.targets, 10) * 100.0, batch.targets)
    measured = metrics.compute()
    assert measured["accuracy"] == 1
    assert measured["loss"] < 1e-9


# Baselines: whole images at 28, 14 and 7 pixels a side, in double precision


VARIANTS = {
    1: ["smnist:rows", "smnist:pixels", "psmnist:pixels"],
    2: ["smnist:smoke"],
    4: ["smnist:standard", "psmnist:smoke", "psmnist:standard"],
}


@pytest.fixture(scope="module", params=[1, 2, 4], ids=["28x28", "14x14", "7x7"])
def images(request):
    """The variants that read images of this size; training and test images as numbers, and their labels."""
    digits, labels, shrink = packed_digits(), packed_labels(), request.param
    side = 28 // shrink
    train, test = (
        (part.double() / 255).reshape(-1, side, shrink, side, shrink).mean((2, 4)).flatten(1).numpy()
        for part in (digits.train, digits.test)
    )
    return VARIANTS[shrink], train, labels.train.numpy(), test, labels.test.numpy()


def test_every_variant_is_held_against_its_size():
    cards = {f"{task.name}:{name}" for task in BOTH for name in task.card().variants}
    assert cards - {label for labels in VARIANTS.values() for label in labels} == {"smnist:long", "psmnist:long"}
    for shrink, labels in VARIANTS.items():
        for label in labels:
            task = next(task for task in BOTH if label.startswith(task.name + ":"))
            assert task.from_variant(label.partition(":")[2]).shrink == shrink


def test_majority_is_a_tenth(images, agrees):
    for label in images[0]:
        counts = np.bincount(images[4])
        agrees(label, "majority", "accuracy", counts[0] / counts.sum(), "counted labels")
        agrees(label, "majority", "loss", np.log(10), "closed form, classes alike")


def test_nearest_is_the_least_distance(images, agrees):
    labels, train, train_labels, test, test_labels = images
    right = train_labels[squared_distances(test, train).argmin(1)] == test_labels
    for label in labels:
        agrees(label, "nearest", "accuracy", right.mean(), "all distances by a matrix product")


def test_logistic_is_the_optimum_of_its_objective(images, agrees):
    labels, train, train_labels, test, test_labels = images
    rows, wanted = torch.from_numpy(train), torch.from_numpy(train_labels)
    size = train.shape[1]

    def objective(flat):
        parameters = torch.from_numpy(flat).reshape(size + 1, 10).requires_grad_()
        logits = rows @ parameters[:size] + parameters[size]
        value = (
            torch.nn.functional.cross_entropy(logits, wanted, reduction="sum") + parameters[:size].square().sum() / 2
        )
        (gradient,) = torch.autograd.grad(value, parameters)
        return value.item(), gradient.flatten().numpy()

    found = minimize(
        objective,
        np.zeros(10 * (size + 1)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 5000, "gtol": 1e-3, "ftol": 0},
    )
    weights = found.x.reshape(size + 1, 10)
    logits = torch.from_numpy(test @ weights[:size] + weights[size])
    targets = torch.from_numpy(test_labels)
    for label in labels:
        method = "scipy's L-BFGS-B on autograd, float64"
        agrees(label, "logistic", "accuracy", (logits.argmax(1) == targets).double().mean(), method)
        agrees(label, "logistic", "loss", torch.nn.functional.cross_entropy(logits, targets), method)


def test_svm_solves_the_dual_of_each_pair(images, agrees):
    """Conditions of Karush, Kuhn and Tucker for all 45 strictly convex duals, on kernels and with votes of our own."""
    labels, train, train_labels, test, test_labels = images
    gamma, penalty = 1 / (train.shape[1] * train.var()), 10.0
    fitted = SVC(C=penalty, gamma=gamma, tol=1e-6).fit(train, train_labels)
    kernel = np.exp(-gamma * squared_distances(train, train[fitted.support_]))
    asked = np.exp(-gamma * squared_distances(test, train[fitted.support_]))
    firsts = np.concatenate([[0], np.cumsum(fitted.n_support_)])
    votes, margins = np.zeros((len(test), 10)), np.zeros((len(test), 10))
    for pair, (one, other) in enumerate(combinations(range(10), 2)):
        mine, its = (slice(firsts[digit], firsts[digit + 1]) for digit in (one, other))
        signed = np.zeros(len(fitted.support_))
        signed[mine], signed[its] = fitted.dual_coef_[other - 1, mine], fitted.dual_coef_[one, its]
        multipliers = np.zeros(len(train))
        multipliers[fitted.support_] = np.abs(signed)
        chosen = np.isin(train_labels, (one, other))
        sign = np.where(train_labels == one, 1, -1)[chosen]
        slack = sign * (kernel[chosen] @ signed + fitted.intercept_[pair]) - 1
        weight = multipliers[chosen]
        assert abs(signed.sum()) < 1e-6
        assert (slack[weight == 0] > -1e-4).all()
        assert (slack[weight >= penalty - 1e-9] < 1e-4).all()
        assert (np.abs(slack[(weight > 0) & (weight < penalty - 1e-9)]) < 1e-4).all()
        decision = asked @ signed + fitted.intercept_[pair]
        votes[:, one] += decision > 0
        votes[:, other] += decision <= 0
        margins[:, one] += decision
        margins[:, other] -= decision
    right = (votes + margins / (3 * (np.abs(margins) + 1))).argmax(1) == test_labels
    for label in labels:
        agrees(label, "svm", "accuracy", right.mean(), "KKT conditions of all pairs, votes counted")


@pytest.mark.parametrize("name", ["majority", "logistic", "nearest", "svm"])
@pytest.mark.parametrize("task_class", BOTH)
def test_the_cards_of_standard_are_what_the_data_give(task_class, name):
    values = task_class.card().variant("standard").baselines[name].values
    assert task_class.from_variant("standard").baseline(name) == pytest.approx(values, rel=1e-5)


@pytest.mark.parametrize("classifier", [logistic_regression, support_vectors])
def test_classical_classifiers_do_not_mind_the_order_of_the_pixels(classifier):
    rows, labels = packed_digits().train[::20].flatten(1) / 255, packed_labels().train[::20]
    order = PermutedMNISTTask(shrink=1).order
    asked = packed_digits().test[::5].flatten(1) / 255
    plain, permuted = classifier(rows, labels, asked), classifier(rows[:, order], labels, asked[:, order])
    torch.testing.assert_close(plain, permuted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("task_class", "accuracy"), [(SequentialMNISTTask, 0.738), (PermutedMNISTTask, 0.876)])
def test_what_is_known_from_the_last_21_steps_is_what_the_readme_says(task_class, accuracy):
    task = task_class()
    train, test = (task.flat(images)[:, -21:] for images in (task.digits.train, task.digits.test))
    answer = SVC(C=10.0).fit(train, task.labels.train).predict(test)
    assert (answer == task.labels.test.numpy()).mean() == pytest.approx(accuracy, abs=0.01)
