"""What models have in common whose readout alone is fitted, by ridge regression, in place of an optimiser.

The readout is affine in what the model makes of its inputs, fixed features; its weights W and intercept b minimise

    sum over the counted steps of |W h_t + b - y_t|^2 + ridge * (counted steps) * (variance of a feature) * |W|^2,

with the mean of the features' variances over the counted steps: neither their unit, nor an offset, nor how often a row
comes again changes what a ridge does. For classes y_t is one-hot, and the logits are the answers times a number that
makes the cross-entropy on held-out rows smallest. The steps come in blocks, and a QR decomposition takes in one after
the other, in double precision: smooth series have Gram matrices so near to singular that their solutions would be of
few digits.

Where a task has the model go on alone at evaluation, fed with its own answers, small errors of the one step that is
fitted grow. There the first steps of a training row, which still depend on the zeros before it, are left out: the model
goes on from where they are forgotten. And the ridge is the one whose free runs on the validation set do best.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.card import Primary
from rnnae_bench.contracts.evaluation_sets import EvaluationSets
from rnnae_bench.contracts.heads import Head, last_state
from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.spec import Classes, Images, TaskSpec, Tokens, Values
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.metrics import update_metrics

GRID = (1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridges that are tried on the validation set."""

HELD_OUT = 2000
"""Rows of the validation set at most on which the error of a ridge is measured."""

