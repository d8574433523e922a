"""How long a forecast that goes on alone holds, and its error in units of the series' spread."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rnnae_bench.metrics.mean import Mean
from rnnae_bench.metrics.steps import SquaredError


def valid_steps(
    prediction: Float[Tensor, "batch time values"], targets: Float[Tensor, "batch time values"], threshold: float
) -> Int[Tensor, " batch"]:
    """How many steps of each forecast pass before its error first exceeds the threshold.

    The error of a step is the root of the mean square over the values, which are to be standardised. What is not a
    number exceeds every threshold.
    """
    error = (prediction - targets).double().square().mean(dim=2).sqrt()
    return (error <= threshold).long().cumprod(dim=1).sum(dim=1)


class ValidTime(Mean):
    """The mean over rows of how long a forecast holds: `valid_steps` times the duration of a step.

    So is the valid prediction time of Vlachas et al. (2020), Backpropagation algorithms and reservoir computing in
    recurrent neural networks, Neural Networks 126, with a threshold of 0.5; Pathak et al. (2018), Hybrid forecasting of
    chaotic processes, Chaos 28, 041101, take 0.4, of an error in units of the root of the mean square.

    Args:
        threshold: Error, in standard deviations, up to which a forecast is valid.
        step: Duration of a step, in whatever unit times are to be told.
    """

    def __init__(self, threshold: float, step: float) -> None:
        super().__init__()
        self.threshold, self.step = threshold, step

    def update(
        self, prediction: Float[Tensor, "batch time values"], targets: Float[Tensor, "batch time values"]
    ) -> None:
        """Add a batch of standardised forecasts."""
        self.add(self.step * valid_steps(prediction, targets, self.threshold).double(), None)


class RootSquaredError(SquaredError):
    """The root of the mean squared error; of standardised values it is the NRMSE.

    Args:
        first: How many steps from the first on are looked at; None means all.
    """

    def compute(self) -> Float[Tensor, ""]:
        """The root."""
        return torch.sqrt(super().compute())
