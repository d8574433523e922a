"""How much of the variance of the targets an answer explains."""

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric


class VarianceExplained(Metric):
    """``1 - sum |prediction - target|^2 / sum |centre - target|^2``, over all numbers of all rows.

    1 is perfect, 0 as good as the centre. About the targets' own mean it is R squared, of all columns weighted by their
    variance; the mean of the training rows has seen no target.

    Args:
        centre: One row, flat: what is answered without looking.
    """

    full_state_update = False
    centre: Tensor
    errors: Tensor
    spread: Tensor

    def __init__(self, centre: Float[Tensor, " numbers"]) -> None:
        super().__init__()
        self.register_buffer("centre", centre.double(), persistent=False)
        for state in ("errors", "spread"):
            self.add_state(state, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction: Float[Tensor, "batch *axes"], targets: Float[Tensor, "batch *axes"]) -> None:
        """Add a batch of rows of as many numbers as the centre has."""
        self.errors += (prediction - targets).double().square().sum()
        self.spread += (targets.flatten(1) - self.centre).square().sum()

    def compute(self) -> Float[Tensor, ""]:
        """The share."""
        return 1 - self.errors / self.spread
