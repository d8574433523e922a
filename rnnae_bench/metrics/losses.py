"""Losses that are means over rows, and which steps of a batch count."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import mse_loss

from rnnae_bench.contracts.batch import Batch


def cross_entropy(prediction: Float[Tensor, "batch *time class"], batch: Batch) -> Float[Tensor, ""]:
    """Cross-entropy in nats: of each row the mean over its steps that count, and of these the mean over rows."""
    # PyTorch's softmax is several times as fast along an axis that is not the last, and gathering stays fast under
    # torch.vmap, where PyTorch's cross_entropy does not.
    logits = prediction.movedim(-1, 1).contiguous()
    counted = counted_steps(batch)
    targets = batch.targets if counted is None else batch.targets * counted
    losses = -logits.log_softmax(dim=1).gather(1, targets.unsqueeze(1)).squeeze(1)
    return losses.mean() if counted is None else _mean_of_rows(losses, counted)


def summed_cross_entropy(
    prediction: Float[Tensor, "batch time class"], batch: Batch, steps: float
) -> Float[Tensor, ""]:
    """Cross-entropy in nats of whole rows: of each row the sum over its steps that count, over a number of steps.

    For next symbols of strings that end by chance. `cross_entropy` takes the mean over each row's own steps, and so
    counts the steps of short strings for more: chances that minimise it say that a string ends sooner than it does.

    Args:
        prediction: Logits.
        batch: Targets and lengths.
        steps: That a row has on average, a constant, so that the loss is about that of one step.
    """
    counted = counted_steps(batch)
    targets = batch.targets if counted is None else batch.targets * counted
    losses = -prediction.log_softmax(dim=-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return (losses if counted is None else torch.where(counted, losses, 0.0)).sum(dim=1).mean() / steps


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