FREE_RUNS = 100
"""The same, where a model goes on alone."""

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
        ridge: Penalty, over the variance of a feature; None: of a grid the best on the validation set.
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
        self.head = _PreciseHead(spec, features)
        self.ridge, self.steps = ridge, steps

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses images as answers: pixels end in a sigmoid, and the readout is linear."""
        reason = super().supports(spec, **hyperparameters)
        if reason is None and isinstance(spec.outputs, Images):
            return "its readout is linear, and the task asks for images"
        return reason

    @property
    def transient(self) -> int:
        """Steps of a row in which what is read still depends on the zeros before it."""
        return 0

    @torch.no_grad()
    def fit(self, task: Task) -> None:
        """Set the readout from the task's training batches, and the penalty from its validation set."""
        runs = free_runs(task)
        left_out = self.transient if runs is not None and self.spec.predicts == "every step" else 0
        triangle = self._triangle(task, left_out)
        tried = GRID if self.ridge is None else (self.ridge,)
        solutions = [solved(triangle, self.head.affine.in_features, ridge) for ridge in tried]
        if runs is None:
            held_out = self._held_out(task)
            weights = min(solutions, key=lambda one: sum(float((x @ one - y).square().sum()) for x, y in held_out))
            self._read_by(self._scale(weights, held_out) * weights)
        elif len(solutions) == 1:
            self._read_by(solutions[0])
        else:
            primary = _primary(task)
            self._read_by(min(solutions, key=lambda one: self._badness(one, task, primary, runs)))

    def _read_by(self, weights: Float[Tensor, "columns outputs"]) -> None:
        self.head.affine.weight.copy_(weights[1:].T)
        self.head.affine.bias.copy_(weights[0])

    def _badness(self, weights: Tensor, task: Task, primary: Primary, runs: Batch) -> float:
        """The primary metric of free runs under these weights, the less the better."""
        self._read_by(weights)
        metrics = task.metrics().to(self.device)
        update_metrics(metrics, task.predict(self, runs.to(self.device)), runs.to(self.device))
        found = float(metrics.compute()[primary.metric])
        signed = found if primary.direction == "minimize" else -found
        return signed if math.isfinite(signed) else math.inf

    def _held_out(self, task: Task) -> list[tuple[Tensor, Tensor]]:
        """Features and targets of held-out rows, in the form that is trained."""
        batch, size = task.held_out(HELD_OUT), task.protocol.evaluation_batch_size
        return [self._counted(batch.rows(slice(row, row + size))) for row in range(0, len(batch.targets), size)]

    def _triangle(self, task: Task, left_out: int) -> Float[Tensor, "columns columns"]:
        """The triangular factor of 1 and the features of all counted steps, beside their targets."""
        triangle, seen = torch.empty(0), 0
        for x, y in self._blocks(task, left_out):
            block = torch.cat((x, y), dim=1)
            triangle = torch.linalg.qr(torch.cat((triangle, block)) if seen else block, mode="r").R
            seen += len(x)
            if seen >= self.steps:
                break
        missing = triangle.shape[1] - len(triangle)
        return nn.functional.pad(triangle, (0, 0, 0, max(0, missing)))

    def _blocks(self, task: Task, left_out: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Features and targets of the counted steps, several batches at a time."""
        batches = (self._counted(task.train_batch(step), left_out) for step in range(task.protocol.max_steps))
        while block := _about(batches, 4 * (self.head.affine.in_features + 1)):
            yield torch.cat([x for x, _ in block]), torch.cat([y for _, y in block])

    def _counted(
        self, batch: Batch, left_out: int = 0
    ) -> tuple[Float[Tensor, "steps columns"], Float[Tensor, "steps outputs"]]:
        """1 and the features, and targets, of the steps that count, on the CPU in double precision.

        Args:
            batch: Whose steps.
            left_out: How many at the start of its rows do not count, of those before the last one.
        """
        moved = batch.to(self.device)
        states = self.states(self.embedding(moved.inputs), moved.lengths)
        targets = moved.targets
        if self.spec.predicts == "last step":
            states = last_state(states, moved.lengths)
        else:
            counted = moved.scored(self.spec).clone()
            counted[:, : min(left_out, counted.shape[1] - 1)] = False
            states, targets = states[counted], targets[counted]
        if isinstance(self.spec.outputs, Classes):
            targets = nn.functional.one_hot(targets, self.spec.outputs.count)
        x = nn.functional.pad(states.double().cpu(), (1, 0), value=1.0)
        return x, targets.double().cpu().flatten(1)

    def _scale(self, weights: Tensor, validation: list[tuple[Tensor, Tensor]]) -> float:
        if not isinstance(self.spec.outputs, Classes):
            return 1.0

        def cross_entropy(scale: float) -> float:
            return -sum(float(((scale * x @ weights).log_softmax(1) * y).sum()) for x, y in validation)

        return min(SCALES, key=cross_entropy)


class _PreciseHead(Head):
    """A readout in the precision of its weights: what was fitted may be small differences of large numbers."""

    def forward(self, states: Float[Tensor, "*axes features"]) -> Tensor:
        """As `Head.forward`, without automatic mixed precision."""
        with torch.autocast(states.device.type, enabled=False):
            return super().forward(states.to(self.affine.weight.dtype))


def free_runs(task: Task) -> Batch | None:
    """Rows of the validation set, where a model that reads them goes on alone: they have targets of other steps.

    Returns:
        None where the same is asked as in training, or something of another kind.
    """
    rows = FREE_RUNS if task.predicts_rows else 2**31
    asked, trained = EvaluationSets.held_out(task, rows), task.held_out(rows)
    alike = asked.inputs.shape == trained.inputs.shape and asked.targets.dim() == trained.targets.dim() > 1
    is_longer = alike and asked.targets.shape[1] != trained.targets.shape[1]
    return asked if is_longer and isinstance(task.spec.outputs, Values) else None


def _primary(task: Task) -> Primary:
    """What ranks models on a task: of its card the first primary metric that is measured."""
    measured = task.metrics()
    return next(one.primary for one in task.card().variants.values() if one.primary.metric in measured)


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


def solved(triangle: Float[Tensor, "columns columns"], features: int, ridge: float) -> Float[Tensor, "rows outputs"]:
    """Intercept and weights under a penalty, from the triangular factor; those of least norm where they vary.

    Below its first row, that of 1, it is the factor of what is left of the others without their means.
    """
    means = triangle[0, 1:] / triangle[0, 0]
    square, moment = triangle[1 : features + 1, 1 : features + 1], triangle[1 : features + 1, features + 1 :]
    penalty = math.sqrt(ridge / features) * float(square.norm())
    if penalty == 0:
        weights = torch.linalg.lstsq(square, moment, driver="gelsd").solution
    else:
        below = torch.cat((penalty * torch.eye(features, dtype=square.dtype), torch.zeros_like(moment)), dim=1)
        rows = torch.linalg.qr(torch.cat((torch.cat((square, moment), dim=1), below)), mode="r").R
        weights = torch.linalg.solve_triangular(rows[:features, :features], rows[:features, features:], upper=True)
    return torch.cat((means[None, features:] - means[:features] @ weights, weights))
