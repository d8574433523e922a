"""The base class of every task: a LightningDataModule that also knows what is asked and how it is scored."""

import hashlib
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from rnnae_bench.contracts.batch import Batch as Batch
from rnnae_bench.contracts.card import Card, Protocol, card_path, load_card
from rnnae_bench.contracts.fingerprint import Fingerprint
from rnnae_bench.contracts.loaders import Loaders
from rnnae_bench.contracts.spec import Classes, TaskSpec
from rnnae_bench.errors import UserError, require_not_negative
from rnnae_bench.training.loss_terms import Loss, minimised

Split = Literal["validation", "test"]
"""The evaluation sets that every task has."""
AnyTask = TypeVar("AnyTask", bound="Task")


class Task(Loaders):
    """What is asked of a model: data, loss, metrics, and (in ``task.yaml`` beside the class) the protocol.

    Data are a pure function of (constructor arguments, data seed): `train_batch` gives the training batch of
    any optimiser step, `evaluation_set` the fixed sets on which models are scored. The dataloaders are made from
    these two in `Loaders`; on several devices each gets its own rows of the very same batches, so that the number of
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
        self._order: tuple[int, Tensor] | None = None

    name: str = ""
    """The registered name, as in the spec."""

    example_block: int = 1
    """How many neighbouring rows of the test set are drawn together for an interval over test examples.

    1 where they share no data; else some three times as many as do.
    """

    @property
    def input_names(self) -> Sequence[str] | None:
        """What each symbol of the inputs is called, where they have names: letters, say."""
        return None

    @property
    def output_names(self) -> Sequence[str] | None:
        """What each class of the outputs is called; by default as the inputs, where there are as many."""
        names, outputs = self.input_names, self.spec.outputs
        return names if names and isinstance(outputs, Classes) and outputs.count == len(names) else None

    def row_labels(self, name: str) -> Int[Tensor, " rows"] | None:
        """What each row of an evaluation set shows, by which an autoencoder's codes are coloured: the digit, say.

        By default the targets, where each row has one whole number.
        """
        targets = None if self.streams else self.evaluation_set(name).targets
        return targets if targets is not None and targets.dim() == 1 and not targets.is_floating_point() else None

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

    def over_sets(self, measured: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """What several evaluation sets show together, by name: the longest length that was solved, say.

        These stand among the metrics of ``test``, under names of their own.

        Args:
            measured: The metrics of every set that is scored after the training, by set and name.
        """
        return {}

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
        train = Fingerprint()
        for step in range(3):
            train.add(self.train_batch(step))
        return {"train": str(train), **self.set_fingerprints()}
