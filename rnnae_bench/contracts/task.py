"""The base class of every task: a LightningDataModule that also knows what is asked and how it is scored."""

import hashlib
import itertools
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float, Int
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from torchmetrics import MetricCollection

from rnnae_bench.contracts.batch import Batch as Batch
from rnnae_bench.contracts.card import Card, Protocol, load_card
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError, require_not_negative
from rnnae_bench.training.blocks import Blocks
from rnnae_bench.training.loss_terms import Loss, minimised

Split = Literal["validation", "test"]
AnyTask = TypeVar("AnyTask", bound="Task")


_PER_BATCH_HOOKS = (
    "train_dataloader",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
)
"""What Lightning asks a data module for batches; a task with one of these of its own gives them one by one."""


class Task(LightningDataModule, ABC):
    """What is asked of a model: data, loss, metrics, and (in ``task.yaml`` beside the class) the protocol.

    Data are a pure function of (constructor arguments, data seed): `train_batch` gives the training batch of
    any optimiser step, `evaluation_set` the fixed validation and test sets. The dataloaders are made from
    these two here; on several devices each gets its own rows of the very same batches, so that the number of
    devices or of loader workers never changes what is learned from.

    Args:
        protocol: Budget and batch sizes.
        data_seed: Fixes the order, the fresh samples and the noise of the training stream. The evaluation
            sets do not depend on it.
    """

    def __init__(self, protocol: Protocol = Protocol(), data_seed: int = 0) -> None:  # noqa: B008 (frozen)
        super().__init__()
        require_not_negative(data_seed=data_seed)
        self.protocol = protocol
        self.data_seed = data_seed
        self.blocks: Blocks | None = None
        self._order: tuple[int, Tensor] | None = None

    blocks: Blocks | None
    """The blocks in which the training batches come, as lists; None: one by one, without end."""

    name: str = ""
    """The registered name, as in the spec."""

    example_block: int = 1
    """How many neighbouring rows of the test set are drawn together for an interval over test examples.

    1 where they share no data; else some three times as many as do.
    """

    @classmethod
    def card(cls) -> Card:
        """The task's card, from the ``task.yaml`` beside its module."""
        return load_card(Path(sys.modules[cls.__module__].__file__ or "").with_name("task.yaml"))

    @classmethod
    def from_variant(cls: type[AnyTask], variant: str = "standard", **overrides: Any) -> AnyTask:
        """The task in one of its frozen variants; overrides are constructor arguments."""
        setting = cls.card().variant(variant)
        return cls(**{**setting.data, "protocol": setting.protocol, **overrides})

    @property
    @abstractmethod
    def spec(self) -> TaskSpec:
        """What a model may know of this task."""

    @abstractmethod
    def train_batch(self, step: int) -> Batch:
        """The training batch of optimiser step `step` (from 0), `protocol.batch_size` rows, on the CPU."""

    @abstractmethod
    def evaluation_set(self, split: Split) -> Batch:
        """The whole validation or test set, on the CPU; the same for every data seed."""

    @abstractmethod
    def loss(self, prediction: Tensor, batch: Batch) -> Loss:
        """The training objective: a mean over the batch, so that equal shards average to the whole.

        Returns:
            A number; or several by name, each such a mean, whose sum is minimised.
        """

    @property
    def loss_source(self) -> str:
        """The class and the method that give the loss, for messages."""
        return f"{type(self).__name__}.loss"

    def total_loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """The loss as one number: its sum where it has named terms."""
        return minimised(self.loss(prediction, batch), self.loss_source).total

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """Fresh metrics, updated with (prediction, targets) of each evaluation batch."""

    @abstractmethod
    def baseline(self, name: str) -> dict[str, float]:
        """The test-set metrics of one of the card's baselines, computed on this task's own data."""

    def baseline_answer(self, name: str) -> Tensor | None:
        """What one of the card's baselines answers to the test set, as `predict` would give it.

        Returns:
            None where there is no such answer, as of a closed form: no interval over test examples is given for it.
        """
        return None

    def example_scores(self, metric: str, prediction: Tensor, batch: Batch) -> Float[Tensor, " batch"] | None:
        """A metric of each row of a batch of the test set: numbers whose mean over the whole test set is the metric.

        Of a metric that is no plain mean, each row's share in it: of the mean of K classes' recalls, say, a row of the
        test set's N that is one of n of its class has N / (K n) where it is right.

        Args:
            metric: One of `metrics`.
            prediction: What `predict` gave.
            batch: The rows.

        Returns:
            None where the metric has no such form, or the task does not give it: two models are then compared without
            an interval for other test examples.
        """
        return None

    def predict(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        """What is scored at evaluation: the model's answer to the batch, or what the task makes of it.

        Of outputs of their own length a model gives as many steps as there may be at most; it is cut to the targets'.
        """
        prediction = model(batch.inputs, batch.lengths)
        return prediction[:, : batch.targets.shape[1]] if self.spec.predicts == "own length" else prediction

    def held_out(self, rows: int) -> Batch:
        """Some rows of the validation set, evenly spread since it may be sorted: a batch that is not trained on.

        Its targets must have the form that `loss` knows from training. A task whose evaluation asks for something else
        overrides this.

        Args:
            rows: How many; all where there are fewer.
        """
        whole = self.evaluation_set("validation")
        size = len(whole.targets)
        count = min(rows, size)
        return whole.rows(torch.arange(count) * size // count)

    def generator(self, *key: str | int) -> torch.Generator:
        """A random generator of its own for each key, the same on every machine.

        Training code includes ``self.data_seed`` in the key; evaluation code does not.
        """
        digest = hashlib.sha256("/".join(map(str, (self.name, *key))).encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)

    def shuffled(self, step: int, size: int) -> Int[Tensor, " batch"]:
        """Row numbers of the training batch at `step`, from a set of `size` rows reshuffled every epoch.

        Batches are always full: one that begins at the end of an epoch is filled up from the next.
        """
        wanted = self.protocol.batch_size
        first = step * wanted
        parts = []
        while wanted > 0:
            epoch, offset = divmod(first, size)
            if self._order is None or self._order[0] != epoch:
                key = ("order", self.data_seed, epoch)
                self._order = (epoch, torch.randperm(size, generator=self.generator(*key)))
            part = self._order[1][offset : offset + wanted]
            parts.append(part)
            wanted -= len(part)
            first += len(part)
        return torch.cat(parts)

    def fingerprint(self) -> dict[str, str]:
        """Hashes of the first three training batches and of the evaluation sets, to tell data apart."""
        train = hashlib.sha256()
        for step in range(3):
            _digest(train, self.train_batch(step))
        prints = {"train": train.hexdigest()[:16]}
        for split in ("validation", "test"):
            whole = hashlib.sha256()
            _digest(whole, self.evaluation_set(split))
            prints[split] = whole.hexdigest()[:16]
        return prints

    @classmethod
    def can_give_blocks(cls) -> bool:
        """Whether the class leaves to this one how training batches are handed over."""
        return all(getattr(cls, hook) is getattr(Task, hook) for hook in _PER_BATCH_HOOKS)

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
        """This device's rows of the test set, in large batches."""
        return self._evaluation_loader("test")

    def _evaluation_loader(self, split: Split) -> DataLoader:
        rank, devices = self._shard()
        whole = self.evaluation_set(split)
        size = self.protocol.evaluation_batch_size
        starts = range(0, len(whole.targets), size)
        return DataLoader(
            [whole.rows(slice(start, start + size)).rows(slice(rank, None, devices)) for start in starts],  # type: ignore[arg-type]
            batch_size=None,
        )

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

    def __init__(self, task: Task, rank: int, devices: int) -> None:
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


def _digest(into: "hashlib._Hash", batch: Batch) -> None:
    for field in batch:
        if field is not None:
            into.update(f"{field.dtype}{tuple(field.shape)}".encode())
            into.update(field.contiguous().numpy().tobytes())
