"""What models have in common whose readout alone is fitted, by ridge regression, in place of an optimiser.

The readout is affine in what the model makes of its inputs, fixed features; its weights W minimise

    sum over the counted steps of |W (h_t, 1) - y_t|^2 + ridge * mean |h|^2 * count * |W|^2,

without a penalty on the intercept. For classes y_t is one-hot, and the logits are the answers times a number that makes
the cross-entropy on the validation set smallest. The steps come in blocks, and a QR decomposition takes in one after
the other, in double precision: smooth series have Gram matrices so near to singular that their solutions would be of
few digits.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.heads import last_state
from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.spec import Classes, Images, TaskSpec, Tokens
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError, require_positive

GRID = (1e-12, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Ridges that are tried on the validation set."""

SCALES = tuple(2.0**power for power in range(7))
"""By which the answers of a regression on classes are multiplied to be logits."""

LARGEST = 1000
"""Features of a step at most: their products are held, and decomposed."""


class RidgeModel(SequenceModel):
    """A sequence model whose readout is fitted by ridge regression.

    Subclasses give features of every step, by `states`, `step`, or both, from buffers that are not fitted.

    Args:
        spec: The task to serve.
        features: Numbers of a step that the readout reads.
        ridge: Penalty, over the mean square of a feature; None: of a grid the best on the validation set.
        steps: How many counted steps are fitted to at most.
    """

    @abstractmethod
    def __init__(self, spec: TaskSpec, features: int, ridge: float | None, steps: int) -> None:
        if ridge is not None and not 0 <= ridge < math.inf:
            raise UserError(f"ridge is {ridge}; it must be 0 or more, or null to be chosen")
        require_positive(steps=steps)
        if features > LARGEST:
            raise UserError(
                f"{type(self).__name__} would have {features} features a step, and at most {LARGEST} can be fitted"
            )
        super().__init__(spec, features)
        self.ridge, self.steps = ridge, steps

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses images as answers: pixels end in a sigmoid, and the readout is linear."""
        reason = super().supports(spec, **hyperparameters)
        if reason is None and isinstance(spec.outputs, Images):
            return "its readout is linear, and the task asks for images"
        return reason

    @torch.no_grad()
    def fit(self, task: Task) -> None:
        """Set the readout from the task's training batches, and the penalty from its validation set."""
        triangle = self._triangle(task)
        size = triangle.shape[1] - self.head.affine.out_features
        square, moment = triangle[:size, :size], triangle[:size, size:]
        validation = self._validation(task)
        tried = GRID if self.ridge is None else (self.ridge,)
        solutions = [_solved(square, moment, ridge) for ridge in tried]
        weights = min(solutions, key=lambda one: sum(float((x @ one - y).square().sum()) for x, y in validation))
        scale = self._scale(weights, validation)
        self.head.affine.weight.copy_(scale * weights[:-1].T)
        self.head.affine.bias.copy_(scale * weights[-1])

    def _validation(self, task: Task) -> list[tuple[Tensor, Tensor]]:
        """Features and targets of the validation set; where it asks for a rollout, of the last training batches."""
        batches = [*task.evaluation_batches("validation")]
        trained, steps = task.train_batch(0), task.protocol.max_steps
        if any(batch.targets.shape[2:] != trained.targets.shape[2:] or _apart(batch, self.spec) for batch in batches):
            batches = [task.train_batch(step) for step in range(max(0, steps - 10), steps)]
        return [self._counted(batch) for batch in batches]

    def _triangle(self, task: Task) -> Float[Tensor, "features columns"]:
        """The triangular factor of all counted steps' features, with 1, beside their targets."""
        triangle, seen = torch.empty(0), 0
        for x, y in self._blocks(task):
            block = torch.cat((x, y), dim=1)
            triangle = torch.linalg.qr(torch.cat((triangle, block)) if seen else block, mode="r").R
            seen += len(x)
            if seen >= self.steps:
                break
        missing = triangle.shape[1] - len(triangle)
        return nn.functional.pad(triangle, (0, 0, 0, max(0, missing)))

    def _blocks(self, task: Task) -> Iterator[tuple[Tensor, Tensor]]:
        """Features and targets of the counted steps, several batches at a time."""
        batches = (self._counted(task.train_batch(step)) for step in range(task.protocol.max_steps))
        while block := _about(batches, 4 * (self.head.affine.in_features + 1)):
            yield torch.cat([x for x, _ in block]), torch.cat([y for _, y in block])

    def _counted(self, batch: Batch) -> tuple[Float[Tensor, "steps features"], Float[Tensor, "steps outputs"]]:
        """Features, with 1, and targets of the steps that count, on the CPU in double precision."""
        moved = batch.to(self.device)
        states = self.states(self.embedding(moved.inputs), moved.lengths)
        targets = moved.targets
        if self.spec.predicts == "last step":
            states = last_state(states, moved.lengths)
        else:
            counted = moved.scored(self.spec)
            states, targets = states[counted], targets[counted]
        if isinstance(self.spec.outputs, Classes):
            targets = nn.functional.one_hot(targets, self.spec.outputs.count)
        x = nn.functional.pad(states.double().cpu(), (0, 1), value=1.0)
        return x, targets.double().cpu().flatten(1)

    def _scale(self, weights: Tensor, validation: list[tuple[Tensor, Tensor]]) -> float:
        if not isinstance(self.spec.outputs, Classes):
            return 1.0

        def cross_entropy(scale: float) -> float:
            return -sum(float(((scale * x @ weights).log_softmax(1) * y).sum()) for x, y in validation)

        return min(SCALES, key=cross_entropy)


def _apart(batch: Batch, spec: TaskSpec) -> bool:
    """Whether a batch asks for more, or for other steps, than a training batch of the task."""
    if spec.predicts == "every step":
        return batch.targets.shape[1] != batch.inputs.shape[1]
    wanted = 0 if isinstance(spec.outputs, Classes) else spec.outputs.features  # type: ignore[union-attr]
    return batch.targets.shape[1:] != ((wanted,) if wanted else ())


def inputs_of(spec: TaskSpec) -> int:
    """Numbers of a step of the task's inputs as vectors, symbols one-hot."""
    sequence = spec.sequence
    return sequence.vocabulary if isinstance(sequence, Tokens) else sequence.features


def _about(batches: Iterator[tuple[Tensor, Tensor]], steps: int) -> list[tuple[Tensor, Tensor]]:
    """The next batches, until there are so many steps."""
    found: list[tuple[Tensor, Tensor]] = []
    for batch in batches:
        found.append(batch)
        if sum(len(x) for x, _ in found) >= steps:
            break
    return found


def _solved(
    square: Float[Tensor, "features features"], moment: Float[Tensor, "features outputs"], ridge: float
) -> Float[Tensor, "features outputs"]:
    """The weights under a penalty, from the triangular factor; those of least norm where they are not unique."""
    size = len(square)
    penalty = math.sqrt(ridge * float(square[:, :-1].square().sum()) / max(1, size - 1))
    below = penalty * torch.eye(size, dtype=square.dtype)
    below[-1, -1] = 0.0
    rows = torch.cat((torch.cat((square, below)), nn.functional.pad(moment, (0, 0, 0, size))), dim=1)
    if ridge == 0:
        return torch.linalg.lstsq(rows[:, :size], rows[:, size:], driver="gelsd").solution
    triangle = torch.linalg.qr(rows, mode="r").R
    return torch.linalg.solve_triangular(triangle[:size, :size], triangle[:size, size:], upper=True)
