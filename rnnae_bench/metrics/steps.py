"""Metrics over the steps of a sequence that count, or over one answer a row."""

from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import cross_entropy as torch_cross_entropy
from torchmetrics import Metric

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.metrics.losses import counted_steps
from rnnae_bench.metrics.mean import Mean


class CrossEntropy(Mean):
    """Mean cross-entropy in nats over all steps that count, or over the last few.

    Args:
        last: How many steps at the end are looked at; None means all.
    """

    def __init__(self, last: int | None = None) -> None:
        super().__init__()
        self.last = last

    def update(self, prediction: Float[Tensor, "batch *time class"], batch: Batch | Tensor) -> None:
        """Add a batch of logits; of targets alone, ``Int[Tensor, "batch *time"]``, all steps count."""
        logits, targets, counted = _last(self.last, prediction, batch)
        wanted, rows = targets.flatten(), logits.flatten(0, -2)
        if counted is not None:
            wanted, rows = wanted[counted.flatten()], rows[counted.flatten()]
        self.total += torch_cross_entropy(rows, wanted, reduction="sum")
        self.count += wanted.numel()


class Accuracy(Mean):
    """Share of all steps that count, or of the last few, that are answered rightly; or of rows that are, whole.

    Args:
        last: How many steps at the end are looked at; None means all.
        whole: Count rows with all of their steps right, instead of steps.
    """

    def __init__(self, last: int | None = None, whole: bool = False) -> None:
        super().__init__(torch.int64)
        self.last, self.whole = last, whole

    def update(self, prediction: Float[Tensor, "batch *time class"], batch: Batch | Tensor) -> None:
        """Add a batch of logits; of targets alone, ``Int[Tensor, "batch *time"]``, all steps count."""
        logits, targets, counted = _last(self.last, prediction, batch)
        right = logits.argmax(-1) == targets
        if self.whole:
            right, counted = (right if counted is None else right | ~counted).flatten(1).all(-1), None
        self.add(right, counted)


class ErrorRate(Accuracy):
    """Share of all steps that count, or of the last few, that are answered wrongly; or of rows that are anywhere.

    Args:
        last: How many steps at the end are looked at; None means all.
        whole: Count rows with any of their steps wrong, instead of steps.
    """

    def compute(self) -> Float[Tensor, ""]:
        """The share."""
        return 1 - super().compute()


class SquaredError(Mean):
    """Mean squared error over all numbers of the steps that count, or of the first few.

    Args:
        first: How many steps from the first on are looked at; None means all.
    """

    def __init__(self, first: int | None = None) -> None:
        super().__init__()
        self.first = first

    def update(self, prediction: Float[Tensor, "batch *axes"], batch: Batch | Tensor) -> None:
        """Add a batch of values, vectors or images; of targets alone, of the same shape, all steps count."""
        targets, counted = _parts(batch)
        if self.first is not None:
            prediction, targets = prediction[:, : self.first], targets[:, : self.first]
            counted = None if counted is None else counted[:, : self.first]
        self.add((prediction - targets).double().square(), counted)


class BalancedCrossEntropy(Metric):
    """Cross-entropy in nats of one answer a row: the mean over each class, then the mean of the classes that occur.

    Args:
        classes: How many there are.
    """

    full_state_update = False
    totals: Tensor
    counts: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.add_state("totals", torch.zeros(classes, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, prediction: Float[Tensor, "batch class"], targets: Shaped[Tensor, " batch"]) -> None:
        """Add a batch of logits and targets."""
        losses = torch_cross_entropy(prediction.double(), targets, reduction="none")
        self.totals.index_add_(0, targets, losses)
        self.counts.index_add_(0, targets, torch.ones_like(targets))

    def compute(self) -> Float[Tensor, ""]:
        """The mean."""
        occurs = self.counts > 0
        return (self.totals[occurs] / self.counts[occurs]).mean()


def _parts(batch: Batch | Tensor) -> tuple[Tensor, Tensor | None]:
    """Targets, and which of their steps count; None where all do."""
    return (batch, None) if isinstance(batch, Tensor) else (batch.targets, counted_steps(batch))


def _last(count: int | None, prediction: Tensor, batch: Batch | Tensor) -> tuple[Tensor, Tensor, Any]:
    """Prediction, targets, and which steps count, of the last `count` steps or of all."""
    targets, counted = _parts(batch)
    if count is None:
        return prediction, targets, counted
    start = targets.shape[1] - count
    return prediction[:, start:], targets[:, start:], None if counted is None else counted[:, start:]
