"""The probes of a trial, measuring K members at once; what each would have measured alone is split off at the end."""

import math
from collections.abc import Callable
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float
from lightning import LightningModule, Trainer
from torch import Tensor

from rnnae_bench.contracts.batch import training_prediction
from rnnae_bench.contracts.card import Primary
from rnnae_bench.contracts.task import Batch
from rnnae_bench.probes import (
    Cost,
    Diverged,
    Evaluation,
    ExampleScores,
    GradientFlow,
    GradientNorms,
    Probe,
    Samples,
    TrainingCurve,
    Underflow,
)
from rnnae_bench.probes.last_step import last_step_loss
from rnnae_bench.trial.outcome import Measured, measured
from rnnae_bench.trial.vectorized.module import VectorizedModule
from rnnae_bench.trial.vectorized.task import VectorizedTask

_P = TypeVar("_P", bound=Probe)


class MemberGradientFlow(GradientFlow):
    """`GradientFlow` of one member, whose forward pass the training does not do by itself."""

    def profile(self, trainer: Trainer, module: LightningModule, step: int, batch: Batch) -> None:
        """Take both readings at an optimiser step, before it is done.

        Args:
            trainer: Of all members.
            module: The member.
            step: From 1.
            batch: What it learns from in this step.
        """
        self.on_optimizer_step_start(trainer, module, step, batch)
        if self._watch is not None:
            with self.measuring("gradient_flow/training_loss"):
                with trainer.precision_plugin.train_step_context():
                    prediction = training_prediction(module, batch, self.task.spec)
                    self._watch.differentiate(self.task.total_loss(prediction, batch))
                self.on_optimizer_step(trainer, module, step, None, batch)


class VectorizedGradientFlow(GradientFlow):
    """`GradientFlow` on the last scored step's loss of every member.

    Models that are one through ``torch.func`` have no states ``[K ...]`` to be read; there the profiles of each are
    taken by a pass of its own.

    Args:
        task: The members' task.
    """

    def __init__(self, task: VectorizedTask) -> None:
        super().__init__(task)
        self.members = [MemberGradientFlow(own) for own in task.tasks]
        self._one_by_one = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the fixed batch."""
        assert isinstance(pl_module, VectorizedModule)
        self._one_by_one = not pl_module.has_model_axis
        if not self._one_by_one:
            super().on_train_start(trainer, pl_module)
            return
        for one in self.members:
            one.on_train_start(trainer, pl_module)

    def on_optimizer_step_start(self, trainer: Trainer, pl_module: LightningModule, step: int, batch: Any) -> None:
        """Read the last step's loss, and watch the training's own forward and backward pass."""
        if not self._one_by_one:
            super().on_optimizer_step_start(trainer, pl_module, step, batch)
        elif step in self.steps:
            assert isinstance(pl_module, VectorizedModule)
            for member, one in _living(self.members, pl_module):
                model = pl_module.model(member).train()
                one.profile(trainer, model, step, batch.map(itemgetter(member)))
                model.eval()

    def of_member(self, member: int) -> GradientFlow:
        """What was measured of one member."""
        return self.members[member] if self._one_by_one else super().of_member(member)

    def _last_step_loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        task = self.task
        assert isinstance(task, VectorizedTask)
        losses = task.each(lambda answer, own: last_step_loss(task.first, answer, own), prediction, batch)
        assert isinstance(losses, Tensor)
        return losses.sum()


class VectorizedTrainingCurve(TrainingCurve):
    """`TrainingCurve` of every member; tells of members whose loss is not finite, and raises when none is left.

    Args:
        learning_rates: Each member's peak.
        diverged: Called with a member and what happened, once every callback has seen the step.
    """

    def __init__(self, learning_rates: list[float], diverged: Callable[[int, Diverged], None]) -> None:
        super().__init__()
        self._peaks = np.array(learning_rates)
        self._diverged = diverged

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Note the learning rates that the coming step uses."""
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
        self._rate = self._peaks * self._rate

    def _check(self, trainer: Trainer, steps: list[int], finite: np.ndarray) -> None:
        module = trainer.lightning_module
        assert isinstance(module, VectorizedModule)
        for member in [one for one in module.living if not finite[:, one].all()]:
            error = Diverged(steps[int(finite[:, member].argmin())])
            self._diverged(member, error)
            module.freeze_member(member)
            if not module.living:
                raise error


