"""The copy task's data, loss, metrics and floor."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import Metric, MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch, Split, Task
from rnnae_bench.errors import UserError, require_not_negative, require_positive


class CopyTask(Task):
    """Remember `recall` symbols over `delay` blank steps, then repeat them in order.

    One row, with recall=3 and delay=4 (``.`` blank, ``#`` delimiter)::

        input    c a h . . . # . . .
        target   . . . . . . . c a h

    Symbols are 1..symbols, the blank is 0, the delimiter symbols+1. The delimiter stands on the last step of
    the gap, so a sequence has delay + 2 * recall steps and the first symbol must be held for delay + recall.
    Training sequences are drawn afresh at every step.

    Args:
        delay: Steps between the last symbol and the first recalled one; the delimiter is the last of them.
        recall: Symbols to remember.
        symbols: Size of the alphabet.
        evaluation_size: Sequences in the validation and in the test set, each.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training sequences.
    """

    name = "copy"

    def __init__(
        self,
        delay: int = 20,
        recall: int = 10,
        symbols: int = 8,
        evaluation_size: int = 1000,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_not_negative(delay=delay)
        if delay == 0:
            raise UserError("delay is 0; it must be at least 1, the delimiter's own step")
        require_positive(recall=recall, symbols=symbols, evaluation_size=evaluation_size)
        super().__init__(protocol, data_seed)
        self.delay, self.recall, self.symbols = delay, recall, symbols
        self.evaluation_size = evaluation_size

    @property
    def spec(self) -> TaskSpec:
        """Symbols, blank and delimiter in; symbols and blank out at every step; the last `recall` are scored."""
        length = self.delay + 2 * self.recall
        return TaskSpec(
            task=self.name,
            inputs=Tokens(vocabulary=self.symbols + 2, length=length),
            outputs=Classes(self.symbols + 1),
            predicts="every step",
            causal=True,
            scored_steps=(length - self.recall, length),
        )

    def sequences(self, count: int, generator: torch.Generator) -> Batch:
        """Draw `count` sequences: inputs and targets ``Int[Tensor, "count time"]``."""
        drawn = torch.randint(1, self.symbols + 1, (count, self.recall), generator=generator)
        inputs = torch.zeros(count, self.delay + 2 * self.recall, dtype=torch.long)
        targets = torch.zeros_like(inputs)
        inputs[:, : self.recall] = drawn
        inputs[:, self.recall + self.delay - 1] = self.symbols + 1
        targets[:, -self.recall :] = drawn
        return Batch(inputs, targets)

    def train_batch(self, step: int) -> Batch:
        """Fresh sequences for every step."""
        return self.sequences(self.protocol.batch_size, self.generator("train", self.data_seed, step))

    def evaluation_set(self, split: Split) -> Batch:
        """A fixed draw of `evaluation_size` sequences."""
        return self.sequences(self.evaluation_size, self.generator(split))

    def loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats, the mean over all steps."""
        # PyTorch's softmax is several times as fast along an axis that is not the last, and gathering stays fast under
        # torch.vmap, where cross_entropy does not.
        logits = prediction.transpose(1, 2).contiguous()
        return -logits.log_softmax(dim=1).gather(1, batch.targets.unsqueeze(1)).mean()

    def metrics(self) -> MetricCollection:
        """Loss over all steps; loss and accuracy over the recalled steps; share recalled whole."""
        return MetricCollection(
            {
                "loss": CrossEntropy(),
                "recall_loss": CrossEntropy(last=self.recall),
                "recall_accuracy": RecallAccuracy(self.recall),
                "sequence_accuracy": RecallAccuracy(self.recall, whole=True),
            },
            compute_groups=False,
        )

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch time class"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """The share of the recalled symbols that each sequence has right, or whether it has them all."""
        right = prediction[:, -self.recall :].argmax(-1) == batch.targets[:, -self.recall :]
        if metric == "recall_accuracy":
            return right.float().mean(dim=-1)
        return right.all(-1).float() if metric == "sequence_accuracy" else None

    def baseline(self, name: str) -> dict[str, float]:
        """``memoryless``: blanks until the delimiter, then all symbols alike."""
        if name != "memoryless":
            raise UserError(f"task 'copy' has no baseline '{name}'; it has memoryless")
        chance = 1 / self.symbols
        recall_loss = math.log(self.symbols)
        return {
            "loss": self.recall * recall_loss / (self.delay + 2 * self.recall),
            "recall_loss": recall_loss,
            "recall_accuracy": chance,
            "sequence_accuracy": chance**self.recall,
        }


class CrossEntropy(Metric):
    """Mean cross-entropy in nats over the last `last` steps, or over all.

    Args:
        last: How many steps at the end are looked at; None means all.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, last: int | None = None) -> None:
        super().__init__()
        self.last = last
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, prediction: Float[Tensor, "batch time class"], targets: Int[Tensor, "batch time"]) -> None:
        """Add a batch of logits and targets."""
        start = 0 if self.last is None else targets.shape[1] - self.last
        wanted = targets[:, start:].flatten()
        self.total += cross_entropy(prediction[:, start:].flatten(0, 1), wanted, reduction="sum")
        self.count += wanted.numel()

    def compute(self) -> Float[Tensor, ""]:
        """The mean."""
        return self.total / self.count


class RecallAccuracy(Metric):
    """Share of the last `recall` symbols named rightly, or (`whole`) of sequences with all of them right.

    Args:
        recall: How many steps at the end are looked at.
        whole: Count sequences instead of symbols.
    """

    full_state_update = False
    right: Tensor
    count: Tensor

    def __init__(self, recall: int, whole: bool = False) -> None:
        super().__init__()
        self.recall, self.whole = recall, whole
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, prediction: Float[Tensor, "batch time class"], targets: Int[Tensor, "batch time"]) -> None:
        """Add a batch of logits and targets."""
        right = prediction[:, -self.recall :].argmax(-1) == targets[:, -self.recall :]
        if self.whole:
            right = right.all(-1)
        self.right += right.sum()
        self.count += right.numel()

    def compute(self) -> Float[Tensor, ""]:
        """The share."""
        return self.right / self.count
