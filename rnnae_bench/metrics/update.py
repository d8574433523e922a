"""How any metric, torchmetrics' own among them, is updated with a batch."""

import inspect
from functools import lru_cache

from torch import Tensor
from torchmetrics import Metric, MetricCollection

from rnnae_bench.contracts.batch import Batch


def update_metrics(metrics: Metric | MetricCollection, prediction: Tensor, batch: Batch) -> None:
    """Add a batch to metrics, as the runner does.

    A metric whose ``update`` has an argument called ``batch`` gets the whole `Batch` (targets, inputs, lengths, mask);
    any other, torchmetrics' own among them, gets the targets.

    Args:
        metrics: What `Task.metrics` gave, or one metric.
        prediction: What `Task.predict` gave.
        batch: The rows that it answers.
    """
    members = [metrics] if isinstance(metrics, Metric) else [*metrics.values(copy_state=False)]
    if not any(_takes_batch(type(member)) for member in members):
        # The collection itself shares what several of its metrics have in common.
        metrics.update(prediction, batch.targets)
        return
    for member in members:
        member.update(prediction, batch if _takes_batch(type(member)) else batch.targets)


@lru_cache(maxsize=256)
def _takes_batch(metric: type[Metric]) -> bool:
    return "batch" in inspect.signature(metric.update).parameters
