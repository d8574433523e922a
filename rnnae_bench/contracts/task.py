"""The base class of every task: a LightningDataModule that also knows what is asked and how it is scored."""

import hashlib
import itertools
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float, Int
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from torchmetrics import Metric, MetricCollection

from rnnae_bench.contracts.batch import Batch as Batch
from rnnae_bench.contracts.card import Card, Protocol, card_path, load_card
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError, require_not_negative
from rnnae_bench.training.blocks import Blocks
from rnnae_bench.training.loss_terms import Loss, minimised

Split = Literal["validation", "test"]
"""The evaluation sets that every task has."""
AnyTask = TypeVar("AnyTask", bound="Task")

_SET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@_.-]*")

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
    any optimiser step, `evaluation_set` the fixed sets on which models are scored. The dataloaders are made from
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
        if all(getattr(type(self), name) is getattr(Task, name) for name in ("evaluation_set", "evaluation_batches")):
            raise TypeError(f"{type(self).__name__} must define evaluation_set(name), or evaluation_batches(name)")
        self.protocol = protocol
        self.data_seed = data_seed
        self.blocks: Blocks | None = None
        self._order: tuple[int, Tensor] | None = None
        self._prints: dict[str, str] = {}

    blocks: Blocks | None
    """The blocks in which the training batches come, as lists; None: one by one, without end."""

    name: str = ""
    """The registered name, as in the spec."""

    example_block: int = 1
    """How many neighbouring rows of the test set are drawn together for an interval over test examples.

    1 where they share no data; else some three times as many as do.
    """

    evaluation_sets: tuple[str, ...] = ("validation", "test")
    """The sets on which models are scored: ``validation`` while training, ``test`` and any others once after it.

    What ranks is measured on ``test``. Others stand beside it in the record, each under its name, and may differ from
    it in length: ``("validation", "test", "test@16x")``, say.
    """

    reference: str | None = None
    """The set that a trained model answers before the test, for `calibration`: ``validation``, or one that is not
    scored. None: nothing is calibrated."""

    predicts_rows: bool = True
    """Whether `predict` answers every row by itself. Where it needs a whole set, that comes in one batch."""

    tested: str = "test"
    """The set that `test_dataloader` gives; see `tests`."""

    @classmethod
    def card(cls) -> Card:
        """The task's card: the ``task.yaml`` beside its module (``NAME.task.yaml`` where tasks share a folder), or else
        beside that of the task it derives from.

        Raises:
            UserError: there is none, or it is wrong; a task without a file may override this.
        """
        own = [one for one in cls.__mro__ if issubclass(one, Task) and one is not Task]
        files = [getattr(sys.modules[one.__module__], "__file__", None) for one in own]
        paths = [card_path(Path(file), cls.name) for file in files if file]
        if not paths:
            raise UserError(f"task class {cls.__name__} has no card: give it a classmethod card() that returns one")
        return load_card(next(filter(Path.is_file, paths), paths[0]))

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

    def evaluation_set(self, name: str) -> Batch:
        """All rows of one of the `evaluation_sets` or of the `reference`, on the CPU; the same for every data seed.

        A task whose sets are too large for the memory gives `evaluation_batches` in its place.
        """
        batches = [*self.evaluation_batches(name)]
        fields = zip(*batches, strict=True)
        return Batch(*(None if field[0] is None else torch.cat(field) for field in fields))  # type: ignore[arg-type]

    def evaluation_batches(self, name: str) -> Iterator[Batch]:
        """The rows of a set in order, ``protocol.evaluation_batch_size`` at a time.

        A task that overrides this streams its sets: a set is read anew at every look and never held whole. It then best
        tells a `checksum` too, or reads all of it once more for the fingerprint.
        """
        whole = self.evaluation_set(name)
        rows = len(whole.targets)
        size = self.protocol.evaluation_batch_size if self.predicts_rows else rows
        for start in range(0, rows, size):
            yield whole.rows(slice(start, start + size))

    def checksum(self, name: str) -> str | None:
        """What tells this content of an evaluation set from any other: of the file that it is read from, say.

        Returns:
            None where the rows themselves are to be hashed.
        """
        return None

    @property
    def streams(self) -> bool:
        """Whether evaluation sets are read batch by batch."""
        return type(self).evaluation_batches is not Task.evaluation_batches

    @property
    def all_sets(self) -> tuple[str, ...]:
        """The evaluation sets, and the reference where it is none of them.

        Raises:
            UserError: they are not named as they must be.
        """
        names, reference, who = self.evaluation_sets, self.reference, type(self).__name__
        if names[:2] != ("validation", "test") or len({*names}) < len(names):
            raise UserError(f"{who}.evaluation_sets are {names}; begin with 'validation', 'test', and give each once")
        if reference in names[1:]:
            raise UserError(
                f"{who}.reference is '{reference}', which is scored; a model may be calibrated on the validation set "
                "or on one that is not among evaluation_sets"
            )
        every = names if reference in {None, "validation"} else (*names, str(reference))
        for name in every:
            if name == "train" or not _SET_NAME.fullmatch(name):
                raise UserError(f"{who} names an evaluation set {name!r}; use letters, digits and @ _ . -, not 'train'")
        return every

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
        """Fresh metrics, updated with each evaluation batch's prediction and targets.

        One whose ``update`` has an argument called ``batch`` gets the whole batch there: inputs, lengths and mask too.
        """

    def calibration(self) -> Metric:
        """What is learned from a trained model's answers to the `reference` set: a threshold for its errors, say.

        A fresh metric, updated as the others; it computes numbers by name, which stand in the record as
        ``calibration/NAME`` and go to `test_metrics`.
        """
        raise NotImplementedError(f"{type(self).__name__} has a reference set and no calibration()")

    def test_metrics(self, name: str, calibrated: Mapping[str, float]) -> MetricCollection:
        """Fresh metrics for a set that is scored after the training; those of `metrics`, but for a task's own reasons.

        Args:
            name: The set, one of `evaluation_sets`.
            calibrated: What `calibration` computed; empty without a `reference`.
        """
        return self.metrics()

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

        Each row by itself; a task whose answer to a row depends on the others says so by `predicts_rows`. Of outputs of
        their own length a model gives as many steps as there may be at most; it is cut to the targets'.
        """
        prediction = model(batch.inputs, batch.lengths)
        return prediction[:, : batch.targets.shape[1]] if self.spec.predicts == "own length" else prediction

    def samples(self) -> Sequence[int]:
        """Which rows of the test set are kept beside the record, with what the model made of them.

        By default eight, evenly spread since it may be sorted; of a set that is streamed, the first eight.
        """
        size = 8 if self.streams else len(self.evaluation_set("test").targets)
        return [row * size // min(8, size) for row in range(min(8, size))]

    def held_out(self, rows: int) -> Batch:
        """Some rows of the validation set, evenly spread since it may be sorted: a batch that is not trained on.

        Of a set that is streamed, rows of its first batch.

        Its targets must have the form that `loss` knows from training. A task whose evaluation asks for something else
        overrides this.

        Args:
            rows: How many; all where there are fewer.
        """
        whole = next(iter(self.evaluation_batches("validation"))) if self.streams else self.evaluation_set("validation")
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
        """Hashes of the first three training batches and of every evaluation set, to tell data apart.

        Raises:
            UserError: a set is not the same when it is asked for again.
        """
        train = hashlib.sha256()
        for step in range(3):
            _digest(train, self.train_batch(step))
        self._prints = {name: self._set_print(name) for name in self.all_sets}
        if not self.streams:
            for name in self.all_sets:
                if self.evaluation_set(name) is not self.evaluation_set(name):
                    self._require_unchanged(name, self._set_print(name))
        return {"train": train.hexdigest()[:16], **self._prints}

    def _set_print(self, name: str) -> str:
        whole, declared = hashlib.sha256(), self.checksum(name)
        if declared is not None:
            whole.update(declared.encode())
        elif self.streams:
            for batch in self.evaluation_batches(name):
                _digest(whole, batch)
        else:
            _digest(whole, self.evaluation_set(name))
        return whole.hexdigest()[:16]

    def _require_unchanged(self, name: str, found: str) -> None:
        """Raise where an evaluation set that was found to have this hash is not the one of the fingerprint."""
        if self._prints.get(name, found) != found:
            method = "evaluation_batches" if self.streams else "evaluation_set"
            raise UserError(
                f"{type(self).__name__}.{method}('{name}') gives other rows than before; it must be the same at "
                "every call: draw from self.generator(...) alone, and change no row in place"
            )

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
        self._require_unchanged(name, self._set_print(name))
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


class _EvaluationStream(IterableDataset):
    """The batches of an evaluation set, each cut down to one device's rows."""

    def __init__(self, task: Task, name: str, rank: int, devices: int) -> None:
        self.task, self.name, self.rank, self.devices = task, name, rank, devices

    def __iter__(self) -> Iterator[Batch]:
        is_read = self.task.streams and self.task.checksum(self.name) is None
        whole = hashlib.sha256()
        for batch in self.task.evaluation_batches(self.name):
            if is_read:
                _digest(whole, batch)
            yield batch if self.devices == 1 else batch.rows(slice(self.rank, None, self.devices))
        if is_read:
            self.task._require_unchanged(self.name, whole.hexdigest()[:16])


def _digest(into: "hashlib._Hash", batch: Batch) -> None:
    for field in batch:
        if field is not None:
            into.update(f"{field.dtype}{tuple(field.shape)}".encode())
            into.update(field.contiguous().numpy().tobytes())
