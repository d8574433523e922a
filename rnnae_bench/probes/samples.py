"""What the trained model makes of a few rows of the test set, to be looked at."""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.probes.base import Probe
from rnnae_bench.records.samples import LARGEST, encode


class Samples(Probe):
    """Keeps inputs, targets and prediction of the rows that the task names (`Task.samples`), on one device.

    Args:
        task: Gives the rows.
    """

    subject = "samples"

    def __init__(self, task: Task) -> None:
        self._task = task
        self._rows: list[int] = []
        self._seen = 0
        self._kept: list[dict[str, Tensor]] = []

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the first row, where the test set comes next."""
        if self._task.tested != "test":
            return
        self._seen, self._kept, self._rows = 0, [], []
        if trainer.world_size > 1:
            self.absent[self.subject] = f"each of {trainer.world_size} devices sees a part of the test set"
            return
        self._rows = sorted(self._task.samples())

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
        if self._task.tested != "test" or not self._rows:
            return
        first, self._seen = self._seen, self._seen + len(batch.targets)
        mine = [row - first for row in self._rows if first <= row < self._seen]
        if mine:
            index = torch.tensor(mine, device=batch.targets.device)
            rows = batch.rows(index)
            fields = {name: one for name, one in rows._asdict().items() if one is not None}
            kept = {"rows": index + first, **fields, "prediction": outputs[index].float()}
            self._kept.append({name: one.detach().cpu() for name, one in kept.items()})

    def samples(self) -> bytes | None:
        """The rows as they lie beside the record, once they are answered.

        Raises:
            ValueError: not one of them is small enough.
        """
        if not self._kept:
            return None
        arrays = {name: torch.cat([part[name] for part in self._kept]).numpy() for name in self._kept[0]}
        content = encode(arrays)
        if content is None:
            raise ValueError(f"the first of the rows takes more than {LARGEST:,} bytes")
        return content
