"""The task's data, loss, metrics and baselines."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Vectors
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_choice, require_fraction, require_positive
from rnnae_bench.metrics import Accuracy, CrossEntropy, cross_entropy
from rnnae_tasks.ucr.archive import CLASSES, Series, packed
from rnnae_tasks.ucr.kernel_ridge import KernelRidge
from rnnae_tasks.ucr.neighbours import euclidean, resampled, warping


class UcrTask(Task):
    """Read a time series to its end, then say which class it is of.

    The first training row of ItalyPowerDemand, a day's demand for electricity by the hour::

        input    -0.71 -1.18 -1.37 -1.59 -1.47 -1.37 -1.09 0.05 ... 0.58 0.17 -0.27    24 hours
        target   October to March

    Training and test part are the archive's, values too. The archive has no validation part: the last rows of each
    class, in the order of its file, are cut out of the training part. The baselines need none, and are fitted to the
    whole training part, as the published ones are.

    Args:
        dataset: The data set, by the archive's name.
        validation_share: Share of each class's training rows that validate instead.
        protocol: Budget and batch sizes.
        data_seed: Fixes the order of the training rows.
    """

    name = "ucr"

    def __init__(
        self,
        dataset: Literal["GunPoint", "ArrowHead", "ItalyPowerDemand", "JapaneseVowels"] = "ItalyPowerDemand",
        validation_share: float = 0.2,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_choice(tuple(CLASSES), dataset=dataset)
        require_fraction(validation_share=validation_share)
        require_positive(validation_share=validation_share)
        super().__init__(protocol, data_seed)
        self.dataset = dataset
        self.classes: tuple[str, ...] = CLASSES[dataset]
        """What each class is, in the order of its index."""
        self.official_train, self.official_test = packed(dataset)
        self.variable_length = bool((self.official_train.lengths != self.official_train.lengths[0]).any())
        validates = self._validates(validation_share)
        self._train = self._batch(self.official_train, ~validates)
        self._evaluation = {
            "validation": self._batch(self.official_train, validates),
            "test": self._batch(self.official_test, torch.ones_like(self.official_test.labels, dtype=torch.bool)),
        }

    def _validates(self, share: float) -> Tensor:
        """Which rows of the official training part are the last of their class."""
        labels = self.official_train.labels
        chosen = torch.zeros_like(labels, dtype=torch.bool)
        for label in range(len(self.classes)):
            rows = (labels == label).nonzero().flatten()
            count = round(share * len(rows))
            if not 0 < count < len(rows):
                raise UserError(
                    f"validation_share is {share}; of the {len(rows)} training rows of '{self.classes[label]}' in "
                    f"{self.dataset} that is {count}, and each part needs one at least"
                )
            chosen[rows[-count:]] = True
        return chosen

    def _batch(self, series: Series, chosen: Tensor) -> Batch:
        lengths = series.lengths[chosen] if self.variable_length else None
        return Batch(series.values[chosen], series.labels[chosen], lengths)

    @property
    def spec(self) -> TaskSpec:
        """Vectors in, in series that may differ in length; a class out."""
        _, length, features = self.official_train.values.shape
        return TaskSpec(
            task=self.name,
            inputs=Vectors(features=features, length=length),
            outputs=Classes(len(self.classes)),
            predicts="last step",
            causal=False,
            variable_length=self.variable_length,
        )

    def train_batch(self, step: int) -> Batch:
        """Training rows in random order, every one once an epoch, padded to the longest of the batch."""
        batch = self._train.rows(self.shuffled(step, len(self._train.targets)))
        if batch.lengths is None:
            return batch
        return batch._replace(inputs=batch.inputs[:, : int(batch.lengths.max())])

    def evaluation_set(self, name: str) -> Batch:
        """All rows of the part: inputs ``Float[Tensor, "row time feature"]``, targets ``Int[Tensor, "row"]``."""
        return self._evaluation[name]

    def loss(self, prediction: Float[Tensor, "batch class"], batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats."""
        return cross_entropy(prediction, batch)

    def metrics(self) -> MetricCollection:
        """Accuracy, which the archive reports, and cross-entropy."""
        return MetricCollection({"accuracy": Accuracy(), "loss": CrossEntropy()}, compute_groups=False)

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch class"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Whether each test row is classified rightly."""
        return (prediction.argmax(1) == batch.targets).float() if metric == "accuracy" else None

    def baseline(self, name: str) -> dict[str, float]:
        """The accuracy on the test part of `baseline_answer`; none of them gives probabilities."""
        accuracy = Accuracy()
        accuracy.update(self.baseline_answer(name), self.official_test.labels)
        return {"accuracy": accuracy.compute().item()}

    def baseline_answer(self, name: str) -> Float[Tensor, "row class"]:
        """A baseline's answers to the test rows; all are fitted to the whole official training part.

        ``majority``: the class with the most training rows, the first of several. ``nearest``: that of the training row
        at the least Euclidean distance. ``warping``: that of the nearest by dynamic time warping. ``kernel_ridge``: the
        largest of the `KernelRidge` fits to 1 for a class and -1 for the others.
        """
        train, test = self.official_train, self.official_test
        if name == "majority":
            commonest = int(train.labels.bincount().argmax())
            return self._certain(torch.full_like(test.labels, commonest))
        if name == "kernel_ridge":
            signs = 2 * one_hot(train.labels, len(self.classes)).double() - 1
            return KernelRidge.fitted(resampled(train), signs)(resampled(test)).float()
        if name not in ("nearest", "warping"):
            raise UserError(f"task 'ucr' has no baseline '{name}'; it has majority, nearest, warping, kernel_ridge")
        distance = euclidean(test, train) if name == "nearest" else warping(test, train)
        return self._certain(train.labels[distance.argmin(dim=1)])

    def _certain(self, labels: Int[Tensor, " row"]) -> Float[Tensor, "row class"]:
        return one_hot(labels, len(self.classes)).float()
