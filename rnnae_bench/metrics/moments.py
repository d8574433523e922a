"""Metrics of a whole set that need second moments, kept as sums: a normalised error, and correlations."""

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric


class NormalizedError(Metric):
    """NRMSE: the root of the mean squared error over the targets' variance, both over all scored numbers of the set.

    A forecaster of the targets' mean has 1.

    Args:
        skip: Steps at the start that are not scored.
    """

    full_state_update = False
    error: Tensor
    total: Tensor
    square: Tensor
    count: Tensor

    def __init__(self, skip: int = 0) -> None:
        super().__init__()
        self.skip = skip
        for name in ("error", "total", "square"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self, prediction: Float[Tensor, "batch time values"], targets: Float[Tensor, "batch time values"]
    ) -> None:
        """Add a batch."""
        truth = targets[:, self.skip :].double()
        self.error += (prediction[:, self.skip :].double() - truth).square().sum()
        self.total += truth.sum()
        self.square += truth.square().sum()
        self.count += truth.numel()

    def compute(self) -> Float[Tensor, ""]:
        """The root of error over variance."""
        return torch.sqrt(self.error / (self.square - self.total.square() / self.count))


class Capacity(Metric):
    """The sum over outputs of the squared correlation between prediction and target, over all scored steps of the set.

    Of targets that are the input's past values it is the short-term memory capacity of Jaeger (2001), Short term memory
    in echo state networks, GMD Report 152. A constant prediction has a squared correlation of 0.

    Args:
        outputs: How many there are.
        skip: Steps at the start that are not scored.
    """

    full_state_update = False
    sums: Tensor
    count: Tensor

    def __init__(self, outputs: int, skip: int = 0) -> None:
        super().__init__()
        self.skip = skip
        self.add_state("sums", torch.zeros(5, outputs, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(
        self, prediction: Float[Tensor, "batch time outputs"], targets: Float[Tensor, "batch time outputs"]
    ) -> None:
        """Add a batch."""
        said, truth = (one[:, self.skip :].double().flatten(0, 1) for one in (prediction, targets))
        self.sums += torch.stack([one.sum(0) for one in (said, truth, said * said, truth * truth, said * truth)])
        self.count += len(truth)

    def compute(self) -> Float[Tensor, ""]:
        """The sum of squared correlations."""
        said, truth, said_square, truth_square, product = self.sums / self.count
        said_variance, truth_variance = said_square - said**2, truth_square - truth**2
        # What rounding leaves of a constant's variance is none.
        varies = said_variance > 1e-12 * said_square
        shares = (product - said * truth) ** 2 / torch.where(varies, said_variance * truth_variance, 1.0)
        return torch.where(varies, shares, 0.0).sum()
