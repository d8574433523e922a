"""Errors of forecasts against scikit-learn, numpy and a worked example by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_absolute_percentage_error, root_mean_squared_error
from torchmetrics import MetricCollection

from rnnae_bench import Batch
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import (
    AbsolutePercentageError,
    AbsoluteScaledError,
    RootSquaredError,
    SymmetricPercentageError,
    seasonal_naive_error,
    update_metrics,
)


def measured(prediction: torch.Tensor, batch: Batch, scale: float) -> dict[str, float]:
    """All four, updated in two parts."""
    metrics = MetricCollection(
        {
            "mase": AbsoluteScaledError(scale),
            "mape": AbsolutePercentageError(),
            "smape": SymmetricPercentageError(),
            "rmse": RootSquaredError(),
        },
        compute_groups=False,
    )
    for rows in (slice(0, 3), slice(3, None)):
        update_metrics(metrics, prediction[rows], batch.rows(rows))
    return {name: value.item() for name, value in metrics.compute().items()}


@pytest.mark.parametrize("padded", [False, True])
def test_errors_are_scikit_learns_over_the_steps_that_count(padded):
    generator = torch.Generator().manual_seed(0)
    targets, prediction = (torch.randn(8, 6, 2, generator=generator, dtype=torch.float64) * 3 + 1 for _ in range(2))
    lengths = torch.randint(1, 7, (8,), generator=generator) if padded else None
    counted = np.ones((8, 6), bool) if lengths is None else np.arange(6) < lengths.numpy()[:, None]
    history = torch.randn(50, generator=generator, dtype=torch.float64).cumsum(0)
    found = measured(prediction, Batch(torch.zeros(8, 6, 1), targets, lengths), seasonal_naive_error(history, 7))
    y, f = targets.numpy()[counted].ravel(), prediction.numpy()[counted].ravel()
    assert found["mase"] == pytest.approx(mean_absolute_error(y, f) / mean_absolute_error(history[7:], history[:-7]))
    assert found["mape"] == pytest.approx(mean_absolute_percentage_error(y, f))
    assert found["rmse"] == pytest.approx(root_mean_squared_error(y, f))
    assert found["smape"] == pytest.approx(np.mean(2 * np.abs(y - f) / (np.abs(y) + np.abs(f))))


def test_an_example_by_hand():
    targets, prediction = torch.tensor([[10.0, 20.0], [0.0, 5.0]]), torch.tensor([[12.0, 16.0], [0.0, 15.0]])
    scale = seasonal_naive_error(torch.tensor([1.0, 2.0, 5.0, 4.0]), season=2)  # |5 - 1| and |4 - 2|
    assert scale == 3
    mase, smape = AbsoluteScaledError(scale), SymmetricPercentageError()
    for metric in (mase, smape):
        metric.update(prediction, targets)
    assert mase.compute().item() == pytest.approx((2 + 4 + 0 + 10) / 4 / 3)
    assert smape.compute().item() == pytest.approx((4 / 22 + 8 / 36 + 0 + 20 / 20) / 4)


@pytest.mark.parametrize(
    ("series", "season", "message"),
    [([1.0, 2.0], 0, "season is 0"), ([1.0, 2.0], 2, "season is 2, and the series to learn from has 2 steps"),
     ([1.0, 2.0, 1.0, 2.0], 2, "season is 2, after which the series repeats itself exactly")],
)  # fmt: skip
def test_a_scale_that_can_not_be_is_refused(series, season, message):
    with pytest.raises(UserError, match=message):
        seasonal_naive_error(torch.tensor(series), season)
    with pytest.raises(UserError, match="scale is 0"):
        AbsoluteScaledError(0.0)
