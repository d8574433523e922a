"""The data, loss, metrics and floors of state tracking in groups and in arithmetic modulo five."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_choice, require_positive
from rnnae_bench.metrics import Accuracy, CrossEntropy, cross_entropy, longest_solved
from rnnae_tasks.modular.automata import AUTOMATA, guesses

SOLVED = 0.99
"""Share of right answers after the last move from which on a length counts as solved in `longest_length`."""


class ModularTask(Task):
    """Track a state that every token moves: a position on a circle, an expression's value, a product of permutations.

    One row of ``cycle``, five positions (``<`` to the left, ``.`` stay, ``>`` to the right), one of ``arithmetic``,
    modulo five and times first, and one of ``S3`` (permutations of three points, numbered 0 to 5 in the order of their
    one-line forms 012, 021, 102, 120, 201, 210; the product of all so far)::

        input    > > . < < <         input    3 + 4 * 2 - 4         input    1 2 0 3 4 5
        target   1 2 2 1 0 4         target   3   2   1   2         target   1 3 3 4 3 2

    Training sequences are drawn afresh at every step. Those of ``test@2x`` have twice as many tokens, and so on up to
    16 times.

    Args:
        group: What is tracked: ``cycle``, ``arithmetic``, or the word problem of ``S3``, ``A5`` or ``S5``: all
            permutations of so many points, or all even ones, each a token.
        length: Tokens of a sequence; an odd number for ``arithmetic``, whose longer sets are one shorter for that.
        evaluation_size: Sequences in each evaluation set.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training sequences.
    """

    name = "modular"
    evaluation_sets = ("validation", "test", "test@2x", "test@4x", "test@8x", "test@16x")

    def __init__(
        self,
        group: str = "cycle",
        length: int = 32,
        evaluation_size: int = 1000,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_choice((*AUTOMATA,), group=group)
        require_positive(length=length, evaluation_size=evaluation_size)
        super().__init__(protocol, data_seed)
        self.group, self.length, self.evaluation_size = group, length, evaluation_size
        self.automaton = AUTOMATA[group]
        if (length - 1) % self.automaton.tokens_per_move:
            raise UserError(f"length is {length}; it must be odd, since an expression of '{group}' ends with a digit")

    @property
    def spec(self) -> TaskSpec:
        """Moves in; the value out at every step, of which the last is scored."""
        return TaskSpec(
            task=self.name,
            inputs=Tokens(vocabulary=self.automaton.tokens, length=self.length),
            outputs=Classes(self.automaton.values),
            predicts="every step",
            causal=True,
            scored_steps=(self.length - 1, self.length),
        )

    def sequences(self, count: int, length: int, generator: torch.Generator) -> Batch:
        """Draw sequences; the mask, ``"count time"``, is of the steps that end a move, where it takes two tokens."""
        tokens, each = self.automaton.draw(count, length, generator), self.automaton.tokens_per_move
        mask = None if each == 1 else (torch.arange(length) % each == 0).repeat(count, 1)
        return Batch(tokens, self.automaton.run(tokens), mask=mask)

    def train_batch(self, step: int) -> Batch:
        """Fresh sequences for every step."""
        return self.sequences(
            self.protocol.batch_size, self.length, self.generator("train", self.data_seed, self.group, step)
        )

    def evaluation_length(self, name: str) -> int:
        """Tokens of each sequence of an evaluation set."""
        length = self.length * int(name.partition("@")[2].removesuffix("x") or 1)
        return length - (length - 1) % self.automaton.tokens_per_move

    def evaluation_set(self, name: str) -> Batch:
        """A fixed draw of `evaluation_size` sequences of one length."""
        generator = self.generator(name, self.group)
        return self.sequences(self.evaluation_size, self.evaluation_length(name), generator)

    def loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats, of each row the mean over its moves."""
        return cross_entropy(prediction, batch)

    def metrics(self) -> MetricCollection:
        """Accuracy after the last move; accuracy and loss after all."""
        return MetricCollection(
            {"final_accuracy": Accuracy(last=1), "accuracy": Accuracy(), "loss": CrossEntropy()}, compute_groups=False
        )

    def over_sets(self, measured: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """``longest_length``: tokens of the longest sequences whose end is right, and that of all shorter ones."""
        by_length = {self.evaluation_length(name): metrics["final_accuracy"] for name, metrics in measured.items()}
        return {"longest_length": float(longest_solved(by_length, SOLVED))}

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch time class"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Whether each sequence's last value is right, or the share of its moves after which it is."""
        right = (prediction.argmax(-1) == batch.targets).float()
        if metric == "final_accuracy":
            return right[:, -1]
        return right[:, :: self.automaton.tokens_per_move].mean(1) if metric == "accuracy" else None

    def baseline(self, name: str) -> dict[str, float]:
        """``mode``: the likeliest value after so many moves. ``lookup``: after the longest beginning that was seen."""
        moves = (self.length - 1) // self.automaton.tokens_per_move + 1
        blind, looked_up = guesses(self.automaton, moves, self.protocol.max_steps * self.protocol.batch_size)
        found = {"mode": blind, "lookup": looked_up}
        if name not in found:
            raise UserError(f"task 'modular' has no baseline '{name}'; it has {', '.join(found)}")
        right = found[name]
        return {"final_accuracy": right[-1].item(), "accuracy": right.mean().item(), "longest_length": 0.0}
