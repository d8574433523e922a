"""What a spec says of tensors, and what the exams ask with."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from rnnae_bench.contracts.spec import Classes, Images, TaskSpec, Tokens, Values
from rnnae_bench.contracts.task import Batch

SHARDS = (slice(0, None, 2), slice(1, None, 2))
"""The rows of each of two devices."""


def prediction_shape(spec: TaskSpec, inputs: Tensor, targets: Tensor | None = None) -> tuple[int, ...]:
    """Shape of the prediction for these inputs; of outputs of their own length, in training where targets are given."""
    rows = len(inputs)
    if isinstance(spec.outputs, Images):
        return (rows, spec.outputs.channels, spec.outputs.height, spec.outputs.width)
    size = spec.outputs.count if isinstance(spec.outputs, Classes) else spec.outputs.features
    if spec.predicts == "last step":
        return (rows, size)
    if spec.predicts == "own length":
        return (rows, spec.output_length or 0 if targets is None else targets.shape[1], size)
    return (rows, spec.sequence.length if isinstance(spec.inputs, Images) else inputs.shape[1], size)


def answer(spec: TaskSpec, inputs: Tensor, targets: Tensor | None = None) -> Tensor:
    """A prediction at random, of each row by itself, uniform in [0, 1) so that it will do for pixels too."""
    shape = prediction_shape(spec, inputs, targets)
    noise = torch.rand(shape[1:], generator=torch.Generator().manual_seed(0))
    # Each row's own share of it, from its inputs alone.
    share = 0.5 + 0.5 * (inputs.double().flatten(1) @ torch.arange(1, inputs[0].numel() + 1).double().sqrt()).sin()
    return noise * share.float().view(-1, *[1] * (len(shape) - 1))


class StandIn:
    """Stands in for a model where a task is examined: it answers at random, and has a code where codes are limited.

    Args:
        spec: Of the task.
    """

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec
        if spec.code_limit is not None:
            self.code = self._code

    def __call__(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """A prediction."""
        return answer(self.spec, inputs)

    def _code(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """As many numbers of each row as may be, from the row alone."""
        return answer(replace(self.spec, outputs=Values(self.spec.code_limit or 0), predicts="last step"), inputs)


def real_steps(batch: Batch) -> Tensor:
    """Which steps are no padding: ``Bool[Tensor, "batch time"]``."""
    steps = torch.arange(batch.inputs.shape[1])
    return steps.expand(batch.inputs.shape[:2]) < (len(steps) if batch.lengths is None else batch.lengths[:, None])


def altered_inputs(spec: TaskSpec, inputs: Tensor, where: Tensor) -> Tensor:
    """The inputs with other values at the chosen steps ``Bool[Tensor, "batch time"]``."""
    if isinstance(spec.inputs, Tokens):
        return torch.where(where, (inputs + 1) % spec.inputs.vocabulary, inputs)
    return torch.where(where[..., None], inputs + 1, inputs)


def within(tensor: Tensor, low: int, high: int) -> bool:
    """Whether all values lie between two, ends included."""
    return bool(tensor.min() >= low and tensor.max() <= high)


def require(condition: bool, message: str) -> None:
    """Raise `AssertionError` where a condition does not hold."""
    # Not an assert statement: the exam must hold under `python -O` too.
    if not condition:
        raise AssertionError(message)


def require_none(objection: str | None) -> None:
    """Raise `AssertionError` with an objection, if there is one."""
    require(objection is None, objection or "")


def same(one: Batch, two: Batch) -> bool:
    """Whether two batches hold the same, field by field."""
    pairs = zip(one, two, strict=True)
    return all(a is b if a is None or b is None else torch.equal(a, b) for a, b in pairs)


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches laid together, padded with 0 to the longest of them."""

    def together(tensors: Sequence[Tensor | None]) -> Tensor | None:
        found = [one for one in tensors if one is not None]
        if not found:
            return None
        if found[0].dim() > 1:
            steps = max(one.shape[1] for one in found)
            found = [pad(one, (0, 0) * (one.dim() - 2) + (0, steps - one.shape[1])) for one in found]
        return torch.cat(found)

    return Batch(*map(together, zip(*batches, strict=True)))  # type: ignore[arg-type]
