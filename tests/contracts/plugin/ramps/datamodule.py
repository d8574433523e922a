"""Anomalies in noisy ramps, by the error of a model that learned to clean them."""

from collections.abc import Mapping

import torch
from torchmetrics import Metric, MetricCollection

from rnnae_bench import Batch, Protocol, Task, TaskSpec, Values, Vectors
from rnnae_bench.metrics import SquaredError, squared_error


class RampsTask(Task):
    """Clean noisy ramps; rows whose error lies above that of 95% of the reference rows count as anomalies.

    One row, with length=4 and three steps: input ``0.1 2.3 4.6 0`` target ``0.0 2.4 4.8 .``

    Args:
        length: Steps of the longest row; four times as many on ``test@4x``.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training rows.
    """

    name = "ramps"
    evaluation_sets = ("validation", "test", "test@4x")
    reference = "normal"

    def __init__(self, length: int = 6, protocol: Protocol = Protocol(), data_seed: int = 0) -> None:  # noqa: B008
        super().__init__(protocol, data_seed)
        self.length = length

    @property
    def spec(self) -> TaskSpec:
        return TaskSpec(
            task=self.name,
            inputs=Vectors(features=1, length=self.length),
            outputs=Values(1),
            predicts="every step",
            causal=True,
            variable_length=True,
        )

    def ramps(self, rows: int, length: int, noise: float, generator: torch.Generator) -> Batch:
        lengths = torch.randint(2, length + 1, (rows,), generator=generator)
        slope = torch.rand(rows, 1, 1, generator=generator)
        clean = 8 * slope * torch.arange(length).view(1, -1, 1) / self.length
        noisy = clean + noise * torch.randn(clean.shape, generator=generator)
        return Batch(noisy * (torch.arange(length) < lengths[:, None])[..., None], clean, lengths)

    def train_batch(self, step: int) -> Batch:
        generator = self.generator("train", self.data_seed, step)
        return self.ramps(self.protocol.batch_size, self.length, 0.1, generator)

    def evaluation_set(self, name: str) -> Batch:
        longer, noise = (4 if name == "test@4x" else 1), (0.1 if name in ("validation", "normal") else 0.6)
        return self.ramps(40, longer * self.length, noise, self.generator(name))

    def loss(self, prediction, batch):
        return squared_error(prediction, batch)

    def metrics(self) -> MetricCollection:
        return MetricCollection({"mse": SquaredError(), "steps": Steps()})

    def calibration(self) -> Metric:
        return Threshold()

    def test_metrics(self, name: str, calibrated: Mapping[str, float]) -> MetricCollection:
        return MetricCollection({**self.metrics(), "flagged": Flagged(calibrated["threshold"])})

    def over_sets(self, measured: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        return {"worst_mse": max(found["mse"] for found in measured.values())}

    def baseline(self, name: str) -> dict[str, float]:
        batch, metric = self.evaluation_set("test"), SquaredError()
        metric.update(batch.inputs, batch)
        return {"mse": metric.compute().item()}


def row_errors(prediction, batch: Batch):
    """The mean squared error of each row over its own steps."""
    real = torch.arange(prediction.shape[1], device=prediction.device) < batch.lengths[:, None]
    squares = (prediction - batch.targets).square().squeeze(-1)
    return (squares * real).sum(1) / batch.lengths


class Steps(Metric):
    """Steps of all rows without padding; the lengths come with the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("count", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, prediction, batch: Batch) -> None:
        self.count += batch.lengths.sum()

    def compute(self):
        return self.count.clone()


class Threshold(Metric):
    """The 95th percentile of the rows' errors."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("errors", [], dist_reduce_fx="cat")

    def update(self, prediction, batch: Batch) -> None:
        self.errors.append(row_errors(prediction, batch))

    def compute(self):
        return {"threshold": torch.cat(self.errors).double().quantile(0.95)}


class Flagged(Metric):
    """The share of rows whose error lies above a threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.add_state("flagged", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("rows", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, prediction, batch: Batch) -> None:
        self.flagged += (row_errors(prediction, batch) > self.threshold).sum()
        self.rows += len(prediction)

    def compute(self):
        return self.flagged / self.rows
