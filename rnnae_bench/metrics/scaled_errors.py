"""Errors of forecasts, on scales that several series share."""

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.metrics.losses import counted_steps
from rnnae_bench.metrics.mean import Mean


def seasonal_naive_error(series: Float[Tensor, " time"], season: int) -> float:
    """The mean absolute change from one season to the next: what repeating the last season errs, a season ahead.

    Args:
        series: The part that forecasts are learned from.
        season: Steps of a season; 1 for the naive forecast, the last value held.

    Raises:
        UserError: the series is no longer than a season, or repeats itself without any change.
    """
    require_positive(season=season)
    if len(series) <= season:
        raise UserError(f"season is {season}, and the series to learn from has {len(series)} steps; it takes more")
    error = (series[season:] - series[:-season]).double().abs().mean().item()
    if error == 0:
        raise UserError(
            f"season is {season}, after which the series repeats itself exactly; nothing can be scaled by it"
        )
    return error


class _ForecastError(Mean):
    """The mean of an error over the steps that count."""

    @abstractmethod
    def errors(self, prediction: Float[Tensor, "batch *axes"], targets: Float[Tensor, "batch *axes"]) -> Tensor:
        """Of each number, in float64."""

    def update(self, prediction: Float[Tensor, "batch *axes"], batch: Batch | Tensor) -> None:
        """Add a batch of forecasts; of targets alone, of the same shape, all steps count."""
        targets, counted = (batch, None) if isinstance(batch, Tensor) else (batch.targets, counted_steps(batch))
        self.add(self.errors(prediction.double(), targets.double()), counted)


class AbsoluteScaledError(_ForecastError):
    """MASE: the mean absolute error, in units of the error of a naive forecast on the data to learn from.

    Below 1 a forecast is better than the seasonal naive one is on average, one season ahead and in sample.

    Args:
        scale: That error, see `seasonal_naive_error`; in units of the series.

    Source: Hyndman & Koehler (2006), Another look at measures of forecast accuracy, International Journal of
    Forecasting 22(4), 679-688.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        require_positive(scale=scale)
        self.scale = scale

    def errors(self, prediction: Float[Tensor, "batch *axes"], targets: Float[Tensor, "batch *axes"]) -> Tensor:
        """``|y - f| / scale``."""
        return (targets - prediction).abs() / self.scale


class AbsolutePercentageError(_ForecastError):
    """MAPE, as a share and not in percent: the mean of ``|y - f| / |y|``. Targets must not be 0."""

    def errors(self, prediction: Float[Tensor, "batch *axes"], targets: Float[Tensor, "batch *axes"]) -> Tensor:
        """``|y - f| / |y|``."""
        return ((targets - prediction) / targets).abs()


class SymmetricPercentageError(_ForecastError):
    """sMAPE, from 0 to 2 and not in percent: the mean of ``2 |y - f| / (|y| + |f|)``, 0 where both are 0.

    Source: Makridakis, Spiliotis & Assimakopoulos (2020), The M4 competition, International Journal of Forecasting
    36(1), 54-74.
    """

    def errors(self, prediction: Float[Tensor, "batch *axes"], targets: Float[Tensor, "batch *axes"]) -> Tensor:
        """``2 |y - f| / (|y| + |f|)``."""
        size = targets.abs() + prediction.abs()
        return torch.where(size == 0, 0.0, 2 * (targets - prediction).abs() / size)
