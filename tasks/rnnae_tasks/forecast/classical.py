"""Forecasts without a network: the last season again, and linear regressions. All continue windows, row by row."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


def seasonal(
    windows: Float[Tensor, "row time"], season: int, horizon: int, slope: float = 0.0
) -> Float[Tensor, "row horizon"]:
    """The last season of each window again, and what a line has risen in between.

    Args:
        windows: Of at least a season.
        season: Steps; 1 holds the last value.
        horizon: Steps to continue.
        slope: Of that line, per step.
    """
    ahead = torch.arange(horizon)
    seasons = ahead // season + 1
    return windows[:, ahead % season - season] + slope * season * seasons


@dataclass(frozen=True)
class Autoregression:
    """``x_t = intercept + coefficients . (x_(t-order), ..., x_(t-1))``, by least squares."""

    intercept: float
    coefficients: Float[Tensor, " order"]

    @classmethod
    def fitted(cls, series: Float[Tensor, " time"], longest: int) -> "Autoregression":
        """The order from 1 to `longest` with the least AIC, all judged on the steps from `longest` on, fitted anew.

        With Gaussian errors that is ``n ln(mean squared residual) + 2 (order + 2)``, but for a constant. Source: Akaike
        (1974), A new look at the statistical model identification, IEEE Transactions on Automatic Control 19(6).
        """
        steps = len(series) - longest

        def criterion(order: int) -> float:
            late = series[longest - order :]
            residual = cls._least_squares(late, order)._residuals(late)
            return steps * math.log(residual.square().mean().item()) + 2 * (order + 2)

        return cls._least_squares(series, min(range(1, longest + 1), key=criterion))

    @classmethod
    def _least_squares(cls, series: Float[Tensor, " time"], order: int) -> "Autoregression":
        rows = series.unfold(0, order + 1, 1)
        regressors = torch.cat((torch.ones(len(rows), 1, dtype=series.dtype), rows[:, :-1]), dim=1)
        solution = torch.linalg.lstsq(regressors, rows[:, -1:], driver="gelsd").solution.squeeze(1)
        return cls(solution[0].item(), solution[1:])

    def _residuals(self, series: Float[Tensor, " time"]) -> Float[Tensor, " row"]:
        rows = series.unfold(0, len(self.coefficients) + 1, 1)
        return rows[:, -1] - rows[:, :-1] @ self.coefficients - self.intercept

    def continued(self, windows: Float[Tensor, "row time"], horizon: int) -> Float[Tensor, "row horizon"]:
        """Windows of at least the order's steps, continued step by step on what was forecast before."""
        values = windows
        for _ in range(horizon):
            following = values[:, -len(self.coefficients) :] @ self.coefficients + self.intercept
            values = torch.cat((values, following.unsqueeze(1)), dim=1)
        return values[:, windows.shape[1] :]
