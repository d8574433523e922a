"""The recall task's data, loss, metrics and floors."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.metrics import Accuracy, CrossEntropy, cross_entropy


class RecallTask(Task):
    """Read `pairs` of a key and its value; then, whenever a key comes again, say its value.

    The first test row, with pairs=3, keys=8, values=8 and length=18 (keys are letters, values numbers, ``.`` blank)::

        input    g 3 b 6 f 1 f . . . g . . . b . . .
        target   . . . . . . 1 . . . 3 . . . 6 . . .

    The blank is 0, keys are 1..keys, values keys+1..keys+values. Keys of a row differ, and so do its values. Every key
    is asked for once, at an even distance 2 g behind the last pair; the places g = 0, 1, ... are drawn without
    replacement, with weights ``(g + 1)**(power - 1)``, and dealt to the keys at random. Only these steps are scored.
    Training sequences are drawn afresh at every step.

    Args:
        pairs: Keys with a value in each row.
        keys: Size of the alphabet of keys.
        values: Size of the alphabet of values.
        length: Steps of a sequence; at least 4 times as many as pairs.
        power: Exponent a of the law by which keys come again: 1 is uniform, less than 1 asks early.
        evaluation_size: Sequences in the validation and in the test set, each.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training sequences.
    """

    name = "recall"

    def __init__(
        self,
        pairs: int = 4,
        keys: int = 16,
        values: int = 16,
        length: int = 32,
        power: float = 0.01,
        evaluation_size: int = 1000,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_positive(pairs=pairs, keys=keys, values=values, power=power, evaluation_size=evaluation_size)
        if math.isinf(power):
            raise UserError("power is inf; it must be a finite number above 0")
        for option, size in (("keys", keys), ("values", values)):
            if pairs > size:
                raise UserError(
                    f"pairs is {pairs} and {option} is {size}; the {option} of a row differ, so there must be at "
                    f"least as many {option} as pairs"
                )
        if length < 4 * pairs:
            raise UserError(
                f"length is {length} with {pairs} pairs; pairs take 2 steps each and so do queries, so it must be at "
                f"least {4 * pairs}"
            )
        super().__init__(protocol, data_seed)
        self.pairs, self.keys, self.values, self.length, self.power = pairs, keys, values, length, power
        self.evaluation_size = evaluation_size

    @property
    def spec(self) -> TaskSpec:
        """Symbols in, a symbol out at every step; the batch's mask says where a key was asked for."""
        vocabulary = 1 + self.keys + self.values
        return TaskSpec(
            task=self.name,
            inputs=Tokens(vocabulary=vocabulary, length=self.length),
            outputs=Classes(vocabulary),
            predicts="every step",
            causal=True,
        )

    def sequences(self, count: int, generator: torch.Generator) -> Batch:
        """Draw `count` sequences: inputs and targets ``Int[Tensor, "count time"]``, and where queries are."""

        def differing(size: int) -> Int[Tensor, "count pairs"]:
            """`pairs` different numbers below `size`, in random order."""
            return torch.rand(count, size, generator=generator).topk(self.pairs, dim=1).indices

        keys, values = differing(self.keys) + 1, differing(self.values) + 1 + self.keys
        steps = 2 * self.pairs + 2 * self._places(count, generator)
        inputs = torch.zeros(count, self.length, dtype=torch.long)
        targets, mask = torch.zeros_like(inputs), torch.zeros(count, self.length, dtype=torch.bool)
        inputs[:, 0 : 2 * self.pairs : 2], inputs[:, 1 : 2 * self.pairs : 2] = keys, values
        inputs.scatter_(1, steps, keys)
        targets.scatter_(1, steps, values)
        mask.scatter_(1, steps, True)
        return Batch(inputs, targets, mask=mask)

    def _places(self, count: int, generator: torch.Generator) -> Int[Tensor, "count pairs"]:
        """Where each key is asked for, in double steps behind the last pair.

        The largest of log weights plus Gumbel noise are a draw without replacement (Yellott 1977). They come in the
        order in which they were drawn, early places first, which a permutation undoes.
        """
        weights = (self.power - 1) * torch.arange(1, self.length // 2 - self.pairs + 1, dtype=torch.float64).log()
        noise = torch.empty(count, len(weights), dtype=torch.float64).exponential_(generator=generator).log()
        places = (weights - noise).topk(self.pairs, dim=1).indices
        return places.gather(1, torch.rand(count, self.pairs, generator=generator).argsort(dim=1))

    def train_batch(self, step: int) -> Batch:
        """Fresh sequences for every step."""
        return self.sequences(self.protocol.batch_size, self.generator("train", self.data_seed, step))

    def evaluation_set(self, name: str) -> Batch:
        """A fixed draw of `evaluation_size` sequences."""
        return self.sequences(self.evaluation_size, self.generator(name))

    def loss(self, prediction: Float[Tensor, "batch time class"], batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats, the mean over the queries."""
        return cross_entropy(prediction, batch)

    def metrics(self) -> MetricCollection:
        """Loss and accuracy over the queries; share of rows with all of them right."""
        return MetricCollection(
            {"loss": CrossEntropy(), "accuracy": Accuracy(), "sequence_accuracy": Accuracy(whole=True)},
            compute_groups=False,
        )

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch time class"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """The share of its queries that each sequence has right, or whether it has them all."""
        assert batch.mask is not None
        right = ((prediction.argmax(-1) == batch.targets) & batch.mask).sum(dim=1)
        if metric == "accuracy":
            return right / self.pairs
        return (right == self.pairs).float() if metric == "sequence_accuracy" else None

    def baseline_answer(self, name: str) -> Float[Tensor, "batch time class"] | None:
        """``seen_values`` answers the j-th query with the j-th value; ``chance`` draws lots, and has no answer here."""
        if name != "seen_values":
            return None
        batch = self.evaluation_set("test")
        assert batch.mask is not None
        logits = torch.zeros(*batch.inputs.shape, 1 + self.keys + self.values)
        row, step = batch.mask.nonzero(as_tuple=True)
        logits[row, step, batch.inputs[:, 1 : 2 * self.pairs : 2].flatten()] = 1.0
        return logits

    def baseline(self, name: str) -> dict[str, float]:
        """Closed forms for one who knows all but which value goes with which key.

        ``seen_values`` knows the row's values: each query has any of `pairs` answers, and a row, dealt at random, one
        of ``pairs!`` orders. ``chance`` knows the alphabet: one of `values`, and ``values! / (values - pairs)!`` rows.
        """
        choices = {"seen_values": self.pairs, "chance": self.values}
        if name not in choices:
            raise UserError(f"task 'recall' has no baseline '{name}'; it has {', '.join(choices)}")
        count = choices[name]
        return {
            "loss": math.log(count),
            "accuracy": 1 / count,
            "sequence_accuracy": 1 / math.perm(count, self.pairs),
        }
