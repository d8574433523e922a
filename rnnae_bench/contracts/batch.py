"""What passes from a task to a model: inputs, targets, and what is known of each row's steps."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from rnnae_bench.contracts.spec import TaskSpec, Tokens, Vectors


class Batch(NamedTuple):
    """What passes from a task to a model."""

    inputs: Tensor
    """Tokens ``[batch time]``, vectors ``[batch time features]`` or, without time, ``[batch features]``, or images
    ``[batch channel height width]``."""
    targets: Tensor
    """What the prediction is compared with; the same leading axes as the prediction."""
    lengths: Int[Tensor, " batch"] | None = None
    """Steps of each sequence where they differ; the steps beyond are padding."""
    mask: Bool[Tensor, "batch time"] | None = None
    """Which steps of each row's prediction are scored, where that differs from row to row; None: see `scored`."""
    target_lengths: Int[Tensor, " batch"] | None = None
    """Steps of each target where outputs have a length of their own; the steps beyond are padding."""

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """The same batch with a function applied to each of its tensors."""
        return Batch(*(None if one is None else function(one) for one in self))  # type: ignore[arg-type]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return self.map(lambda one: one.to(device, non_blocking=True))

    def rows(self, index: slice | Tensor) -> "Batch":
        """The same batch with only the given rows, laid out in one piece."""
        return self.map(lambda one: one[index].contiguous())

    def scored(self, spec: TaskSpec) -> Bool[Tensor, "batch time"]:
        """Which steps of the prediction are scored: those of the spec, without padding, where `mask` does not say no.

        Time is that of the prediction: the steps of the inputs, or, of outputs of their own length, of the targets.

        Raises:
            ValueError: the prediction has no time axis.
        """
        if spec.predicts == "last step":
            raise ValueError(f"task '{spec.task}' predicts once a row, so that there are no steps to score")
        targets = spec.predicts == "own length"
        lengths = self.target_lengths if targets else self.lengths
        rows, steps = len(self.targets), spec.sequence.length
        if targets or isinstance(spec.inputs, Tokens | Vectors):
            steps = (self.targets if targets else self.inputs).shape[1]
        step = torch.arange(steps, device=self.targets.device)
        first, stop = spec.scored_steps or (0, steps)
        if lengths is None:
            chosen = ((step >= first) & (step < stop)).expand(rows, steps)
        else:
            ends = lengths.unsqueeze(1)
            chosen = (step >= (ends - 1).clamp(max=first)) & (step < ends.clamp(max=stop))
        return chosen if self.mask is None else chosen & self.mask


def training_prediction(model: Callable[..., Tensor], batch: Batch, spec: TaskSpec) -> Tensor:
    """A model's prediction as it trains: of outputs of their own length with their targets, for teacher forcing.

    Args:
        model: Called with the inputs, their lengths and, for such outputs only, ``targets=``.
        batch: What it is to predict.
        spec: Of the task.
    """
    if spec.predicts == "own length":
        return model(batch.inputs, batch.lengths, targets=batch.targets)
    return model(batch.inputs, batch.lengths)
