"""The counting task's data, loss, metrics and baselines."""

import itertools
import math
from collections.abc import Mapping
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_choice, require_positive
from rnnae_bench.metrics import BitsPerSymbol, longest_solved, summed_cross_entropy
from rnnae_bench.metrics.mean import Mean
from rnnae_tasks.counting.languages import LANGUAGES
from rnnae_tasks.counting.ngram import Interpolated

ORDERS = range(2, 9)
"""Of the n-grams, the strongest of which is a baseline."""


class CountingTask(Task):
    """Predict the next symbol of a string whose end is told by counting: a^n b^n and its like.

    One row of ``anbn`` with n = 3; ``#`` begins and ends a string::

        input    # a a a b b b
        target   a a a b b b #

    Sizes (n, and m where there are two) of training strings are drawn at every step from a geometric distribution up
    to `max_size`, as are those of validation. Those of test are longer: each from one more up to twice as much, once;
    those of ``test@4x`` from there to four times.

    Args:
        language: ``anbn``, ``anbncn``, ``anbncndn``, ``anb2n`` or ``anbmcnm`` (as many c as a and b together).
        max_size: The largest size in training.
        evaluation_size: Strings in the validation set.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training strings.
    """

    name = "counting"
    evaluation_sets = ("validation", "test", "test@4x")

    def __init__(
        self,
        language: str = "anbn",
        max_size: int = 20,
        evaluation_size: int = 1000,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_choice((*LANGUAGES,), language=language)
        require_positive(max_size=max_size, evaluation_size=evaluation_size)
        super().__init__(protocol, data_seed)
        self.language, self.max_size, self.evaluation_size = language, max_size, evaluation_size
        self.grammar = LANGUAGES[language]

    @property
    def input_names(self) -> str:
        """The mark, and a letter a block."""
        return "#abcd"[: self.grammar.symbols]

    @property
    def spec(self) -> TaskSpec:
        """Symbols in, the next one out at every step."""
        return TaskSpec(
            task=self.name,
            inputs=Tokens(vocabulary=self.grammar.symbols, length=int(self.grammar.steps(self.sizes_of("test")).max())),
            outputs=Classes(self.grammar.symbols),
            predicts="every step",
            causal=True,
            variable_length=True,
        )

    def shares(self) -> Float[Tensor, " size"]:
        """How often each size from 1 to `max_size` is drawn."""
        sizes = torch.arange(1, self.max_size + 1, dtype=torch.float64)
        chances = (1 - self.grammar.prior) ** (sizes - 1)
        return chances / chances.sum()

    def sizes_of(self, name: str) -> Int[Tensor, "count size"]:
        """The sizes of each string of a set that is longer than in training: all, or all pairs."""
        factor = {"test": 1, "test@4x": 2}[name]
        one = range(factor * self.max_size + 1, 2 * factor * self.max_size + 1)
        return torch.tensor([*itertools.product(one, repeat=self.grammar.sizes)])

    def batch(self, sizes: Int[Tensor, "count size"]) -> Batch:
        """The strings of these sizes."""
        strings = self.grammar.strings(sizes)
        return Batch(strings[:, :-1].contiguous(), strings[:, 1:].contiguous(), self.grammar.steps(sizes))

    def drawn(self, count: int, generator: torch.Generator) -> Batch:
        """Strings of random sizes."""
        draws = torch.multinomial(self.shares(), count * self.grammar.sizes, replacement=True, generator=generator)
        return self.batch(draws.view(count, -1) + 1)

    def train_batch(self, step: int) -> Batch:
        """Fresh strings for every step."""
        return self.drawn(self.protocol.batch_size, self.generator("train", self.data_seed, self.language, step))

    def evaluation_set(self, name: str) -> Batch:
        """Strings as in training, or longer ones."""
        if name == "validation":
            return self.drawn(self.evaluation_size, self.generator(name, self.language))
        return self.batch(self.sizes_of(name))

    def loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats: of each row the sum over its steps, over those that a string has on average."""
        return summed_cross_entropy(prediction, batch, self._steps_a_row)

    @cached_property
    def _steps_a_row(self) -> float:
        """Symbols of a string in training, as expected."""
        sizes = torch.arange(1, self.max_size + 1, dtype=torch.float64)
        mean = (self.shares() * sizes).sum().item()
        return 1 + mean * sum(map(sum, self.grammar.factors))

    def metrics(self) -> MetricCollection:
        """Bits a symbol; accuracy where the grammar leaves one next symbol."""
        return MetricCollection(
            {"bits": BitsPerSymbol(), "certain_accuracy": CertainAccuracy(self.language)}, compute_groups=False
        )

    def over_sets(self, measured: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """``longest_size``: the largest size of the longest set without an error where the next symbol is certain."""
        by_size = {int(self.sizes_of(name).max()): metrics["certain_accuracy"] for name, metrics in measured.items()}
        return {"longest_size": float(longest_solved(by_size, 1.0))}

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch time class"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Bits of each row, in units of the symbols that a row of the test set has on average."""
        if metric != "bits" or batch.lengths is None:
            return None
        chances = prediction.double().log_softmax(-1).gather(-1, batch.targets.unsqueeze(-1)).squeeze(-1)
        counted = torch.arange(batch.targets.shape[1]) < batch.lengths.unsqueeze(1)
        costs = -(chances * counted).sum(1) / math.log(2)
        return costs / self.grammar.steps(self.sizes_of("test")).double().mean()

    def baseline(self, name: str) -> dict[str, float]:
        """``optimal``: who knows the grammar. ``unigram``, ``ngram``: counted on what is expected of the training."""
        sizes = self.sizes_of("test")
        total = self.grammar.steps(sizes).sum().item()
        if name == "optimal":
            bits = self.grammar.bits(sizes).sum().item() / total
            return {"bits": bits, "certain_accuracy": 1.0, "longest_size": 4.0 * self.max_size}
        if name not in {"unigram", "ngram"}:
            raise UserError(f"task 'counting' has no baseline '{name}'; it has optimal, ngram, unigram")
        seen = torch.tensor([*itertools.product(range(1, self.max_size + 1), repeat=self.grammar.sizes)])
        weights = self.shares()[seen - 1].prod(1) * self.protocol.max_steps * self.protocol.batch_size
        orders = [1] if name == "unigram" else ORDERS
        models = [Interpolated(self.listed(seen), weights.tolist(), self.grammar.symbols, order) for order in orders]
        return {"bits": min(sum(map(model.bits, self.listed(sizes))) for model in models) / total}

    def listed(self, sizes: Int[Tensor, "count size"]) -> list[list[int]]:
        """The strings of these sizes, mark to mark."""
        strings, ends = self.grammar.strings(sizes).tolist(), self.grammar.steps(sizes).tolist()
        return [string[: end + 1] for string, end in zip(strings, ends, strict=True)]


class CertainAccuracy(Mean):
    """Share of the steps at which the grammar leaves one next symbol, and that is answered.

    Args:
        language: Whose grammar.
    """

    def __init__(self, language: str) -> None:
        super().__init__(torch.int64)
        self.grammar = LANGUAGES[language]

    def update(self, prediction: Float[Tensor, "batch time class"], batch: Batch) -> None:
        """Add a batch of logits."""
        certain = self.grammar.certain(batch.inputs)
        if batch.lengths is not None:
            certain = certain & (torch.arange(certain.shape[1], device=certain.device) < batch.lengths.unsqueeze(1))
        self.add(prediction.argmax(-1) == batch.targets, certain)
