"""Metrics of detection against scikit-learn and SciPy, with ties, scores of any size, and rows spread over devices."""

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAUROC

from rnnae_bench.errors import UserError
from rnnae_bench.metrics import AveragePrecision, Detection, PercentileThreshold, RocAuc, roc_auc_of_rows

ROWS = 300
BATCHES = (slice(0, 7), slice(7, 8), slice(8, 200), slice(200, 300))


@pytest.fixture(params=["continuous", "tied", "large", "mixed sizes"])
def rows(request):
    """Scores and kinds: three in ten are anomalies, of two kinds."""
    numbers = np.random.default_rng(0)
    kinds = numbers.choice(3, ROWS, p=[0.7, 0.2, 0.1])
    scores = numbers.standard_normal(ROWS) + 0.8 * (kinds > 0)
    if request.param == "tied":
        scores = np.round(scores)
    if request.param == "large":
        scores = 1000 + scores
    if request.param == "mixed sizes":
        scores = np.where(np.arange(ROWS) < 200, 1 / (1 + np.exp(-scores)), np.exp(3 * scores))
    return torch.from_numpy(scores).float(), torch.from_numpy(kinds)


def updated(metric, scores, kinds, batches=BATCHES):
    for batch in batches:
        metric.update(scores[batch], kinds[batch])
    return metric


def test_areas_are_scikit_learns_and_the_mann_whitney_statistic(rows):
    scores, kinds = rows
    found = updated(RocAuc(), scores, kinds).compute().item()
    anomalous, values = kinds.numpy() > 0, scores.double().numpy()
    assert found == pytest.approx(roc_auc_score(anomalous, values), abs=1e-9)
    pairs = anomalous.sum() * (~anomalous).sum()
    assert found == pytest.approx(mannwhitneyu(values[anomalous], values[~anomalous]).statistic / pairs, abs=1e-9)
    precision = updated(AveragePrecision(), scores, kinds).compute().item()
    assert precision == pytest.approx(average_precision_score(anomalous, values), abs=1e-6)


def test_one_kind_is_counted_beside_the_normal_rows(rows):
    scores, kinds = rows
    mine = kinds.numpy() != 1
    found = updated(RocAuc(kind=2), scores, kinds).compute().item()
    assert found == pytest.approx(roc_auc_score(kinds.numpy()[mine] == 2, scores.double().numpy()[mine]), abs=1e-9)


def test_torchmetrics_own_would_take_large_scores_for_logits():
    """Why there is one of our own: the day this fails, it can go."""
    scores, kinds = torch.tensor([40.0, 30.0, 20.0]), torch.tensor([1, 0, 0])
    assert updated(BinaryAUROC(), scores, kinds, [slice(0, 3)]).compute() == 0.5
    assert updated(RocAuc(), scores, kinds, [slice(0, 3)]).compute() == 1


@pytest.mark.parametrize("threshold", [-0.5, 0.0, 1.0, 3000.0])
def test_what_is_above_the_threshold_is_scikit_learns(rows, threshold):
    scores, kinds = rows
    found = {name: value.item() for name, value in updated(Detection(threshold), scores, kinds).compute().items()}
    anomalous, above = kinds.numpy() > 0, scores.numpy() > threshold
    *shares, _ = precision_recall_fscore_support(anomalous, above, average="binary", zero_division=0)
    expected = dict(zip(("precision", "recall", "f1"), shares, strict=True))
    assert found == pytest.approx({**expected, "false_alarm_rate": above[~anomalous].mean()})


@pytest.mark.parametrize("percentile", [0.5, 50.0, 95.0, 99.9])
def test_the_threshold_is_numpys_percentile(rows, percentile):
    scores, kinds = rows
    found = updated(PercentileThreshold(percentile), scores, kinds).compute()
    assert found["threshold"].item() == pytest.approx(np.percentile(scores.double().numpy(), percentile), rel=1e-9)


@pytest.mark.parametrize("metric", [RocAuc, AveragePrecision, lambda: Detection(0.5), PercentileThreshold])
def test_devices_that_hold_every_other_row_come_to_the_same(rows, metric):
    scores, kinds = rows
    whole = updated(metric(), scores, kinds).compute()
    one, other = (updated(metric(), scores[rank::2], kinds[rank::2], [slice(0, 60), slice(60, 150)]) for rank in (0, 1))
    one.merge_state(other)
    torch.testing.assert_close(one.compute(), whole, atol=1e-7, rtol=1e-6)


def test_a_collection_names_what_a_metric_of_several_gives():
    found = MetricCollection({"roc_auc": RocAuc(), "detection": Detection(0.5)}, compute_groups=False)
    found.update(torch.tensor([0.1, 0.9]), torch.tensor([0, 1]))
    assert {*found.compute()} == {"roc_auc", "precision", "recall", "f1", "false_alarm_rate"}


def test_a_score_that_is_no_number_gives_none():
    scores, kinds = torch.tensor([0.1, torch.nan, 0.3]), torch.tensor([0, 0, 1])
    for metric in (RocAuc(), AveragePrecision()):
        metric.update(scores, kinds)
        assert metric.compute().isnan()
    infinite = updated(RocAuc(), torch.tensor([0.1, torch.inf]), torch.tensor([0, 1]), [slice(0, 2)])
    assert infinite.compute() == 1


def test_parts_of_rows_have_the_area_for_their_mean_and_delongs_variance(rows):
    scores, kinds = rows
    parts = roc_auc_of_rows(scores, kinds).numpy()
    anomalous, values = kinds.numpy() > 0, scores.double().numpy()
    area = roc_auc_score(anomalous, values)
    assert parts.mean() == pytest.approx(area, abs=1e-9)
    above = (values[anomalous][:, None] > values[~anomalous]) + 0.5 * (values[anomalous][:, None] == values[~anomalous])
    variance = above.mean(1).var() / anomalous.sum() + above.mean(0).var() / (~anomalous).sum()
    assert parts.var() / ROWS == pytest.approx(variance, rel=1e-6)


def test_the_variance_is_that_of_areas_over_many_samples():
    numbers, areas, variances = np.random.default_rng(1), [], []
    kinds = torch.arange(120) % 4 // 3
    for _ in range(400):
        scores = torch.from_numpy(numbers.standard_normal(120)) + kinds
        parts = roc_auc_of_rows(scores, kinds).numpy()
        areas.append(parts.mean())
        variances.append(parts.var() / 120)
    assert np.mean(variances) == pytest.approx(np.var(areas), rel=0.2)


@pytest.mark.parametrize("percentile", [0.0, 100.0, 101.0, -5.0, float("nan")])
def test_a_percentile_that_takes_none_or_all_is_refused(percentile):
    with pytest.raises(UserError, match=f"percentile is {percentile}; it must be above 0 and below 100"):
        PercentileThreshold(percentile)
