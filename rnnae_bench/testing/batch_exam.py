"""The exam of a task's batches: whether they are what its spec promises to models."""

from dataclasses import replace

import torch
from torch import Tensor

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.spec import Classes, Images, Static, TaskSpec, Tokens
from rnnae_bench.testing.forms import prediction_shape, require, within


def check_inputs(spec: TaskSpec, batch: Batch, what: str = "a batch", any_length: bool = False) -> None:
    """Inputs have the shape, type and range that the spec promises.

    Args:
        spec: Of the task.
        batch: A batch of the training, or of an evaluation set.
        what: What that is, for messages.
        any_length: Whether it may have other steps than the spec says.
    """
    inputs, shape = batch.inputs, tuple(batch.inputs.shape[1:])
    sound, wanted = False, f"{spec.inputs}"
    if isinstance(spec.inputs, Images):
        sound = shape == (spec.inputs.channels, spec.inputs.height, spec.inputs.width) and within(inputs, 0, 1)
        sound = sound and inputs.dtype == torch.float32
    elif isinstance(spec.inputs, Static):
        sound = shape == (spec.inputs.features,) and inputs.dtype == torch.float32
    elif len(shape) >= 1 and (
        any_length or shape[0] == spec.inputs.length or (spec.variable_length and shape[0] <= spec.inputs.length)
    ):
        if isinstance(spec.inputs, Tokens):
            sound = len(shape) == 1 and inputs.dtype == torch.int64 and within(inputs, 0, spec.inputs.vocabulary - 1)
            wanted += f" from 0 to {spec.inputs.vocabulary - 1}, padding included"
        else:
            sound = shape[1:] == (spec.inputs.features,) and inputs.dtype == torch.float32
    require(
        sound,
        f"the spec says that inputs are {wanted}, and {what} has {inputs.dtype} {tuple(inputs.shape)} "
        f"between {inputs.min():g} and {inputs.max():g}",
    )
    require(bool(inputs.isfinite().all()), f"inputs must be finite, and {what} has some that are not")


def check_lengths(spec: TaskSpec, batch: Batch, what: str = "a batch") -> None:
    """Lengths of inputs and targets are there where the spec says that they differ, and lie within the batch."""
    inputs, targets, ends = batch.inputs, batch.targets, batch.target_lengths
    require(
        spec.variable_length == (batch.lengths is not None),
        f"batches must have lengths where they vary, and only there; {what} has {_some(batch.lengths)}",
    )
    if batch.lengths is not None:
        require(
            batch.lengths.dtype == torch.int64 and within(batch.lengths, 1, inputs.shape[1]),
            f"lengths must be int64 between 1 and the {inputs.shape[1]} steps of {what}",
        )
    require(
        (spec.output_length is not None) == (ends is not None),
        "batches must have target_lengths where outputs have a length of their own, and only there; "
        f"{what} has {_some(ends)}",
    )
    if ends is not None and spec.output_length is not None:
        steps = targets.shape[1] if targets.dim() > 1 else 0
        require(
            0 < steps <= spec.output_length,
            f"targets must have 1 to output_length = {spec.output_length} steps; {what} has {tuple(targets.shape)}",
        )
        require(
            ends.dtype == torch.int64 and ends.shape == targets.shape[:1] and within(ends, 1, steps),
            f"target_lengths must be int64 between 1 and the {steps} steps of the targets, one a row, in {what}",
        )


def _some(lengths: Tensor | None) -> str:
    return "none" if lengths is None else "some"


def check_steps(spec: TaskSpec, batch: Batch, what: str = "a batch") -> None:
    """Scored steps and masks are of the steps that are predicted, and leave every row something to score."""
    if spec.scored_steps is not None:
        first, stop = spec.scored_steps
        require(
            0 <= first < stop <= (spec.output_length or spec.sequence.length),
            f"scored_steps {spec.scored_steps} lie outside the sequence",
        )
    if batch.mask is not None:
        require(spec.predicts != "last step", f"{what} has a mask of steps, and the spec predicts once a row")
        wanted = tuple(counted(spec, batch._replace(mask=None)).shape)
        require(
            batch.mask.dtype == torch.bool and batch.mask.shape == wanted,
            f"mask must be bool {wanted}; {what} has {batch.mask.dtype} {tuple(batch.mask.shape)}",
        )
        require(
            bool(batch.scored(spec).any(dim=1).all()),
            f"mask must leave at least one step of every row to score, and in {what} it does not",
        )


def counted(spec: TaskSpec, batch: Batch) -> Tensor:
    """Which steps count in any way, those outside `scored_steps` too: ``Bool[Tensor, "batch time"]``."""
    return batch.scored(replace(spec, scored_steps=None))


def check_targets(spec: TaskSpec, batch: Batch, what: str = "a training batch") -> None:
    """A training batch's targets fit a prediction: class numbers, or what is predicted itself."""
    targets = batch.targets
    shape = prediction_shape(spec, batch.inputs, targets)
    if isinstance(spec.outputs, Classes):
        fits = targets.shape == shape[:-1]
        labels = targets[counted(spec, batch)] if fits and targets.dim() == 2 else targets
        sound = (
            targets.shape == shape[:-1] and targets.dtype == torch.int64 and within(labels, 0, spec.outputs.count - 1)
        )
        wanted = f"int64 {shape[:-1]} from 0 to {spec.outputs.count - 1}"
    else:
        sound = targets.shape == shape and targets.dtype == torch.float32
        wanted = f"float32 {shape}"
    require(
        sound,
        f"targets must be {wanted}; {what} has {targets.dtype} {tuple(targets.shape)} between {targets.min():g} and "
        f"{targets.max():g}",
    )
    require(
        not targets.is_floating_point() or bool(targets.isfinite().all()),
        f"targets must be finite, and {what} has some that are not",
    )
    if isinstance(spec.outputs, Classes) and spec.outputs.end is not None and batch.target_lengths is not None:
        ended = (targets == spec.outputs.end) & counted(spec, batch._replace(mask=None))
        last = torch.arange(targets.shape[1]) == batch.target_lengths[:, None] - 1
        require(
            torch.equal(ended, last),
            f"class {spec.outputs.end} ends an output: it must be the last of every target, and at no other step",
        )
