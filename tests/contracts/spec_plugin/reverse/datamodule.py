"""The reversal task's data, loss and metrics."""

import math

import torch
from torch.nn.functional import cross_entropy
from torchmetrics import Metric, MetricCollection

from rnnae_bench import Batch, Classes, Protocol, Task, TaskSpec, Tokens


class ReverseTask(Task):
    """Say a string of one to four symbols backwards, and then that it ends.

    One row (``#`` ends)::

        input    c a h
        target   h a c #

    Args:
        length: Of the longest string.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training strings.
    """

    name = "reverse"
    symbols = 4

    def __init__(self, length: int = 4, protocol: Protocol = Protocol(), data_seed: int = 0):  # noqa: B008
        super().__init__(protocol, data_seed)
        self.length = length

    @property
    def spec(self):
        return TaskSpec(
            task=self.name,
            inputs=Tokens(self.symbols, self.length),
            outputs=Classes(self.symbols + 1, end=self.symbols),
            predicts="own length",
            output_length=self.length + 1,
            causal=False,
            variable_length=True,
        )

    def strings(self, count, generator):
        lengths = torch.randint(1, self.length + 1, (count,), generator=generator)
        inputs = torch.randint(self.symbols, (count, self.length), generator=generator)
        steps = torch.arange(self.length + 1)
        backwards = inputs.gather(1, (lengths[:, None] - 1 - steps[:-1]).clamp(min=0))
        backwards = torch.cat((backwards, backwards[:, :1]), dim=1)
        targets = torch.where(steps < lengths[:, None], backwards, self.symbols)
        targets = targets.masked_fill(steps > lengths[:, None], -100)
        inputs = inputs.masked_fill(steps[:-1] >= lengths[:, None], 0)
        return Batch(inputs, targets, lengths, target_lengths=lengths + 1)

    def train_batch(self, step):
        return self.strings(self.protocol.batch_size, self.generator("train", self.data_seed, step))

    def evaluation_set(self, split):
        return self.strings(100, self.generator(split))

    def loss(self, prediction, batch):
        losses = cross_entropy(prediction.transpose(1, 2), batch.targets, reduction="none")
        return (losses.sum(1) / batch.target_lengths).mean()

    def metrics(self):
        return MetricCollection({"accuracy": Whole()})

    def example_scores(self, metric, prediction, batch):
        return whole(prediction, batch.targets).float()

    def baseline(self, name):
        chances = [self.symbols**-length for length in range(1, self.length + 1)]
        return {"accuracy": math.fsum(chances) / self.length**2}


def whole(prediction, targets):
    """Which strings are right from the first symbol to the end."""
    return ((prediction.argmax(-1) == targets) | (targets < 0)).all(1)


class Whole(Metric):
    """Share of the strings that are right from the first symbol to the end."""

    full_state_update = False

    def __init__(self):
        super().__init__()
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, prediction, targets):
        self.right += whole(prediction, targets).sum()
        self.count += len(targets)

    def compute(self):
        return self.right / self.count
