"""The task's metrics on the validation set while training, and on the test set after it."""

import time
from typing import Any

import numpy as np
from lightning import LightningModule, Trainer
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from rnnae_bench.contracts.card import Primary
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import update_metrics
from rnnae_bench.probes.base import Probe
from rnnae_bench.records.history import Series


class NoPrediction(UserError):
    """A model's own ``validation_step`` or ``test_step`` returned no prediction, and there is nothing to score."""


class Evaluation(Probe):
    """Scores what the model's ``validation_step`` and ``test_step`` return (the prediction).

    Columns ``validation/METRIC``; measures ``steps_to_solved`` and ``seconds_to_solved``, at the first evaluation on
    the validation set that found the primary metric at its threshold (None where none did; seconds include these), and
    ``calibration/NAME``, where the task has a `reference` set: its answers calibrate, and are not scored.

    Args:
        task: Gives the metrics.
        primary: The metric and threshold that count as solved.
    """

    subject = "validation"
    kept = ("_looks", "_seconds")
    essential = True

    def __init__(self, task: Task, primary: Primary) -> None:
        self._task = task
        self._validation: MetricCollection = task.metrics()
        self._now: Metric | MetricCollection = self._validation
        self._primary = primary
        self._looks: list[tuple[int, float, dict[str, float]]] = []
        self._started = time.perf_counter()
        self._seconds = 0.0
        self.calibrated: dict[str, float] = {}
        """What the reference set came to, by name."""
        self.after: dict[str, dict[str, float]] = {}
        """Metrics on the sets that are scored after the training, by set and name, once they are measured."""

    @property
    def test(self) -> dict[str, float]:
        """Test-set metrics by name, once they are measured."""
        return self.after.get("test", {})

    @property
    def by_set(self) -> dict[str, dict[str, float]]:
        """Metrics of all sets by name: at the last evaluation on the validation set, and after the training."""
        return {"test": {}, "validation": self.validation, **self.after}

    @property
    def validation(self) -> dict[str, float]:
        """Validation metrics at the last evaluation, by name."""
        return self._looks[-1][2] if self._looks else {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; where the trial goes on from a checkpoint, from what it showed there."""
        self._started = time.perf_counter() - self._seconds

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Empty the metrics and bring them to the model's device."""
        self._validation.to(pl_module.device).reset()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score one batch."""
        update_metrics(self._validation, _prediction(outputs, "validation_step"), batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep this look's metrics, with the step and the seconds since training began."""
        values = {name: float(value) for name, value in self._validation.compute().items()}
        self._looks.append((trainer.global_step, time.perf_counter() - self._started, values))

    def state_dict(self) -> dict[str, Any]:
        """The looks so far, and the clock."""
        self._seconds = time.perf_counter() - self._started
        return super().state_dict()

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the metrics of the set that is tested, on the model's device."""
        name, task = tested_set(trainer), self._task
        fresh = task.calibration() if name == task.reference else task.test_metrics(name, self.calibrated)
        self._now = fresh.to(pl_module.device)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score one batch."""
        update_metrics(self._now, _prediction(outputs, "test_step"), batch)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metrics of the set that was tested."""
        name, values = tested_set(trainer), {key: float(value) for key, value in self._now.compute().items()}
        if name == self._task.reference:
            self.calibrated = values
        else:
            self.after[name] = values
        if name == self._task.evaluation_sets[-1]:
            self.after["test"] |= self._task.over_sets(self.after)

    def series(self) -> dict[str, Series]:
        """Validation metrics by column."""
        if not self._looks:
            return {}
        steps = np.array([step for step, _, _ in self._looks], dtype=np.int64)
        return {
            f"validation/{name}": Series(steps, np.array([values[name] for _, _, values in self._looks]))
            for name in self._looks[0][2]
        }

    def measures(self) -> dict[str, Any]:
        """When the task was first solved, and what was calibrated."""
        solved = (look for look in self._looks if self._primary.is_solved(look[2][self._primary.metric]))
        step, seconds, _ = next(solved, (None, None, {}))
        calibrated = {f"calibration/{name}": value for name, value in self.calibrated.items()}
        return {"steps_to_solved": step, "seconds_to_solved": seconds, **calibrated}


def tested_set(trainer: Trainer) -> str:
    """The evaluation set that the test goes through."""
    task: Task = trainer.datamodule  # type: ignore[attr-defined]
    return task.tested


def _prediction(outputs: Any, step: str) -> Tensor:
    """What a step returned, in float32.

    Raises:
        NoPrediction: it is no tensor.
    """
    if not isinstance(outputs, Tensor):
        raise NoPrediction(
            f"the model's {step} returned {type(outputs).__name__}, and what is scored is the prediction; "
            f"return self(batch.inputs, batch.lengths) there, as a tensor"
        )
    return outputs.float()
