"""The parity task's data, loss, metrics and floor."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.metrics import Accuracy, CrossEntropy, cross_entropy, longest_solved

SOLVED = 0.99
"""Share of right answers from which on a length counts as solved in `longest_length`."""


class ParityTask(Task):
    """Read random bits, and say after the last whether the number of ones is odd.

    One row, of 8 bits, and what is asked with `every_step`::

        input    0 1 1 0 1 0 0 1
        target                 0
        every    0 1 0 0 1 1 1 0

    Training sequences are drawn afresh at every step, each of a length of its own from `min_length` to `max_length`.
    All sequences of validation and test have `max_length` bits, those of ``test@2x`` twice as many, and so on up to 16
    times.

    Args:
        min_length: Bits of the shortest training sequence.
        max_length: Bits of the longest training sequence, and of every one of validation and test.
        every_step: Ask for the parity of all bits so far at every step of the training, and not after the last alone.
            The score is the last step's in either case.
        evaluation_size: Sequences in each evaluation set.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training sequences.
    """

    name = "parity"
    evaluation_sets = ("validation", "test", "test@2x", "test@4x", "test@8x", "test@16x")

    def __init__(
        self,
        min_length: int = 3,
        max_length: int = 40,
        every_step: bool = False,
        evaluation_size: int = 1000,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_positive(min_length=min_length, max_length=max_length, evaluation_size=evaluation_size)
        if max_length < min_length:
            raise UserError(f"max_length is {max_length}; it must be at least min_length, {min_length}")
        super().__init__(protocol, data_seed)
        self.min_length, self.max_length, self.every_step = min_length, max_length, every_step
        self.evaluation_size = evaluation_size

    @property
    def spec(self) -> TaskSpec:
        """Bits in; even or odd out, once or at every step, of which the last is scored."""
        return TaskSpec(
            task=self.name,
            inputs=Tokens(vocabulary=2, length=self.max_length),
            outputs=Classes(2),
            predicts="every step" if self.every_step else "last step",
            causal=True,
            scored_steps=(self.max_length - 1, self.max_length) if self.every_step else None,
            variable_length=True,
        )

    def sequences(self, lengths: Int[Tensor, " count"], generator: torch.Generator) -> Batch:
        """Draw a sequence of each length, padded with zeros, which leave the parity what it is."""
        steps = int(lengths.max())
        bits = torch.randint(2, (len(lengths), steps), generator=generator)
        bits *= torch.arange(steps) < lengths.unsqueeze(1)
        return Batch(bits, bits.cumsum(1) % 2 if self.every_step else bits.sum(1) % 2, lengths)

    def train_batch(self, step: int) -> Batch:
        """Fresh sequences for every step, of all lengths alike."""
        generator = self.generator("train", self.data_seed, step)
        size = (self.protocol.batch_size,)
        return self.sequences(torch.randint(self.min_length, self.max_length + 1, size, generator=generator), generator)

    def evaluation_length(self, name: str) -> int:
        """Bits of each sequence of an evaluation set."""
        return self.max_length * int(name.partition("@")[2].removesuffix("x") or 1)

    def evaluation_set(self, name: str) -> Batch:
        """A fixed draw of `evaluation_size` sequences of one length."""
        lengths = torch.full((self.evaluation_size,), self.evaluation_length(name))
        return self.sequences(lengths, self.generator(name))

    def loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats: of the answer, or of each row the mean over its steps."""
        return cross_entropy(prediction, batch)

    def metrics(self) -> MetricCollection:
        """Loss and accuracy after the last bit; over all steps too, where they are asked for."""
        if not self.every_step:
            return MetricCollection({"loss": CrossEntropy(), "accuracy": Accuracy()}, compute_groups=False)
        return MetricCollection(
            {
                "loss": CrossEntropy(last=1),
                "accuracy": Accuracy(last=1),
                "step_loss": CrossEntropy(),
                "step_accuracy": Accuracy(),
            },
            compute_groups=False,
        )

    def over_sets(self, measured: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """``longest_length``: bits of the longest sequences that are solved, and all shorter ones with them."""
        by_length = {self.evaluation_length(name): metrics["accuracy"] for name, metrics in measured.items()}
        return {"longest_length": float(longest_solved(by_length, SOLVED))}

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch *time class"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Whether each sequence's parity is right."""
        if metric != "accuracy":
            return None
        right = prediction.argmax(-1) == batch.targets
        return (right[:, -1] if self.every_step else right).float()

    def baseline(self, name: str) -> dict[str, float]:
        """``coin``: both answers alike."""
        if name != "coin":
            raise UserError(f"task 'parity' has no baseline '{name}'; it has coin")
        values = {"accuracy": 0.5, "loss": math.log(2), "longest_length": 0.0}
        return {**values, "step_accuracy": 0.5, "step_loss": math.log(2)} if self.every_step else values
