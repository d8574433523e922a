"""The selective copying task's data, loss, metrics and floor."""

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


class SelectiveCopyTask(Task):
    """Remember `recall` symbols that come at random places among `noise` blanks, then repeat them in order.

    The first test row, with recall=3 and noise=5 (``.`` blank, ``#`` marker)::

        input    . . c . h e . . # # #
        target   . . . . . . . . c h e

    Symbols are 1..symbols, the blank is 0, the marker symbols+1. Every choice of places is as likely as another. Only
    the last `recall` steps are scored. Training sequences are drawn afresh at every step.

    Args:
        noise: Blank steps, among which the symbols are scattered.
        recall: Symbols to remember.
        symbols: Size of the alphabet.
        evaluation_size: Sequences in the validation and in the test set, each.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training sequences.
    """

    name = "selective_copy"

    def __init__(
        self,
        noise: int = 30,
        recall: int = 8,
        symbols: int = 8,
        evaluation_size: int = 1000,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_not_negative(noise=noise)
        require_positive(recall=recall, symbols=symbols, evaluation_size=evaluation_size)
        super().__init__(protocol, data_seed)
        self.noise, self.recall, self.symbols = noise, recall, symbols
        self.evaluation_size = evaluation_size

    @property
    def input_names(self) -> list[str] | None:
        """The blank, a letter a symbol, the marker; None where there are more symbols than letters."""
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
        """Symbols, blank and marker in; symbols and blank out at every step; the last `recall` are scored."""
        length = self.noise + 2 * self.recall
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
        read = self.noise + self.recall
        drawn = torch.randint(1, self.symbols + 1, (count, self.recall), generator=generator)
        places = torch.rand(count, read, generator=generator).topk(self.recall, dim=1).indices.sort(dim=1).values
        inputs = torch.zeros(count, read + self.recall, dtype=torch.long)
        targets = torch.zeros_like(inputs)
        inputs.scatter_(1, places, drawn)
        inputs[:, read:] = self.symbols + 1
        targets[:, read:] = drawn
        return Batch(inputs, targets)

    def train_batch(self, step: int) -> Batch:
        """Fresh sequences for every step."""
        return self.sequences(self.protocol.batch_size, self.generator("train", self.data_seed, step))

    def evaluation_set(self, name: str) -> Batch:
        """A fixed draw of `evaluation_size` sequences."""
        return self.sequences(self.evaluation_size, self.generator(name))

    def loss(self, prediction: Float[Tensor, "batch time class"], batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats, the mean over the recalled steps."""
        recalled = batch._replace(targets=batch.targets[:, -self.recall :])
        return cross_entropy(prediction[:, -self.recall :], recalled)

    def metrics(self) -> MetricCollection:
        """Loss and accuracy over the recalled steps; share recalled whole."""
        return MetricCollection(
            {
                "loss": CrossEntropy(last=self.recall),
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
        """``memoryless``: all symbols alike, at every marker."""
        if name != "memoryless":
            raise UserError(f"task 'selective_copy' has no baseline '{name}'; it has memoryless")
        chance = 1 / self.symbols
        return {
            "loss": math.log(self.symbols),
            "recall_accuracy": chance,
            "sequence_accuracy": chance**self.recall,
        }
