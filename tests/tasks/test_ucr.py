"""The ucr task against its files' source, its baselines against scikit-learn, published figures and brute force."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest
import torch
from rnnae_tasks.ucr import build_archive, datamodule
from rnnae_tasks.ucr.archive import CLASSES, Series, packed
from rnnae_tasks.ucr.datamodule import UcrTask
from rnnae_tasks.ucr.kernel_ridge import NARROWNESS, RIDGE, KernelRidge
from rnnae_tasks.ucr.neighbours import euclidean, resampled, warping
from sklearn.dummy import DummyClassifier
from sklearn.kernel_ridge import KernelRidge as TheirKernelRidge
from sklearn.metrics import accuracy_score
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError

VARIANTS = {
    "ItalyPowerDemand": ("smoke", "standard"),
    "JapaneseVowels": ("japanese-vowels",),
    "GunPoint": ("gunpoint",),
    "ArrowHead": ("arrowhead",),
}
PUBLISHED_EUCLIDEAN = {"ItalyPowerDemand": 0.0447, "GunPoint": 0.0867, "ArrowHead": 0.2000}
"""Error rates in the archive's table: ED (w = 0)."""
PUBLISHED_WARPING = {"ItalyPowerDemand": 0.0496, "GunPoint": 0.0933, "ArrowHead": 0.2971, "JapaneseVowels": 0.051}
"""Error rates in the archives' tables: DTW (w = 100), and for JapaneseVowels DTW with dependent features."""

dataset_of_each = pytest.mark.parametrize("dataset", list(CLASSES))


@cache
def task(dataset: str) -> UcrTask:
    return UcrTask(dataset, protocol=Protocol(batch_size=16))


def vectors(series: Series) -> np.ndarray:
    """All series stretched to the longest by numpy, as vectors."""
    rows, steps, features = series.values.shape
    place = np.linspace(0, 1, steps)
    stretched = np.empty((rows, steps, features))
    for row, (values, length) in enumerate(zip(series.values.double().numpy(), series.lengths.tolist(), strict=True)):
        for feature in range(features):
            stretched[row, :, feature] = np.interp(place, np.linspace(0, 1, length), values[:length, feature])
    return stretched.reshape(rows, -1)


def aeon_version() -> str | None:
    try:
        return version("aeon")
    except PackageNotFoundError:
        return None


@pytest.mark.skipif(aeon_version() != build_archive.AEON_VERSION, reason="the files were made from another aeon")
@dataset_of_each
def test_the_embedded_files_are_what_their_script_makes(dataset):
    with np.load(Path(build_archive.__file__).with_name(f"{dataset}.npz")) as content:
        wanted = build_archive.aeon_dataset(dataset)
        assert set(content) == set(wanted)
        for key, array in wanted.items():
            np.testing.assert_array_equal(content[key], array)


def test_a_file_of_the_archive_is_read_line_by_line(tmp_path):
    path = tmp_path / "Two_TRAIN.ts"
    path.write_text("#a comment\n@univariate false\n@data\n\n1,2.5,-3e-1:4,5,6:b\n7:8:a\n")
    series, labels = build_archive.read_ts(path)
    assert labels == ["b", "a"]
    np.testing.assert_array_equal(series[0], [[1, 4], [2.5, 5], [-0.3, 6]])
    np.testing.assert_array_equal(series[1], [[7, 8]])


@pytest.mark.parametrize(
    ("dataset", "train", "test", "shape"),
    [
        ("GunPoint", [24, 26], [76, 74], (150, 1)),
        ("ArrowHead", [12, 12, 12], [69, 53, 53], (251, 1)),
        ("ItalyPowerDemand", [34, 33], [513, 516], (24, 1)),
        ("JapaneseVowels", [30] * 9, [31, 35, 88, 44, 29, 24, 40, 50, 29], (29, 12)),
    ],
)
def test_parts_have_the_sizes_that_the_archive_states(dataset, train, test, shape):
    for part, counts in zip(packed(dataset), (train, test), strict=True):
        assert part.labels.bincount().tolist() == counts
        assert part.values.shape[1:] == shape
        assert len(CLASSES[dataset]) == len(counts)
        if dataset == "JapaneseVowels":
            assert 7 <= part.lengths.min() < part.lengths.max() <= 29
            padding = torch.arange(29) >= part.lengths.unsqueeze(1)
            assert not part.values[padding].any()
        else:  # each series was brought to mean 0 and standard deviation 1
            assert (part.lengths == shape[0]).all()
            assert part.values.mean(1).abs().max() < 1e-6
            deviation = part.values.std(1)
            assert (deviation - 1).abs().max() < 1e-5


