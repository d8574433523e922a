"""The cloud task's data, loss and metrics."""

import torch
from torch.nn.functional import cross_entropy
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from rnnae_bench import Batch, Classes, Protocol, Static, Task, TaskSpec

CENTRES = torch.tensor([[0.0, 2.0], [2.0, 0.0], [-2.0, 0.0]])


class BlobsTask(Task):
    """Tell which of three clouds a point is of.

    Args:
        protocol: Budget and batch sizes.
        data_seed: Fixes the training points.
    """

    name = "blobs"

    def __init__(self, protocol: Protocol = Protocol(), data_seed: int = 0):  # noqa: B008
        super().__init__(protocol, data_seed)

    @property
    def spec(self):
        return TaskSpec(self.name, Static(2), Classes(3), "last step", causal=False)

    def points(self, count, generator):
        targets = torch.randint(3, (count,), generator=generator)
        return Batch(CENTRES[targets] + torch.randn(count, 2, generator=generator), targets)

    def train_batch(self, step):
        return self.points(self.protocol.batch_size, self.generator("train", self.data_seed, step))

    def evaluation_set(self, split):
        return self.points(100, self.generator(split))

    def loss(self, prediction, batch):
        return cross_entropy(prediction, batch.targets)

    def metrics(self):
        return MetricCollection({"accuracy": MulticlassAccuracy(3, average="micro")})

    def baseline(self, name):
        if name == "guess":
            return {"accuracy": 1 / 3}
        test = self.evaluation_set("test")
        return {"accuracy": (torch.cdist(test.inputs, CENTRES).argmin(1) == test.targets).float().mean().item()}
