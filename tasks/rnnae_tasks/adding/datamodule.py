"""The adding problem's data, loss, metrics and floors."""

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import TaskSpec, Values, Vectors
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.metrics import SquaredError, squared_error


class AddingTask(Task):
    """Add the two numbers that are marked, one in each half of the sequence; say the sum after the last step.

    The first test row, with length=8 (rounded)::

        value    0.51 0.66 0.79 0.04 0.33 0.50 0.78 0.74
        marker   0    0    1    0    0    0    0    1
        target                                           1.53

    Values are uniform; the first marker stands on any of the first ``length // 2`` steps and the second on any later
    one, all alike. Training sequences are drawn afresh at every step.

    Args:
        length: Steps of a sequence.
        low: Least value: 0 or, as first published, -1. The largest is 1.
        evaluation_size: Sequences in the validation and in the test set, each.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training sequences.
    """

    name = "adding"

    def __init__(
        self,
        length: int = 100,
        low: float = 0.0,
        evaluation_size: int = 1000,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        if length < 2:
            raise UserError(f"length is {length}; it must be at least 2, a step for each of the two numbers")
        if not -1 <= low < 1:
            raise UserError(f"low is {low}; values lie between it and 1, so it must be at least -1 and below 1")
        require_positive(evaluation_size=evaluation_size)
        super().__init__(protocol, data_seed)
        self.length, self.low, self.evaluation_size = length, low, evaluation_size

    @property
    def spec(self) -> TaskSpec:
        """A value and a marker at every step in, one number out after the last."""
        return TaskSpec(
            task=self.name,
            inputs=Vectors(features=2, length=self.length),
            outputs=Values(1),
            predicts="last step",
            causal=True,
        )

    def sequences(self, count: int, generator: torch.Generator) -> Batch:
        """Draw `count` sequences: inputs ``Float[Tensor, "count time 2"]``, targets ``Float[Tensor, "count 1"]``."""
        half = self.length // 2
        values = self.low + (1 - self.low) * torch.rand(count, self.length, generator=generator)
        first = torch.randint(half, (count, 1), generator=generator)
        second = torch.randint(half, self.length, (count, 1), generator=generator)
        marked = torch.cat((first, second), dim=1)
        markers = torch.zeros_like(values).scatter_(1, marked, 1.0)
        return Batch(torch.stack((values, markers), dim=2), values.gather(1, marked).sum(dim=1, keepdim=True))

    def train_batch(self, step: int) -> Batch:
        """Fresh sequences for every step."""
        return self.sequences(self.protocol.batch_size, self.generator("train", self.data_seed, step))

    def evaluation_set(self, name: str) -> Batch:
        """A fixed draw of `evaluation_size` sequences."""
        return self.sequences(self.evaluation_size, self.generator(name))

    def loss(self, prediction: Float[Tensor, "batch 1"], batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error of the sum."""
        return squared_error(prediction, batch)

    def metrics(self) -> MetricCollection:
        """Mean squared error of the sum."""
        return MetricCollection({"mse": SquaredError()})

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch 1"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """The squared error of each sequence."""
        return (prediction - batch.targets).square().squeeze(1) if metric == "mse" else None

    def baseline_answer(self, name: str) -> Float[Tensor, "batch 1"]:
        """What one who does not add answers to the test set.

        ``mean``: the expected sum. ``linear``: the best linear function of all values and markers. ``second_only``: the
        second number and, for the first, the mean.
        """
        middle = (1 + self.low) / 2
        inputs = self.evaluation_set("test").inputs
        if name == "mean":
            return torch.full((len(inputs), 1), 2 * middle)
        half = self.length // 2
        if name == "linear":
            chances = torch.full((self.length, 1), 1 / half)
            chances[half:] = 1 / (self.length - half)
            return 2 * middle + (inputs[..., 0] - middle) @ chances
        if name == "second_only":
            return middle + inputs[:, half:].prod(dim=2).sum(dim=1, keepdim=True)
        raise UserError(f"task 'adding' has no baseline '{name}'; it has mean, linear, second_only")

    def baseline(self, name: str) -> dict[str, float]:
        """The expected squared error of a baseline, in closed form: the variance of what it does not know.

        A number has the variance ``(1 - low)**2 / 12``. ``mean`` knows neither. ``linear`` weighs each value by its
        chance of being marked, 1 / n in a half of n steps, which explains n / n**2 = 1 / n of that half's number.
        ``second_only`` does not know the first.
        """
        half = self.length // 2
        unknown = {
            "mean": 2.0,
            "linear": 2 - 1 / half - 1 / (self.length - half),
            "second_only": 1.0,
        }
        if name not in unknown:
            raise UserError(f"task 'adding' has no baseline '{name}'; it has {', '.join(unknown)}")
        return {"mse": unknown[name] * (1 - self.low) ** 2 / 12}
