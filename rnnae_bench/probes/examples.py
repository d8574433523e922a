"""How well each example of the test set was answered, so that two models can be compared on the same examples."""

from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer

from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.probes.base import Probe
from rnnae_bench.records.history import EXAMPLES, Series


class ExampleScores(Probe):
    """Keeps a metric of each test example, where the task can tell it (`Task.example_scores`).

    Column ``test/examples/METRIC``: one row of as many numbers as the test set has rows, in their order, on however
    many devices they were answered; their mean is the metric. Measure ``test_examples_block``: `Task.example_block`.

    Args:
        task: Gives the scores.
        metric: Which metric.
    """

    def __init__(self, task: Task, metric: str) -> None:
        self._task, self._metric = task, metric
        self._batches: list[np.ndarray] | None = None
        self._found: Series | None = None

    @property
    def _column(self) -> str:
        return f"{EXAMPLES}{self._metric}"

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget all scores, where the test set comes next."""
        if self._task.tested == "test":
            self._batches, self._found = [], None

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Score each row of a batch."""
        if self._task.tested != "test" or self._batches is None:
            return
        before, self._batches = self._batches, None
        # In here, so that the probe goes on: the other devices wait for this one at the end.
        with self.measuring(self._column):
            scores = self._task.example_scores(self._metric, outputs.float(), batch)
            if scores is None:
                return
            if scores.shape != (len(batch.targets),):
                raise ValueError(f"example_scores gave {tuple(scores.shape)} for {len(batch.targets)} rows")
            self._batches = [*before, scores.detach().to("cpu", torch.float32).numpy()]

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the devices' rows in the order of the test set."""
        if self._task.tested != "test":
            return
        devices: list[list[np.ndarray] | None] = [self._batches]
        if trainer.world_size > 1:
            devices = [None] * trainer.world_size
            torch.distributed.all_gather_object(devices, self._batches)
        shares = [share for share in devices if share]
        if len(shares) < len(devices):
            return
        scores = np.concatenate([_interleaved(parts) for parts in zip(*shares, strict=True)])
        self._found = Series(np.array([trainer.global_step]), scores[None])

    def series(self) -> dict[str, Series]:
        """The scores, once they are measured."""
        return {} if self._found is None else {self._column: self._found}

    def measures(self) -> dict[str, Any]:
        """The task's block of neighbouring examples."""
        return {} if self._found is None else {"test_examples_block": self._task.example_block}


def _interleaved(parts: tuple[np.ndarray, ...]) -> np.ndarray:
    """A batch whose rows were dealt out to devices in turn."""
    whole = np.empty(sum(map(len, parts)), dtype=np.float32)
    for device, part in enumerate(parts):
        whole[device :: len(parts)] = part
    return whole
