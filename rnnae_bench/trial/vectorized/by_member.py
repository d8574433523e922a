"""Probes of which every member of a vectorized trial has its own: those that score answers."""

import math
from typing import Any, TypeVar

from lightning import LightningModule, Trainer

from rnnae_bench.contracts.card import Primary
from rnnae_bench.contracts.task import Batch
from rnnae_bench.probes import Evaluation, ExampleScores, Probe, Samples
from rnnae_bench.trial.vectorized.module import VectorizedModule
from rnnae_bench.trial.vectorized.task import VectorizedTask

_P = TypeVar("_P", bound=Probe)


class ByMember(Probe):
    """Tells the probe of every member that still learns what that member answered."""

    members: list[Any]
    """The members' probes."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the training."""
        for _, one in living(self.members, pl_module):
            one.on_train_start(trainer, pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a set."""
        for _, one in living(self.members, pl_module):
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
        """Take a batch that every member answered; `outputs` has the predictions by member."""
        for member, one in living(self.members, pl_module):
            one.on_validation_batch_end(trainer, pl_module, outputs[member], batch, batch_idx, dataloader_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the validation set."""
        for _, one in living(self.members, pl_module):
            one.on_validation_epoch_end(trainer, pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a set."""
        for _, one in living(self.members, pl_module):
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
        """Take a batch that every member answered; `outputs` has the predictions by member."""
        for member, one in living(self.members, pl_module):
            one.on_test_batch_end(trainer, pl_module, outputs[member], batch, batch_idx, dataloader_idx)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a set."""
        for _, one in living(self.members, pl_module):
            one.on_test_epoch_end(trainer, pl_module)


class VectorizedEvaluation(ByMember, Evaluation):
    """An `Evaluation` for every member that still learns.

    Args:
        task: Gives the metrics.
        primary: The metric and threshold that count as solved.
    """

    def __init__(self, task: VectorizedTask, primary: Primary) -> None:
        super().__init__(task, primary)
        self.members = [Evaluation(own, primary) for own in task.tasks]

    @property
    def validation(self) -> dict[str, float]:
        """Of the best member at its last evaluation, by the primary metric; by name."""
        looks = [one.validation for one in self.members if one.validation]
        sign = 1 if self._primary.direction == "maximize" else -1
        # Not a number is never the best.
        return max(looks, key=lambda look: _or_worst(sign * look[self._primary.metric]), default={})


class VectorizedExampleScores(ByMember, ExampleScores):
    """An `ExampleScores` for every member that still learns.

    Args:
        task: Gives the scores.
        metric: Which metric.
    """

    def __init__(self, task: VectorizedTask, metric: str) -> None:
        super().__init__(task, metric)
        self.members = [ExampleScores(task, metric) for _ in task.tasks]


class VectorizedSamples(ByMember, Samples):
    """A `Samples` for every member that still learns.

    Args:
        task: Gives the rows.
        evaluation: Knows what was calibrated.
    """

    def __init__(self, task: VectorizedTask, evaluation: VectorizedEvaluation) -> None:
        super().__init__(task, evaluation)
        self.members = [Samples(one, mine) for one, mine in zip(task.tasks, evaluation.members, strict=True)]

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take a batch that every member answered, each beside the model that answered."""
        assert isinstance(pl_module, VectorizedModule)
        for member, one in living(self.members, pl_module):
            model = pl_module.model(member)
            one.on_test_batch_end(trainer, model, outputs[member], batch, batch_idx, dataloader_idx)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a set, for every member with its model."""
        assert isinstance(pl_module, VectorizedModule)
        for member, one in living(self.members, pl_module):
            one.on_test_epoch_end(trainer, pl_module.model(member))


def living(probes: list[_P], module: LightningModule) -> list[tuple[int, _P]]:
    """The members that still learn, each with its probe."""
    assert isinstance(module, VectorizedModule)
    return [(member, probes[member]) for member in module.living]


def _or_worst(value: float) -> float:
    return -math.inf if math.isnan(value) else value