class VectorizedEvaluation(Evaluation):
    """An `Evaluation` for every member that still learns.

    Args:
        task: Whence the metrics.
        primary: The metric and threshold that count as solved.
    """

    def __init__(self, task: VectorizedTask, primary: Primary) -> None:
        super().__init__(task, primary)
        self.members = [Evaluation(own, primary) for own in task.tasks]

    @property
    def validation(self) -> dict[str, float]:
        """Of the best member at its last look, by the primary metric; by name."""
        looks = [one.validation for one in self.members if one.validation]
        sign = 1 if self._primary.direction == "maximize" else -1
        # Not a number is never the best.
        return max(looks, key=lambda look: _or_worst(sign * look[self._primary.metric]), default={})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clocks."""
        for _, one in _living(self.members, pl_module):
            one.on_train_start(trainer, pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Empty the metrics."""
        for _, one in _living(self.members, pl_module):
            one.on_validation_epoch_start(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score one batch, answered by every member; `outputs` has the predictions by member."""
        for member, one in _living(self.members, pl_module):
            one.on_validation_batch_end(trainer, pl_module, outputs[member], batch, batch_idx, dataloader_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep this look's metrics."""
        for _, one in _living(self.members, pl_module):
            one.on_validation_epoch_end(trainer, pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Empty the metrics."""
        for _, one in _living(self.members, pl_module):
            one.on_test_epoch_start(trainer, pl_module)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score one batch, answered by every member; `outputs` has the predictions by member."""
        for member, one in _living(self.members, pl_module):
            one.on_test_batch_end(trainer, pl_module, outputs[member], batch, batch_idx, dataloader_idx)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the test metrics."""
        for _, one in _living(self.members, pl_module):
            one.on_test_epoch_end(trainer, pl_module)


class VectorizedExampleScores(ExampleScores):
    """An `ExampleScores` for every member that still learns.

    Args:
        task: Whence the scores.
        metric: Which metric.
    """

    def __init__(self, task: VectorizedTask, metric: str) -> None:
        super().__init__(task, metric)
        self.members = [ExampleScores(task, metric) for _ in task.tasks]

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget all scores."""
        for _, one in _living(self.members, pl_module):
            one.on_test_epoch_start(trainer, pl_module)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score each row of a batch, answered by every member."""
        for member, one in _living(self.members, pl_module):
            one.on_test_batch_end(trainer, pl_module, outputs[member], batch, batch_idx, dataloader_idx)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the scores."""
        for _, one in _living(self.members, pl_module):
            one.on_test_epoch_end(trainer, pl_module)


class VectorizedSamples(Samples):
    """A `Samples` for every member that still learns.

    Args:
        task: Whence the rows.
    """

    def __init__(self, task: VectorizedTask) -> None:
        super().__init__(task)
        self.members = [Samples(task) for _ in task.tasks]

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the first row."""
        for _, one in _living(self.members, pl_module):
            one.on_test_epoch_start(trainer, pl_module)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep rows of a batch, answered by every member; `outputs` has the predictions by member."""
        for member, one in _living(self.members, pl_module):
            one.on_test_batch_end(trainer, pl_module, outputs[member], batch, batch_idx, dataloader_idx)


def _living(probes: list[_P], module: LightningModule) -> list[tuple[int, _P]]:
    """The members that still learn, each with its probe."""
    assert isinstance(module, VectorizedModule)
    return [(member, probes[member]) for member in module.living]


def _or_worst(value: float) -> float:
    return -math.inf if math.isnan(value) else value


class MemberProbes:
    """The default probes of K members.

    Args:
        task: The members' tasks.
        primary: The metric and threshold that count as solved.
        learning_rates: Each member's peak.
        diverged: As of `VectorizedTrainingCurve`.
    """

    def __init__(
        self,
        task: VectorizedTask,
        primary: Primary,
        learning_rates: list[float],
        diverged: Callable[[int, Diverged], None],
    ) -> None:
        self._norms = GradientNorms()
        self._underflow = Underflow(members=len(learning_rates))
        self._flow = VectorizedGradientFlow(task)
        self._evaluation = VectorizedEvaluation(task, primary)
        self._examples = VectorizedExampleScores(task, primary.metric)
        self._samples = VectorizedSamples(task)
        self._cost = Cost()
        self._curve = VectorizedTrainingCurve(learning_rates, diverged)

    @property
    def callbacks(self) -> list[Probe]:
        """All of them, in the order of a single trial's."""
        return [
            self._norms,
            self._underflow,
            self._flow,
            self._evaluation,
            self._examples,
            self._samples,
            self._cost,
            self._curve,
        ]

    @property
    def seconds(self) -> float:
        """Training seconds of all members together."""
        return float(self._cost.measures()["training_seconds"])

    def evaluation(self, member: int) -> Evaluation:
        """What scored a member."""
        return self._evaluation.members[member]

    def measured(self, member: int) -> Measured:
        """What they have to say of one member so far; of all seconds it has its share."""
        members = len(self._evaluation.members)
        mine: list[Probe] = [
            self._norms.of_member(member),
            self._underflow.of_member(member),
            self._flow.of_member(member),
            self.evaluation(member),
            self._examples.members[member],
            self._samples.members[member],
            self._cost,
            self._curve.of_member(member),
        ]
        found = measured(mine)
        measures = found.measures
        for name in ("training_seconds", "seconds_to_solved"):
            if measures[name] is not None:
                measures[name] /= members
        if measures["steps_per_second"] is not None:
            measures["steps_per_second"] *= members
        if measures["parameters"] is not None:
            measures["parameters"] //= members
        return found
