"""The chord task's data, loss and metrics."""

import math

import torch
from torchmetrics import Metric, MetricCollection

from rnnae_bench import Batch, Protocol, Task, TaskSpec, Values, Vectors


class WavesTask(Task):
    """Give back two sines of random amplitude and phase, which four numbers tell: the code has no more.

    Some steps are not scored, others in every row.

    Args:
        protocol: Budget and batch sizes.
        data_seed: Fixes the training waves.
    """

    name = "waves"

    def __init__(self, protocol: Protocol = Protocol(), data_seed: int = 0):  # noqa: B008
        super().__init__(protocol, data_seed)

    @property
    def spec(self):
        return TaskSpec(self.name, Vectors(2, 10), Values(2), "every step", causal=False, code_limit=4)

    def chords(self, count, generator):
        amplitude, phase = torch.randn(2, count, 1, 2, generator=generator)
        waves = amplitude * torch.sin(2 * math.pi * (torch.arange(10) / 10)[:, None] + phase)
        return Batch(waves, waves.clone(), mask=torch.rand(count, 10, generator=generator) < 0.8)

    def train_batch(self, step):
        return self.chords(self.protocol.batch_size, self.generator("train", self.data_seed, step))

    def evaluation_set(self, split):
        return self.chords(64, self.generator(split))

    def example_scores(self, metric, prediction, batch):
        scored = batch.scored(self.spec)
        return ((prediction - batch.targets).square().mean(2) * scored).sum(1) / scored.sum(1)

    def loss(self, prediction, batch):
        return self.example_scores("mse", prediction, batch).mean()

    def metrics(self):
        return MetricCollection({"mse": Error()})

    def baseline(self, name):
        batch, error = self.evaluation_set("test"), Error()
        error.update(torch.zeros_like(batch.targets), batch=batch)
        return {"mse": error.compute().item()}


class Error(Metric):
    """Mean over the rows of the squared error at their scored steps."""

    full_state_update = False

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, prediction, batch):
        squares = (prediction - batch.targets).square().mean(2) * batch.mask
        self.total += (squares.sum(1) / batch.mask.sum(1)).sum()
        self.count += len(prediction)

    def compute(self):
        return self.total / self.count
