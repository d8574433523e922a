"""The loss of the last scored step alone, and where it lies: what a gradient profile is measured from."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rnnae_bench.contracts.spec import Images, TaskSpec
from rnnae_bench.contracts.task import Batch, Task

Reading = Literal["training_loss", "last_step"]
"""Whose gradient is read: the loss that is minimised, or that of the last scored step alone."""


def scored_steps(
    spec: TaskSpec, lengths: Int[Tensor, "*model batch"]
) -> tuple[Int[Tensor, "*model batch"], Int[Tensor, "*model batch"]]:
    """First and last step (from 0) of each sequence whose prediction the loss looks at.

    Args:
        spec: Of the task.
        lengths: Steps of each sequence.
    """
    if spec.predicts == "last step":
        return lengths - 1, lengths - 1
    first, stop = spec.scored_steps or (0, spec.sequence.length)
    return torch.clamp(lengths - 1, max=first), torch.clamp(lengths, max=stop) - 1


def lag_origin(
    spec: TaskSpec, lengths: Int[Tensor, "*model batch"], backward: bool, reading: Reading
) -> Int[Tensor, "*model batch"]:
    """The step that lags are counted back from, in the order in which a direction reads: the last scored one.

    A direction that reads from the end comes last by the first scored step, or, where one answer is read off the whole
    sequence, by the sequence's start.

    Args:
        spec: Of the task.
        lengths: Steps of each sequence.
        backward: Whether the direction reads from the end.
        reading: Whether the loss is of all scored steps or of the last one alone.
    """
    first, last = scored_steps(spec, lengths)
    if not backward or spec.predicts == "last step":
        return last
    return lengths - 1 - (last if reading == "last_step" else first)


def last_step_loss(task: Task, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
    """The task's loss, differentiable through the prediction of each sequence's last scored step only.

    Per-step losses mix the direct gradient of every step into dL/dh_t; this one leaves what travelled back in time.
    """
    spec = task.spec
    if spec.predicts == "last step":
        return task.total_loss(prediction, batch)
    axis = 2 if isinstance(spec.outputs, Images) else 1
    steps = torch.arange(prediction.shape[axis], device=prediction.device)
    lengths = torch.full_like(steps[:1], len(steps)).expand(len(prediction)) if batch.lengths is None else batch.lengths
    chosen = steps == scored_steps(spec, lengths)[1].unsqueeze(-1)
    shape = [1] * prediction.dim()
    shape[0], shape[axis] = chosen.shape
    return task.total_loss(torch.where(chosen.view(shape), prediction, prediction.detach()), batch)
