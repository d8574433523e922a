"""The MNIST-1D task's data, loss, metrics and baselines."""

from functools import cached_property
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Vectors
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import Accuracy, CrossEntropy, cross_entropy
from rnnae_tasks.classical.classifiers import logistic_regression, nearest_neighbour, support_vectors
from rnnae_tasks.mnist1d.generator import STEPS, Series, published_series
from rnnae_tasks.mnist1d.shift_kernel import shift_kernel_ridge

VALIDATION_ROWS = 500
"""The last of the 4,000 published training rows."""


class MNIST1DTask(Task):
    """Say which of ten figures lies somewhere in a series of 40 noisy numbers.

    Test row 0, with its numbers in tenths::

        input   -1 -2 -1 3 3 0 -5 -4 2 7 6 -4 -8 -2 -1 -4 -9 -12 -10 -12
                -11 -3 1 -1 -1 10 15 12 3 -3 -10 -9 -1 1 -10 -6 4 11 8 3
        target  2

    A figure is the outline of a digit, drawn with 12 points. It is padded, stretched, scaled, moved to any place, laid
    on smooth noise, and tilted: what tells the digits apart is the form of some seven to ten steps, wherever they are.

    Args:
        protocol: Budget and batch sizes.
        data_seed: Fixes the order of the training rows.
    """

    name = "mnist1d"

    def __init__(self, protocol: Protocol = Protocol(), data_seed: int = 0) -> None:  # noqa: B008 (frozen)
        super().__init__(protocol, data_seed)
        self._evaluation_sets: dict[str, Batch] = {}

    @property
    def spec(self) -> TaskSpec:
        """One number a step in; one of ten digits out, once; a model may read from the end too."""
        return TaskSpec(
            task=self.name,
            inputs=Vectors(features=1, length=STEPS),
            outputs=Classes(10),
            predicts="last step",
            causal=False,
        )

    @cached_property
    def parts(self) -> dict[str, Series]:
        """The rows that train, validate and test: 3,500, 500 and 1,000."""
        train, test = published_series()
        return {
            "train": Series(*(one[:-VALIDATION_ROWS] for one in train)),
            "validation": Series(*(one[-VALIDATION_ROWS:] for one in train)),
            "test": test,
        }

    def train_batch(self, step: int) -> Batch:
        """Shuffled training rows."""
        rows, digits = self.parts["train"]
        chosen = self.shuffled(step, len(rows))
        return Batch(rows[chosen].float().unsqueeze(-1), digits[chosen])

    def evaluation_set(self, name: str) -> Batch:
        """All rows of the validation or the test part."""
        if name not in self._evaluation_sets:
            rows, digits = self.parts[name]
            self._evaluation_sets[name] = Batch(rows.float().unsqueeze(-1), digits)
        return self._evaluation_sets[name]

    def loss(self, prediction: Float[Tensor, "batch class"], batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats."""
        return cross_entropy(prediction, batch)

    def metrics(self) -> MetricCollection:
        """Share of the rows whose digit is named rightly, and the loss."""
        return MetricCollection({"accuracy": Accuracy(), "loss": CrossEntropy()}, compute_groups=False)

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch class"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Whether each row's digit is named rightly."""
        return (prediction.argmax(-1) == batch.targets).float() if metric == "accuracy" else None

    def baseline_answer(self, name: str) -> Float[Tensor, "batch class"]:
        """What a classical classifier, fitted to the 3,500 training rows, answers to the test rows.

        ``majority``: the classes' shares in the training rows, whatever the row. ``logistic``, ``nearest`` and
        ``svm``: see `rnnae_tasks.classical.classifiers`. ``shift_kernel``: `shift_kernel_ridge`.
        """
        classifiers: dict[str, Any] = {
            "logistic": logistic_regression,
            "nearest": nearest_neighbour,
            "svm": support_vectors,
            "shift_kernel": shift_kernel_ridge,
        }
        (rows, digits), test = self.parts["train"], self.parts["test"]
        if name == "majority":
            return (digits.bincount(minlength=10) / len(digits)).log().expand(len(test.digits), -1)
        if name not in classifiers:
            known = ", ".join(("majority", *classifiers))
            raise UserError(f"task '{self.name}' has no baseline '{name}'; it has {known}")
        return classifiers[name](rows, digits, test.rows)

    def baseline(self, name: str) -> dict[str, float]:
        """How well a baseline names the test rows; the loss only of those that answer with probabilities."""
        answer, digits = self.baseline_answer(name), self.parts["test"].digits
        values = {"accuracy": (answer.argmax(-1) == digits).double().mean().item()}
        if name in ("majority", "logistic"):
            values["loss"] = -answer.gather(1, digits.unsqueeze(1)).double().mean().item()
        return values
