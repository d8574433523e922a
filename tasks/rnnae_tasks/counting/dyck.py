"""The Dyck-1 task's data, loss, metrics and baselines."""

import math
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.metrics import BitsPerSymbol, counted_steps, summed_cross_entropy, update_metrics
from rnnae_bench.metrics.mean import Mean
from rnnae_tasks.counting.brackets import CLOSE, MARK, OPEN, Brackets, lengths_of
from rnnae_tasks.counting.ngram import Interpolated

COUNTED = 20_000
"""Strings that the n-grams count."""
ORDER = 10
"""Symbols of the longest n-gram, the predicted one included."""


class DyckTask(Task):
    """Predict the next symbol of balanced brackets, Dyck-1: where none is open a string may end, and only there.

    One row; ``#`` begins and ends a string::

        input    # ( ( ) ( ) )
        target   ( ( ) ( ) ) #

    At every step a bracket opens with chance `expand`; else the innermost one closes, or the string ends where none is
    open. Which of these two it is, counting tells. Training strings are drawn afresh at every step.

    Args:
        expand: Chance that a bracket opens, below 1/2, so that strings end.
        pairs: Brackets that a string may open; strings with more are not drawn.
        evaluation_size: Strings in the validation and in the test set, each.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training strings.
    """

    name = "dyck"

    def __init__(
        self,
        expand: float = 0.3,
        pairs: int = 30,
        evaluation_size: int = 2000,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        if not 0 < expand < 0.5:
            raise UserError(f"expand is {expand}; it must be above 0 and below 0.5, or strings would not end")
        require_positive(pairs=pairs, evaluation_size=evaluation_size)
        if pairs > 1000:
            raise UserError(f"pairs is {pairs}; it must be at most 1000, whose chances make a table of a million")
        super().__init__(protocol, data_seed)
        self.grammar = Brackets(expand, pairs)
        self.evaluation_size = evaluation_size

    @property
    def input_names(self) -> str:
        """The mark, and the two brackets."""
        return "#()"

    @property
    def spec(self) -> TaskSpec:
        """Mark and brackets in, the next symbol out at every step."""
        return TaskSpec(
            task=self.name,
            inputs=Tokens(vocabulary=3, length=2 * self.grammar.pairs + 1),
            outputs=Classes(3),
            predicts="every step",
            causal=True,
            variable_length=True,
        )

    def strings(self, count: int, generator: torch.Generator) -> Batch:
        """Draw strings: inputs and targets ``Int[Tensor, "count time"]``."""
        drawn = self.grammar.draw(count, generator)
        return Batch(drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous(), lengths_of(drawn))

    def train_batch(self, step: int) -> Batch:
        """Fresh strings for every step."""
        return self.strings(self.protocol.batch_size, self.generator("train", self.data_seed, step))

    def evaluation_set(self, name: str) -> Batch:
        """A fixed draw of `evaluation_size` strings."""
        return self.strings(self.evaluation_size, self.generator(name))

    def loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats: of each row the sum over its steps, over those that a string has on average."""
        return summed_cross_entropy(prediction, batch, self._steps_a_row)

    @cached_property
    def _steps_a_row(self) -> float:
        """Symbols of a string of the validation set, in the mean."""
        lengths = self.evaluation_set("validation").lengths
        assert lengths is not None
        return lengths.double().mean().item()

    def metrics(self) -> MetricCollection:
        """Bits a symbol; how often it is known whether a bracket closes or the string ends, where one of them comes."""
        return MetricCollection({"bits": BitsPerSymbol(), "end_accuracy": EndAccuracy()}, compute_groups=False)

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch time class"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Bits of each row, in units of the symbols that a row of the test set has on average."""
        counted, lengths = counted_steps(batch), self.evaluation_set("test").lengths
        if metric != "bits" or counted is None or lengths is None:
            return None
        chances = prediction.double().log_softmax(-1).gather(-1, batch.targets.unsqueeze(-1)).squeeze(-1)
        costs = -torch.where(counted, chances, 0.0).sum(1) / math.log(2)
        return costs / lengths.double().mean().to(costs.device)

    def baseline_answer(self, name: str) -> Float[Tensor, "batch time class"]:
        """Logarithms of the chances of every next symbol of the test rows.

        ``optimal``: those of the grammar. ``ngram``: counts of what comes after up to nine symbols in 20,000 strings.
        ``unigram``: counts of the symbols there.
        """
        batch = self.evaluation_set("test")
        if name == "optimal":
            return self.grammar.chances(batch.inputs).log()
        if name not in {"ngram", "unigram"}:
            raise UserError(f"task 'dyck' has no baseline '{name}'; it has optimal, ngram, unigram")
        counted = self.grammar.draw(COUNTED, self.generator("counted"))
        texts = [row[: end + 1] for row, end in zip(counted.tolist(), lengths_of(counted).tolist(), strict=True)]
        order = ORDER if name == "ngram" else 1
        model = Interpolated(texts, [1.0] * len(texts), 3, order)
        answer = torch.zeros(*batch.inputs.shape, 3, dtype=torch.float64)
        known: dict[tuple[int, ...], list[float]] = {}
        assert batch.lengths is not None
        for row, (symbols, length) in enumerate(zip(batch.inputs.tolist(), batch.lengths.tolist(), strict=True)):
            for step in range(length):
                context = tuple(symbols[max(0, step - order + 2) : step + 1]) if order > 1 else ()
                if context not in known:
                    known[context] = [model.chance(context, symbol) for symbol in (MARK, OPEN, CLOSE)]
                answer[row, step] = torch.tensor(known[context], dtype=torch.float64)
        return answer.clamp(min=torch.finfo(torch.float64).tiny).log()

    def baseline(self, name: str) -> dict[str, float]:
        """What a baseline's answers to the test rows score."""
        metrics = self.metrics()
        update_metrics(metrics, self.baseline_answer(name), self.evaluation_set("test"))
        return {metric: value.item() for metric, value in metrics.compute().items()}


class EndAccuracy(Mean):
    """Where no bracket opens: share of the steps at which end and closing bracket are told apart."""

    def __init__(self) -> None:
        super().__init__(torch.int64)

    def update(self, prediction: Float[Tensor, "batch time class"], batch: Batch) -> None:
        """Add a batch of logits."""
        counted = counted_steps(batch)
        asked = batch.targets != OPEN
        ends = prediction[..., MARK] > prediction[..., CLOSE]
        self.add(ends == (batch.targets == MARK), asked if counted is None else asked & counted)
