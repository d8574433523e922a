"""The parity task's data, loss, metric and floor."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import MeanMetric, MetricCollection

from rnnae_bench import Batch, Classes, Protocol, Task, TaskSpec, Tokens
from rnnae_bench.errors import UserError, require_positive


class RunningParityTask(Task):
    """Read random bits, and say at every step whether the number of ones so far is odd.

    One row, with length=8::

        input    0 1 1 0 1 0 0 1
        target   0 1 0 0 1 1 1 0

    Training sequences are drawn afresh at every step.

    Args:
        length: Bits in a sequence.
        evaluation_size: Sequences in the validation and in the test set, each.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training sequences.
    """

    name = "running_parity"

    def __init__(
        self,
        length: int = 32,
        evaluation_size: int = 1000,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_positive(length=length, evaluation_size=evaluation_size)
        super().__init__(protocol, data_seed)
        self.length, self.evaluation_size = length, evaluation_size

    @property
    def spec(self) -> TaskSpec:
        """Bits in, even or odd out at every step."""
        return TaskSpec(
            task=self.name,
            inputs=Tokens(vocabulary=2, length=self.length),
            outputs=Classes(2),
            predicts="every step",
            causal=True,
        )

    def sequences(self, count: int, generator: torch.Generator) -> Batch:
        """Draw `count` sequences: inputs and targets ``Int[Tensor, "count time"]``."""
        bits = torch.randint(2, (count, self.length), generator=generator)
        return Batch(bits, bits.cumsum(1) % 2)

    def train_batch(self, step: int) -> Batch:
        """Fresh sequences for every step."""
        return self.sequences(self.protocol.batch_size, self.generator("train", self.data_seed, step))

    def evaluation_set(self, split: str) -> Batch:
        """A fixed draw of `evaluation_size` sequences."""
        return self.sequences(self.evaluation_size, self.generator(split))

    def loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats, the mean over all steps."""
        return cross_entropy(prediction.flatten(0, 1), batch.targets.flatten())

    def metrics(self) -> MetricCollection:
        """Loss and accuracy over all steps."""
        return MetricCollection({"loss": CrossEntropy(), "accuracy": Accuracy()}, compute_groups=False)

    def baseline(self, name: str) -> dict[str, float]:
        """``coin``: both answers alike at every step."""
        if name != "coin":
            raise UserError(f"task 'running_parity' has no baseline '{name}'; it has coin")
        return {"accuracy": 0.5, "loss": math.log(2)}


class CrossEntropy(MeanMetric):
    """Mean cross-entropy in nats over all steps."""

    def update(self, prediction: Float[Tensor, "batch time class"], targets: Int[Tensor, "batch time"]) -> None:
        """Add a batch of logits and targets."""
        super().update(cross_entropy(prediction.flatten(0, 1), targets.flatten(), reduction="none"))


class Accuracy(MeanMetric):
    """Share of all steps answered rightly."""

    def update(self, prediction: Float[Tensor, "batch time class"], targets: Int[Tensor, "batch time"]) -> None:
        """Add a batch of logits and targets."""
        super().update((prediction.argmax(-1) == targets).float())
