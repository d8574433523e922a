"""What does not count in a batch, altered: padding of inputs and targets, and steps that a mask leaves out."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.spec import Classes, Images, Static, TaskSpec
from rnnae_bench.testing.batch_exam import counted
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import altered_inputs, prediction_shape, real_steps

MORE = 3
"""Steps of padding that are added."""


def alterations(spec: TaskSpec, prediction: Tensor, batch: Batch) -> dict[str, tuple[Tensor, Batch]]:
    """The same prediction and batch, but for what does not count, by what was altered.

    Raises:
        NotAsked: everything counts.
    """
    found: dict[str, tuple[Tensor, Batch]] = {}
    if batch.lengths is not None:
        padding = altered_inputs(spec, batch.inputs, ~real_steps(batch))
        found["what the inputs are padded with"] = prediction, batch._replace(inputs=padding)
    has_steps = tuple(prediction.shape) == prediction_shape(spec, batch.inputs, batch.targets)
    has_steps &= spec.predicts != "last step" and not isinstance(spec.inputs, Static)
    ends = batch.lengths is not None or batch.target_lengths is not None
    is_padded = batch.lengths is not None and bool((batch.lengths < batch.inputs.shape[1]).any())
    is_padded |= batch.target_lengths is not None and bool((batch.target_lengths < batch.targets.shape[1]).any())
    if has_steps and (batch.mask is not None or ends):
        axis = 2 if isinstance(spec.outputs, Images) else 1
        steps = counted(spec, batch)
        shape = [1] * prediction.dim()
        shape[0], shape[axis] = steps.shape
        found["the prediction at steps that do not count"] = (
            torch.where(steps.view(shape), prediction, 1 - prediction),
            batch,
        )
        if isinstance(spec.outputs, Classes):
            # What is below 0 is no class: a sign that a loss knows padding by (PyTorch's ignore_index).
            other = torch.where(batch.targets < 0, batch.targets, (batch.targets + 1) % spec.outputs.count)
            targets = torch.where(steps, batch.targets, other)
        else:
            targets = torch.where(steps.view(shape), batch.targets, batch.targets + 1)
        found["the targets at steps that do not count"] = prediction, batch._replace(targets=targets)
    if is_padded and (has_steps or spec.predicts == "last step") and not isinstance(spec.inputs, Images | Static):
        found[f"{MORE} more steps of padding"] = _longer(spec, prediction, batch)
    if not found:
        raise NotAsked("nothing is padded or masked: all steps count")
    return found


def _longer(spec: TaskSpec, prediction: Tensor, batch: Batch) -> tuple[Tensor, Batch]:
    """With more padding: in the targets where these have their own length, else in the inputs and all with them."""

    def more(tensor: Tensor, value: int = 0) -> Tensor:
        return pad(tensor, (0, 0) * (tensor.dim() - 2) + (0, MORE), value=value)

    if batch.lengths is not None and spec.predicts != "own length":
        batch = batch._replace(inputs=more(batch.inputs))
    if spec.predicts == "last step":
        return prediction, batch
    if spec.predicts == "own length" and batch.target_lengths is None:
        return prediction, batch
    sign = 0 if batch.targets.is_floating_point() else min(0, int(batch.targets.min()))
    mask = None if batch.mask is None else more(batch.mask.to(torch.uint8)).bool()
    return more(prediction), batch._replace(targets=more(batch.targets, sign), mask=mask)