def test_the_drawn_row_is_the_first():
    italy = UcrTask.from_variant("standard")
    row = italy.official_train.values[0, :, 0].tolist()
    drawn = " ".join(f"{value:.2f}" for value in row[:8]) + " ... " + " ".join(f"{value:.2f}" for value in row[-3:])
    target = italy.classes[italy.official_train.labels[0]]
    folder = Path(datamodule.__file__).parent
    for text in (UcrTask.__doc__, (folder / "README.md").read_text(encoding="utf-8")):
        assert f"input    {drawn}    24 hours" in text
        assert f"target   {target}" in text


@dataset_of_each
def test_the_last_rows_of_each_class_validate_and_the_others_train(dataset):
    one = task(dataset)
    size = len(one.official_train.labels) - len(one.evaluation_set("validation").targets)
    whole = UcrTask(dataset, protocol=Protocol(batch_size=size)).train_batch(0)
    trained = {
        (tuple(row.flatten().tolist()), int(label)) for row, label in zip(whole.inputs, whole.targets, strict=True)
    }
    assert len(trained) == size  # an epoch: every row once
    inputs, targets = one.evaluation_set("validation")[:2]
    for label in range(len(one.classes)):
        rows = one.official_train.values[one.official_train.labels == label]
        count = round(0.2 * len(rows))
        assert torch.equal(inputs[targets == label], rows[-count:])
        padded = rows[:-count, : whole.inputs.shape[1]]
        assert {(tuple(row.flatten().tolist()), label) for row in padded} <= trained


@dataset_of_each
def test_no_test_row_is_among_those_to_learn_from(dataset):
    train, test = packed(dataset)
    assert not {row.numpy().tobytes() for row in train.values} & {row.numpy().tobytes() for row in test.values}
    found = task(dataset).evaluation_set("test")
    assert torch.equal(found.inputs, test.values)
    assert torch.equal(found.targets, test.labels)


def test_lengths_come_where_they_differ():
    batch = task("JapaneseVowels").train_batch(3)
    assert task("JapaneseVowels").spec.variable_length
    assert batch.inputs.shape == (16, int(batch.lengths.max()), 12)
    assert all(row[length - 1].any() for row, length in zip(batch.inputs, batch.lengths, strict=True))
    assert torch.equal(task("JapaneseVowels").evaluation_set("test").lengths, packed("JapaneseVowels")[1].lengths)
    assert task("GunPoint").train_batch(0).lengths is None
    assert not task("GunPoint").spec.variable_length


def test_training_batches_depend_on_step_and_data_seed_only():
    one, same = task("GunPoint"), UcrTask("GunPoint", protocol=Protocol(batch_size=16))
    other = UcrTask("GunPoint", protocol=Protocol(batch_size=16), data_seed=1)
    assert torch.equal(one.train_batch(5).inputs, same.train_batch(5).inputs)
    assert not torch.equal(one.train_batch(5).inputs, one.train_batch(6).inputs)
    assert not torch.equal(one.train_batch(5).inputs, other.train_batch(5).inputs)


@dataset_of_each
def test_a_perfect_player_scores_one(dataset):
    one = task(dataset)
    targets = one.evaluation_set("test").targets
    metrics = one.metrics()
    metrics.update(torch.nn.functional.one_hot(targets, len(one.classes)) * 50.0, targets)
    assert metrics.compute()["accuracy"] == 1


@dataset_of_each
def test_series_are_stretched_as_by_numpy(dataset):
    for part in packed(dataset):
        np.testing.assert_allclose(resampled(part), vectors(part), atol=1e-6)


@dataset_of_each
def test_majority_and_nearest_are_scikit_learns_and_the_published_ones(dataset, agrees):
    train, test = packed(dataset)
    x, y = vectors(train), vectors(test)
    majority = DummyClassifier(strategy="most_frequent").fit(x, train.labels).score(y, test.labels)
    nearest = KNeighborsClassifier(1, algorithm="brute").fit(x, train.labels).score(y, test.labels)
    for variant in VARIANTS[dataset]:
        agrees(f"ucr:{variant}", "majority", "accuracy", majority, "scikit-learn's DummyClassifier")
        agrees(f"ucr:{variant}", "nearest", "accuracy", nearest, "scikit-learn's KNeighborsClassifier")
    if dataset in PUBLISHED_EUCLIDEAN:
        assert round(1 - nearest, 4) == PUBLISHED_EUCLIDEAN[dataset]
    np.testing.assert_allclose(euclidean(test, train)[0], np.linalg.norm(y[0] - x, axis=1), rtol=1e-5)


@dataset_of_each
def test_warping_has_the_published_accuracy(dataset, agrees):
    for variant in VARIANTS[dataset]:
        agrees(
            f"ucr:{variant}", "warping", "accuracy", 1 - PUBLISHED_WARPING[dataset], "published in the archive",
            rel=0.0, within=5e-4 if dataset == "JapaneseVowels" else 5e-5,
        )  # fmt: skip


