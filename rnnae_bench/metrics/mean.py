"""The base of metrics that are means: a sum and a count, which batches and devices add up."""

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric


class Mean(Metric):
    """A sum over what counts, divided by how many they were.

    Args:
        dtype: Of the sum.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0, dtype=dtype), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def add(self, values: Tensor, counted: Tensor | None) -> None:
        """Add values, or those of them that count; all do where `counted` is None."""
        if counted is None:
            self.total += values.sum()
            self.count += values.numel()
        else:
            self.total += values[counted].sum()
            self.count += values[counted].numel()

    def compute(self) -> Float[Tensor, ""]:
        """The mean."""
        return self.total / self.count
