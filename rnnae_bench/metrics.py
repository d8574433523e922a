"""Losses and metrics that several tasks share, and how any metric is updated with a batch.

Losses are means over rows, as a task's must be. Metrics keep sums and counts, so that batches and devices add up. Both
leave out the steps that do not count: padding, by the batch's lengths, and what its mask leaves out.
"""

import inspect
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn.functional import cross_entropy as torch_cross_entropy
from torch.nn.functional import mse_loss
from torchmetrics import Metric, MetricCollection
from torchmetrics.functional.image import structural_similarity_index_measure

from rnnae_bench.contracts.batch import Batch


def update_metrics(metrics: Metric | MetricCollection, prediction: Tensor, batch: Batch) -> None:
    """Add a batch to metrics, as the runner does.

    A metric whose ``update`` has an argument called ``batch`` gets the whole `Batch` (targets, inputs, lengths, mask);
    any other, torchmetrics' own among them, gets the targets.

    Args:
        metrics: What `Task.metrics` gave, or one metric.
        prediction: What `Task.predict` gave.
        batch: The rows that it answers.
    """
    members = [metrics] if isinstance(metrics, Metric) else [*metrics.values(copy_state=False)]
    if not any(_takes_batch(type(member)) for member in members):
        # The collection itself shares what several of its metrics have in common.
        metrics.update(prediction, batch.targets)
        return
    for member in members:
        member.update(prediction, batch if _takes_batch(type(member)) else batch.targets)


@lru_cache(maxsize=256)
def _takes_batch(metric: type[Metric]) -> bool:
    return "batch" in inspect.signature(metric.update).parameters


def cross_entropy(prediction: Float[Tensor, "batch *time class"], batch: Batch) -> Float[Tensor, ""]:
    """Cross-entropy in nats: of each row the mean over its steps that count, and of these the mean over rows."""
    # PyTorch's softmax is several times as fast along an axis that is not the last, and gathering stays fast under
    # torch.vmap, where PyTorch's cross_entropy does not.
    logits = prediction.movedim(-1, 1).contiguous()
    counted = counted_steps(batch)
    targets = batch.targets if counted is None else batch.targets * counted
    losses = -logits.log_softmax(dim=1).gather(1, targets.unsqueeze(1)).squeeze(1)
    return losses.mean() if counted is None else _mean_of_rows(losses, counted)


def squared_error(prediction: Float[Tensor, "batch *axes"], batch: Batch) -> Float[Tensor, ""]:
    """Squared error: of each row the mean over its steps that count, and of these the mean over rows."""
    counted = counted_steps(batch)
    if counted is None:
        return mse_loss(prediction, batch.targets)
    squares = (prediction - batch.targets).square().flatten(2).mean(dim=2)
    return _mean_of_rows(squares, counted)


def _mean_of_rows(values: Float[Tensor, "batch time"], counted: Bool[Tensor, "batch time"]) -> Float[Tensor, ""]:
    return (torch.where(counted, values, 0.0).sum(dim=1) / counted.sum(dim=1).clamp(min=1)).mean()


def counted_steps(batch: Batch) -> Bool[Tensor, "batch time"] | None:
    """Which steps of the targets count, by the batch's lengths and mask; None where all do, or there is one answer."""
    targets, ends = batch.targets, batch.target_lengths
    if ends is None and targets.dim() == (3 if targets.is_floating_point() else 2):
        ends = batch.lengths
    if ends is None:
        return batch.mask
    counted = torch.arange(targets.shape[1], device=targets.device) < ends.unsqueeze(1)
    return counted if batch.mask is None else counted & batch.mask


class _Mean(Metric):
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

    def _add(self, values: Tensor, counted: Tensor | None) -> None:
        if counted is None:
            self.total += values.sum()
            self.count += values.numel()
        else:
            self.total += values[counted].sum()
            self.count += values[counted].numel()

    def compute(self) -> Float[Tensor, ""]:
        """The mean."""
        return self.total / self.count


class CrossEntropy(_Mean):
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


class Accuracy(_Mean):
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
        self._add(right, counted)


class SquaredError(_Mean):
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
        self._add((prediction - targets).double().square(), counted)


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


WINDOW_RADIUS = 5
"""Pixels from the middle of the window of `structural_similarity` to its border: it has 11 x 11."""


def structural_similarity(
    prediction: Float[Tensor, "batch channel height width"], clean: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, " batch"]:
    """The structural similarity of each image, of pixels in [0, 1], averaged over the windows that lie within it.

    The Gaussian window has a standard deviation of 1.5 pixels and 11 x 11 of them, K1 = 0.01 and K2 = 0.03. Where the
    window would reach beyond the image, there is no value to average: neither the authors' program nor scikit-image
    takes one there, and torchmetrics, which mirrors the image, gives them beside the others.

    Source: Wang, Bovik, Sheikh & Simoncelli (2004), Image quality assessment: from error visibility to structural
    similarity, IEEE Transactions on Image Processing 13(4).
    """
    _, everywhere = structural_similarity_index_measure(
        prediction, clean, sigma=1.5, data_range=1.0, k1=0.01, k2=0.03, reduction="none", return_full_image=True
    )
    within = slice(WINDOW_RADIUS, -WINDOW_RADIUS)
    return everywhere[..., within, within].mean((1, 2, 3))


class StructuralSimilarity(_Mean):
    """The mean of `structural_similarity` over images."""

    def update(
        self,
        prediction: Float[Tensor, "batch channel height width"],
        targets: Float[Tensor, "batch channel height width"],
    ) -> None:
        """Add a batch of predicted and clean images."""
        self._add(structural_similarity(prediction, targets).double(), None)


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