def every_path(x: np.ndarray, y: np.ndarray) -> float:
    """The least sum of squares of all ways through two series, each way by itself."""
    costs, open_paths = [], [((0, 0), ((x[0] - y[0]) ** 2).sum())]
    while open_paths:
        (i, j), cost = open_paths.pop()
        if (i, j) == (len(x) - 1, len(y) - 1):
            costs.append(cost)
        for a, b in ((i + 1, j), (i, j + 1), (i + 1, j + 1)):
            if a < len(x) and b < len(y):
                open_paths.append(((a, b), cost + ((x[a] - y[b]) ** 2).sum()))
    return min(costs)


@pytest.mark.parametrize("features", [1, 2])
def test_warping_is_the_best_of_all_paths(features):
    generator = torch.Generator().manual_seed(features)
    parts = []
    for lengths in ([5, 3, 1, 4], [4, 5, 2]):
        values = torch.randn(len(lengths), 5, features, generator=generator)
        for row, length in enumerate(lengths):
            values[row, length:] = 0
        parts.append(Series(values, torch.tensor(lengths), torch.zeros(len(lengths), dtype=torch.long)))
    found = warping(*parts)
    for row, x in enumerate(parts[0].values):
        for other, y in enumerate(parts[1].values):
            ends = parts[0].lengths[row], parts[1].lengths[other]
            wanted = every_path(x[: ends[0]].double().numpy(), y[: ends[1]].double().numpy())
            assert found[row, other].item() == pytest.approx(wanted, rel=1e-9)


def test_kernel_ridge_takes_what_leaving_one_row_out_favours():
    train = packed("ArrowHead")[0]
    rows, signs = vectors(train)[::3], np.where(train.labels[::3, None] == np.arange(3), 1.0, -1.0)
    squares = ((rows[:, None] - rows[None]) ** 2).sum(-1)
    typical = squares[~np.eye(len(rows), dtype=bool)].mean()
    errors = {}
    for narrowness in NARROWNESS:
        for ridge in RIDGE:
            model = TheirKernelRidge(kernel="rbf", gamma=narrowness / typical, alpha=ridge)
            errors[narrowness / typical, ridge] = (
                (cross_val_predict(model, rows, signs, cv=LeaveOneOut()) - signs) ** 2
            ).mean()
    chosen = KernelRidge.fitted(torch.from_numpy(rows), torch.from_numpy(signs))
    assert (chosen.gamma, chosen.ridge) == pytest.approx(min(errors, key=errors.get))


@dataset_of_each
def test_kernel_ridge_is_scikit_learns(dataset, agrees):
    train, test = packed(dataset)
    x, y = vectors(train), vectors(test)
    signs = np.where(train.labels[:, None] == np.arange(len(CLASSES[dataset])), 1.0, -1.0)
    typical = ((x[:, None] - x[None]) ** 2).sum(-1)[~np.eye(len(x), dtype=bool)].mean()
    errors = {}
    for narrowness in NARROWNESS:
        for ridge in RIDGE:
            inverse = np.linalg.inv(rbf_kernel(x, gamma=narrowness / typical) + ridge * np.eye(len(x)))
            errors[narrowness / typical, ridge] = ((inverse @ signs / np.diag(inverse)[:, None]) ** 2).mean()
    gamma, ridge = min(errors, key=errors.get)
    theirs = TheirKernelRidge(kernel="rbf", gamma=gamma, alpha=ridge).fit(x, signs).predict(y)
    np.testing.assert_allclose(task(dataset).baseline_answer("kernel_ridge"), theirs, atol=1e-4)
    accuracy = accuracy_score(test.labels, theirs.argmax(1))
    for variant in VARIANTS[dataset]:
        agrees(f"ucr:{variant}", "kernel_ridge", "accuracy", accuracy, "scikit-learn's KernelRidge")


@pytest.mark.parametrize("variant", [variants[0] for variants in VARIANTS.values()])
def test_cards_have_what_the_data_give(variant):
    one, card = UcrTask.from_variant(variant), UcrTask.card().variant(variant)
    assert set(card.baselines) == {"majority", "nearest", "warping", "kernel_ridge"}
    for name, baseline in card.baselines.items():
        assert one.baseline(name) == pytest.approx(baseline.values, rel=1e-5)


@pytest.mark.parametrize(
    "setting",
    [{"validation_share": 0.0}, {"validation_share": -0.1}, {"validation_share": 1.0},
     {"validation_share": 0.01}, {"validation_share": 0.99}, {"validation_share": float("nan")}],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused_by_name(setting):
    ((option, value),) = setting.items()
    with pytest.raises(UserError, match=f"{option} is {value}"):
        UcrTask(**setting)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="no baseline 'chance'; it has majority, nearest, warping, kernel_ridge"):
        UcrTask().baseline("chance")
