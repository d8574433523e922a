"""The copy task's data, loss, metrics and floor."""

import math
from string import ascii_lowercase

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_not_negative, require_positive
from rnnae_bench.metrics import Accuracy, CrossEntropy, cross_entropy


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
    def input_names(self) -> list[str] | None:
        """The blank, a letter a symbol, the delimiter; None where there are more symbols than letters."""
        if self.symbols > len(ascii_lowercase):
            return None
        return [".", *ascii_lowercase[: self.symbols], "#"]

    @property
    def output_names(self) -> list[str] | None:
        """The blank, and a letter a symbol."""
        names = self.input_names
        return names and names[:-1]

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

    def evaluation_set(self, name: str) -> Batch:
        """A fixed draw of `evaluation_size` sequences."""
        return self.sequences(self.evaluation_size, self.generator(name))

    def loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats, the mean over all steps."""
        return cross_entropy(prediction, batch)

    def metrics(self) -> MetricCollection:
        """Loss over all steps; loss and accuracy over the recalled steps; share recalled whole."""
        return MetricCollection(
            {
                "loss": CrossEntropy(),
                "recall_loss": CrossEntropy(last=self.recall),
                "recall_accuracy": Accuracy(last=self.recall),
                "sequence_accuracy": Accuracy(last=self.recall, whole=True),
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
