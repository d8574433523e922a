"""The temporal order task's data, loss, metrics and floors."""

import math
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.metrics import Accuracy, CrossEntropy, cross_entropy

X, FIRST_DISTRACTOR, START, END = 0, 2, 6, 7
"""Symbols: X and Y are 0 and 1, the distractors a, b, c, d 2 to 5, then the first and the last of every sequence."""
WINDOWS = {2: ((10, 20), (50, 60)), 3: ((10, 20), (33, 43), (66, 76))}
"""First and last place of each X or Y in a hundred steps."""
SHORTEST = 10
"""Steps of the shortest sequence: shorter ones would have no room between two windows."""


class TemporalOrderTask(Task):
    """Among many distractors stand two or three symbols, each an X or a Y; tell at the end which they were, in order.

    The first test row, with length=20 (``E`` begins, ``B`` ends)::

        input    E c Y c b b b d c b d d X d d a a b a B
        target                                         YX

    Class numbers read the symbols as binary digits, X 0 and Y 1, the first first. X and Y stand in windows of their
    own, at any step of 10% to 20% and of 50% to 60% of the length (of three symbols: 10% to 20%, 33% to 43%, 66% to
    76%). Training sequences are drawn afresh at every step.

    Args:
        length: Steps of a sequence.
        symbols: How many are X or Y: 2 (four classes) or 3 (eight).
        evaluation_size: Sequences in the validation and in the test set, each.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training sequences.
    """

    name = "temporal_order"

    def __init__(
        self,
        length: int = 100,
        symbols: int = 2,
        evaluation_size: int = 1000,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        if length < SHORTEST:
            raise UserError(f"length is {length}; it must be at least {SHORTEST}, so that X and Y have room")
        if symbols not in WINDOWS:
            raise UserError(f"symbols is {symbols}; it must be 2 or 3, for four or eight classes")
        require_positive(evaluation_size=evaluation_size)
        super().__init__(protocol, data_seed)
        self.length, self.symbols, self.evaluation_size = length, symbols, evaluation_size
        self.windows = [tuple((place * length + 50) // 100 for place in window) for window in WINDOWS[symbols]]
        """First and last step of each X or Y."""

    @property
    def spec(self) -> TaskSpec:
        """Eight symbols in, one of four or eight classes out after the last."""
        return TaskSpec(
            task=self.name,
            inputs=Tokens(vocabulary=END + 1, length=self.length),
            outputs=Classes(2**self.symbols),
            predicts="last step",
            causal=True,
        )

    def sequences(self, count: int, generator: torch.Generator) -> Batch:
        """Draw `count` sequences: inputs ``Int[Tensor, "count time"]``, targets ``Int[Tensor, " count"]``."""
        inputs = torch.randint(FIRST_DISTRACTOR, START, (count, self.length), generator=generator)
        inputs[:, 0], inputs[:, -1] = START, END
        drawn = torch.randint(2, (count, self.symbols), generator=generator)
        steps = [torch.randint(first, last + 1, (count,), generator=generator) for first, last in self.windows]
        inputs.scatter_(1, torch.stack(steps, dim=1), X + drawn)
        return Batch(inputs, drawn @ self._digits)

    @property
    def _digits(self) -> Int[Tensor, " symbols"]:
        """What each symbol counts in a class number."""
        return 2 ** torch.arange(self.symbols - 1, -1, -1)

    def train_batch(self, step: int) -> Batch:
        """Fresh sequences for every step."""
        return self.sequences(self.protocol.batch_size, self.generator("train", self.data_seed, step))

    def evaluation_set(self, name: str) -> Batch:
        """A fixed draw of `evaluation_size` sequences."""
        return self.sequences(self.evaluation_size, self.generator(name))

    def loss(self, prediction: Float[Tensor, "batch class"], batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats."""
        return cross_entropy(prediction, batch)

    def metrics(self) -> MetricCollection:
        """Loss and accuracy."""
        return MetricCollection({"loss": CrossEntropy(), "accuracy": Accuracy()}, compute_groups=False)

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch class"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Whether each sequence is told rightly."""
        return (prediction.argmax(-1) == batch.targets).float() if metric == "accuracy" else None

    def _known(self, name: str) -> Int[Tensor, " class"]:
        """What a baseline sees of each class: classes of the same number are alike to it."""
        symbols = torch.tensor([*product((0, 1), repeat=self.symbols)])
        seen = {"chance": 0 * symbols, "all_but_first": symbols[:, 1:] * self._digits[1:], "counts": symbols}
        if name not in seen:
            raise UserError(f"task 'temporal_order' has no baseline '{name}'; it has {', '.join(seen)}")
        return seen[name].sum(dim=1)

    def baseline_answer(self, name: str) -> Float[Tensor, "batch class"]:
        """Log chances of every class to one who sees part of a test row.

        ``chance``: nothing. ``all_but_first``: all X and Y but the first. ``counts``: how many were X and how many Y,
        and not in which order; of classes that are alike to it, it names one.
        """
        known = self._known(name)
        alike = (known[self.evaluation_set("test").targets].unsqueeze(1) == known).float()
        return alike.log() - alike.sum(dim=1, keepdim=True).log()

    def baseline(self, name: str) -> dict[str, float]:
        """Closed forms: of n classes that are alike to a baseline one is right, and the loss is ln n.

        All classes are as likely as each other, so that its accuracy is the number of groups over that of classes.
        """
        sizes = self._known(name).unique(return_counts=True)[1].tolist()
        return {
            "loss": sum(size * math.log(size) for size in sizes) / 2**self.symbols,
            "accuracy": len(sizes) / 2**self.symbols,
        }
