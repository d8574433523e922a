"""How a task's batches reach Lightning: the training stream and the evaluation sets, cut to each device's rows."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.evaluation_sets import EvaluationSets
from rnnae_bench.contracts.fingerprint import Fingerprint
from rnnae_bench.errors import UserError
from rnnae_bench.training.blocks import Blocks

_PER_BATCH_HOOKS = (
    "train_dataloader",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
)
"""What Lightning asks a data module for batches; a task with one of these of its own gives them one by one."""


class Loaders(EvaluationSets, LightningDataModule, ABC):
    """What of a task is a LightningDataModule: its dataloaders, made from `train_batch` and the evaluation sets."""

    blocks: Blocks | None = None
    """The blocks in which the training batches come, as lists; None: one by one, without end."""

    tested: str = "test"
    """The set that `test_dataloader` gives; see `tests`."""

    @abstractmethod
    def train_batch(self, step: int) -> Batch:
        """The training batch of optimiser step `step` (from 0), `protocol.batch_size` rows, on the CPU."""

    @classmethod
    def can_give_blocks(cls) -> bool:
        """Whether the class leaves to this one how training batches are handed over."""
        return all(getattr(cls, hook) is getattr(Loaders, hook) for hook in _PER_BATCH_HOOKS)

    def train_dataloader(self) -> DataLoader:
        """This device's rows of the training batches: one by one, without end, or in `blocks`."""
        rank, devices = self._shard()
        if self.protocol.batch_size % devices:
            raise UserError(
                f"a batch of {self.protocol.batch_size} does not divide over {devices} devices; "
                f"choose --task.protocol.batch_size as a multiple of {devices}"
            )
        return _TrainingLoader(_TrainingStream(self, rank, devices), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        """This device's rows of the validation set, in large batches."""
        return self._evaluation_loader("validation")

    def test_dataloader(self) -> DataLoader:
        """This device's rows of the set that is `tested`, in large batches."""
        return self._evaluation_loader(self.tested)

    def tests(self) -> Iterator[str]:
        """Go through the sets that a trained model is tested on: the reference, then ``test`` and all others.

        While a name is the current one, `test_dataloader` gives that set.
        """
        calibrated = () if self.reference is None else (self.reference,)
        try:
            for name in (*calibrated, *self.evaluation_sets[1:]):
                self.tested = name
                yield name
        finally:
            self.tested = "test"

    def _evaluation_loader(self, name: str) -> DataLoader:
        batches = _EvaluationStream(self, name, *self._shard())
        if self.streams:
            return DataLoader(batches, batch_size=None)
        self.require_unchanged(name, self._set_print(name))
        return DataLoader([*batches], batch_size=None)  # type: ignore[arg-type]

    def _shard(self) -> tuple[int, int]:
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)


class _TrainingLoader(DataLoader):
    """Draws a random number when it is first gone through, as every loader does, and none at later epochs."""

    def __iter__(self) -> Any:
        found = super().__iter__()
        self.generator = torch.Generator()
        return found


class _TrainingStream(IterableDataset):
    """The batches of steps 0, 1, 2, ..., each cut down to one device's rows, one by one or in the task's blocks."""

    def __init__(self, task: Loaders, rank: int, devices: int) -> None:
        self.task, self.rank, self.devices = task, rank, devices

    def __iter__(self) -> Iterator[Batch | list[Batch]]:
        worker = get_worker_info()
        first, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        # An epoch goes on where the one before ended.
        loop = getattr(self.task.trainer, "fit_loop", None)
        first += loop.total_batch_idx + 1 if loop else 0
        if self.task.blocks is None:
            yield from map(self._batch, itertools.count(first, stride))
        else:
            for steps in itertools.islice(self.task.blocks, first, None, stride):
                yield [self._batch(step) for step in steps]

    def _batch(self, step: int) -> Batch:
        whole = self.task.train_batch(step)
        return whole if self.devices == 1 else whole.rows(slice(self.rank, None, self.devices))


class _EvaluationStream(IterableDataset):
    """The batches of an evaluation set, each cut down to one device's rows."""

    def __init__(self, task: Loaders, name: str, rank: int, devices: int) -> None:
        self.task, self.name, self.rank, self.devices = task, name, rank, devices

    def __iter__(self) -> Iterator[Batch]:
        is_read = self.task.streams and self.task.checksum(self.name) is None
        found = Fingerprint()
        for batch in self.task.evaluation_batches(self.name):
            if is_read:
                found.add(batch)
            yield batch if self.devices == 1 else batch.rows(slice(self.rank, None, self.devices))
        if is_read:
            self.task.require_unchanged(self.name, str(found))
