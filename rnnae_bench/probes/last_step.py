"""The loss of the last scored step alone, and where it lies: what a gradient profile is measured from."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rnnae_bench.contracts.spec import Images, TaskSpec
from rnnae_bench.contracts.task import Batch, Task

Reading = Literal["training_loss", "last_step"]
"""Whose gradient is read: the loss that is minimised, or that of the last scored step alone."""


def scored_steps(
    spec: TaskSpec,
    lengths: Int[Tensor, "*model batch"],
    mask: Bool[Tensor, "*model batch time"] | None = None,
) -> tuple[Int[Tensor, "*model batch"], Int[Tensor, "*model batch"]]:
    """First and last step (from 0) of each input sequence at which something is predicted that the loss looks at.

    Outputs of their own length, like a single one, are predicted after the last step.

    Args:
        spec: Of the task.
        lengths: Steps of each sequence.
        mask: That of the batch.
    """
    if spec.predicts != "every step":
        return lengths - 1, lengths - 1
    start, stop = spec.scored_steps or (0, spec.sequence.length)
    first, last = torch.clamp(lengths - 1, max=start), torch.clamp(lengths, max=stop) - 1
    if mask is None:
        return first, last
    steps = torch.arange(mask.shape[-1], device=mask.device)
    scored = mask & (steps >= first.unsqueeze(-1)) & (steps <= last.unsqueeze(-1))
    # A row that has none keeps those of the spec; its loss has no gradient.
    some = scored.any(-1)
    from_end = scored.flip(-1).int().argmax(-1)
    return torch.where(some, scored.int().argmax(-1), first), torch.where(some, len(steps) - 1 - from_end, last)


def lag_origin(
    spec: TaskSpec,
    lengths: Int[Tensor, "*model batch"],
    backward: bool,
    reading: Reading,
    mask: Bool[Tensor, "*model batch time"] | None = None,
) -> Int[Tensor, "*model batch"]:
    """The step that lags are counted back from, in the order in which a direction reads: the last scored one.

    A direction that reads from the end comes last by the first scored step, or, where one answer is read off the whole
    sequence, by the sequence's start.

    Args:
        spec: Of the task.
        lengths: Steps of each sequence.
        backward: Whether the direction reads from the end.
        reading: Whether the loss is of all scored steps or of the last one alone.
        mask: That of the batch.
    """
    first, last = scored_steps(spec, lengths, mask)
    if not backward or spec.predicts != "every step":
        return last
    return lengths - 1 - (last if reading == "last_step" else first)


def last_step_loss(task: Task, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
    """The task's loss, differentiable through the prediction of each sequence's last scored step only.

    Per-step losses mix the direct gradient of every step into dL/dh_t; this one leaves what travelled back in time. Of
    outputs of their own length it takes the last step of each.
    """
    spec = task.spec
    if spec.predicts == "last step":
        return task.total_loss(prediction, batch)
    scored = batch.scored(spec)
    steps = torch.arange(scored.shape[1], device=scored.device)
    chosen = steps == torch.where(scored, steps, -1).amax(dim=1, keepdim=True)
    shape = [1] * prediction.dim()
    shape[0], shape[2 if isinstance(spec.outputs, Images) else 1] = chosen.shape
    return task.total_loss(torch.where(chosen.view(shape), prediction, prediction.detach()), batch)
