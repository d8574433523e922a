"""Sequential and permuted sequential MNIST: digits read as sequences, their loss, metrics and baselines."""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Vectors
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.data import cache_folder
from rnnae_bench.errors import UserError, require_choice, require_positive
from rnnae_bench.metrics import Accuracy, CrossEntropy, cross_entropy
from rnnae_tasks.classical.classifiers import logistic_regression, nearest_neighbour, support_vectors
from rnnae_tasks.datasets.digits import (
    Digits,
    Labels,
    packed_digits,
    packed_labels,
    published_digits,
    published_labels,
)

SIDE = 28
"""Pixels of a digit's side."""
PERMUTATION_SEED = 92916
"""Of NumPy's `RandomState`, whose stream is frozen; the one that most of the literature's code has."""
Source = Literal["embedded", "torchvision"]
Reading = Literal["pixels", "rows"]


class SequentialMNISTTask(Task):
    """Read a handwritten digit as a sequence, and say after the last step which it is.

    Test image 200, a two, averaged over 4 x 4 pixels; its 49 numbers in tenths are read from left to right, line by
    line, one a step (``.`` is 0, ``9`` is 0.9 and more)::

        . . . . . . .
        . . 2 7 6 . .
        . . . . 6 . .
        . . 3 6 8 2 .
        . 7 8 5 1 6 .
        . 5 2 . 3 3 .
        . . . . . . .

        input   . . . . . . . . . 2 7 6 . . . . . . 6 . . . . 3 6 8 2 . . 7 8 5 1 6 . . 5 2 . 3 3 . . . . . . . .
        target                                                                                                  2

    Args:
        shrink: Each number is the mean of shrink x shrink pixels; 1 leaves the picture as it is, 28 x 28.
        reading: ``pixels``: one number a step, (28 / shrink)**2 steps. ``rows``: a whole row a step, 28 / shrink steps,
            which is much the easier task.
        source: ``embedded`` takes the 5,000 digits that come with the suite (3,500 train, 500 validate, 1,000
            test); ``torchvision`` takes all of MNIST (55,000, 5,000 and 10,000).
        folder: torchvision's root folder, with MNIST's files or to download them to; for that source only, and by
            default the suite's cache folder.
        protocol: Budget and batch sizes.
        data_seed: Fixes the order of the training images.
    """

    name = "smnist"

    def __init__(
        self,
        shrink: int = 4,
        reading: Reading = "pixels",
        source: Source = "embedded",
        folder: str | None = None,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_positive(shrink=shrink)
        if SIDE % shrink:
            raise UserError(f"shrink is {shrink}; it must divide {SIDE}, the pixels of a side: 1, 2, 4, 7, 14 or 28")
        require_choice(get_args(Reading), reading=reading)
        require_choice(get_args(Source), source=source)
        if source == "embedded" and folder is not None:
            raise UserError(f"folder is '{folder}' with source 'embedded', which reads none; set source to torchvision")
        super().__init__(protocol, data_seed)
        self.shrink, self.reading, self.source = shrink, reading, source
        self.folder = cache_folder() / "torchvision" if folder is None else Path(folder)
        self._evaluation_sets: dict[str, Batch] = {}

    @property
    def spec(self) -> TaskSpec:
        """Pixels or rows in; one of ten digits out, after the last step."""
        side = SIDE // self.shrink
        return TaskSpec(
            task=self.name,
            inputs=Vectors(features=side, length=side) if self.reading == "rows" else Vectors(1, side**2),
            outputs=Classes(10),
            predicts="last step",
            causal=True,
        )

    @cached_property
    def digits(self) -> Digits:
        """The images; read when first asked for."""
        return packed_digits() if self.source == "embedded" else published_digits(self.folder)

    @cached_property
    def labels(self) -> Labels:
        """Which digit each image shows."""
        return packed_labels() if self.source == "embedded" else published_labels(self.folder)

    @cached_property
    def order(self) -> Int[Tensor, " pixel"] | None:
        """Which pixel each step reads; None where it is line by line."""
        return None

    def prepare_data(self) -> None:
        """Read the data, so that a download happens once per machine, before other processes look."""
        _ = self.digits, self.labels

    def flat(self, images: Tensor) -> Float[Tensor, "batch pixel"]:
        """What is read of images ``UInt8[Tensor, "batch 1 28 28"]``, in [0, 1] and in the order of the reading."""
        rows = avg_pool2d(images / 255, self.shrink).flatten(1)
        return rows if self.order is None else rows[:, self.order]

    def sequences(self, images: Tensor) -> Float[Tensor, "batch time feature"]:
        """Images as the model reads them."""
        inputs = self.spec.sequence
        assert isinstance(inputs, Vectors)
        return self.flat(images).unflatten(1, (inputs.length, inputs.features))

    def train_batch(self, step: int) -> Batch:
        """Shuffled training images."""
        rows = self.shuffled(step, len(self.digits.train))
        return Batch(self.sequences(self.digits.train[rows]), self.labels.train[rows])

    def evaluation_set(self, name: str) -> Batch:
        """All validation or test images."""
        if name not in self._evaluation_sets:
            is_validation = name == "validation"
            images = self.digits.validation if is_validation else self.digits.test
            labels = self.labels.validation if is_validation else self.labels.test
            self._evaluation_sets[name] = Batch(self.sequences(images), labels)
        return self._evaluation_sets[name]

    def loss(self, prediction: Float[Tensor, "batch class"], batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats."""
        return cross_entropy(prediction, batch)

    def metrics(self) -> MetricCollection:
        """Share of the digits that are named rightly, and the loss."""
        return MetricCollection({"accuracy": Accuracy(), "loss": CrossEntropy()}, compute_groups=False)

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch class"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Whether each digit is named rightly."""
        return (prediction.argmax(-1) == batch.targets).float() if metric == "accuracy" else None

    def baseline_answer(self, name: str) -> Float[Tensor, "batch class"]:
        """What a classical classifier that sees all pixels at once answers to the test images.

        ``majority``: the classes' shares in the training images, whatever the image. ``logistic``, ``nearest`` and
        ``svm``: see `rnnae_tasks.classical.classifiers`.
        """
        classifiers: dict[str, Any] = {
            "logistic": logistic_regression,
            "nearest": nearest_neighbour,
            "svm": support_vectors,
        }
        labels = self.labels.train
        if name == "majority":
            shares = labels.bincount(minlength=10) / len(labels)
            return shares.log().expand(len(self.labels.test), -1)
        if name not in classifiers:
            known = ", ".join(("majority", *classifiers))
            raise UserError(f"task '{self.name}' has no baseline '{name}'; it has {known}")
        return classifiers[name](self.flat(self.digits.train), labels, self.flat(self.digits.test))

    def baseline(self, name: str) -> dict[str, float]:
        """How well a baseline names the test images; the loss only of those that answer with probabilities."""
        answer, labels = self.baseline_answer(name), self.labels.test
        values = {"accuracy": (answer.argmax(-1) == labels).double().mean().item()}
        if name in ("majority", "logistic"):
            values["loss"] = -answer.gather(1, labels.unsqueeze(1)).double().mean().item()
        return values


class PermutedMNISTTask(SequentialMNISTTask):
    """Read a handwritten digit pixel by pixel in one fixed order that is no order, and say which it is.

    Every image is read in the same order: the permutation of its pixels that NumPy's ``RandomState(92916)`` draws.

    Test image 200, a two, averaged over 4 x 4 pixels; its 49 numbers in tenths, one a step (``.`` is 0, ``9`` is 0.9
    and more), line by line and as they are read::

        lines   . . . . . . . . . 2 7 6 . . . . . . 6 . . . . 3 6 8 2 . . 7 8 5 1 6 . . 5 2 . 3 3 . . . . . . . .
        input   . 6 . . 7 . . 3 . . . . . . . . . 3 . . 1 . . 5 6 . . . 8 6 . 2 2 6 . 5 . . . . . . 8 . . . 3 2 7
        target                                                                                                  2

    Args:
        shrink: Each number is the mean of shrink x shrink pixels; 1 leaves the picture as it is, 28 x 28.
        source: ``embedded`` takes the 5,000 digits that come with the suite (3,500 train, 500 validate, 1,000
            test); ``torchvision`` takes all of MNIST (55,000, 5,000 and 10,000).
        folder: torchvision's root folder, with MNIST's files or to download them to; for that source only, and by
            default the suite's cache folder.
        protocol: Budget and batch sizes.
        data_seed: Fixes the order of the training images.
    """

    name = "psmnist"

    def __init__(
        self,
        shrink: int = 4,
        source: Source = "embedded",
        folder: str | None = None,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        super().__init__(shrink, "pixels", source, folder, protocol, data_seed)

    @cached_property
    def order(self) -> Int[Tensor, " pixel"]:
        """Which pixel each step reads: the same for every image, seed and trial."""
        return torch.from_numpy(np.random.RandomState(PERMUTATION_SEED).permutation((SIDE // self.shrink) ** 2))
