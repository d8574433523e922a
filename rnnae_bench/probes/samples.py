"""What the trained model makes of the test set, to be seen: a few rows, and what is drawn of all of them."""

from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer

from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.probes.answers import Answers, continuation
from rnnae_bench.probes.base import Probe
from rnnae_bench.probes.evaluation import Evaluation, tested_set
from rnnae_bench.probes.whole_set import WholeSet
from rnnae_bench.records.samples import LARGEST, encode


class Samples(Probe):
    """Keeps inputs, targets and prediction of the rows that the task names (`Task.samples`), on one device.

    Beside them, where the task and the model have it: the confusion matrix, codes, scores of what is unusual, and how
    the model goes on alone. Asking the model for that draws no random number of the training's.

    Args:
        task: Gives the rows.
        evaluation: Knows what was calibrated.
    """

    subject = "samples"

    def __init__(self, task: Task, evaluation: Evaluation) -> None:
        self._task, self._evaluation = task, evaluation
        self._answers: Answers | None = None
        self._whole: WholeSet | None = None
        self._arrays: dict[str, np.ndarray] = {}

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the first row, where the test set comes next."""
        if tested_set(trainer) != "test":
            return
        self._answers, self._whole, self._arrays = None, None, {}
        if trainer.world_size > 1:
            self.absent[self.subject] = f"each of {trainer.world_size} devices sees a part of the test set"
            return
        self._answers, self._whole = Answers(self._task, self._task.samples()), WholeSet(self._task)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the rows that are among those of a batch."""
        if tested_set(trainer) != "test" or self._answers is None:
            return
        with torch.random.fork_rng(_devices(pl_module)):
            self._answers.add(pl_module, batch, outputs)
            if self._whole is not None:
                whole, self._whole = self._whole, None
                with self.measuring("samples/test"):
                    whole.add(pl_module, batch, outputs)
                    self._whole = whole

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put together what was kept, and have the model go on alone."""
        if tested_set(trainer) != "test" or self._answers is None:
            return
        self._arrays = self._answers.arrays()
        if not self._arrays:
            return
        if self._whole is not None:
            with self.measuring("samples/test"):
                self._arrays |= self._whole.arrays(self._evaluation.calibrated)
        with self.measuring("samples/continuation"), torch.random.fork_rng(_devices(pl_module)):
            going_on = continuation(pl_module, self._task, self._arrays)
            if going_on is not None:
                self._arrays["continuation"] = going_on

    def samples(self) -> bytes | None:
        """All of it as it lies beside the record, once the test set is answered.

        Raises:
            ValueError: not one of the rows is small enough.
        """
        if not self._arrays:
            return None
        content = encode(self._arrays)
        if content is None:
            raise ValueError(f"the first of the rows takes more than {LARGEST:,} bytes")
        return content


def _devices(module: LightningModule) -> list[int]:
    """The GPU whose random numbers a model's forward may draw."""
    return [module.device.index or 0] if module.device.type == "cuda" else []
