"""The tasks of K trials as one task, whose batches have a leading model axis."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad
from torchmetrics import MetricCollection

from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.training.loss_terms import Loss

Objective = Callable[[Tensor, Batch], Loss]
"""From a prediction and its batch, of one model, to a loss."""


class VectorizedTask(Task):
    """K instances of one task that differ only in their data seed.

    A training batch holds those of all K, ``[K batch ...]``; the evaluation sets, which do not depend on the data
    seed, have no model axis. Each member has a task of its own, which is asked all that it would be asked alone, but
    for the loss: that is the first's, for all of them in one go. What has to hold for that to be right is found out by
    `rnnae_bench.trial.vectorized.examination`.

    Args:
        tasks: One a member.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        first = tasks[0]
        super().__init__(first.protocol, first.data_seed)
        self.tasks = list(tasks)
        self.name = first.name
        self.example_block = first.example_block
        self.evaluation_sets, self.reference = first.evaluation_sets, first.reference
        self.predicts_rows = first.predicts_rows
        self._prints = first._prints

    @property
    def first(self) -> Task:
        """The first member's."""
        return self.tasks[0]

    @property
    def spec(self) -> TaskSpec:
        """That of all members."""
        return self.first.spec

    def prepare_data(self) -> None:
        """Have every member prepare."""
        for task in self.tasks:
            task.prepare_data()

    def setup(self, stage: str) -> None:
        """Set every member up."""
        for task in self.tasks:
            task.setup(stage)

    def teardown(self, stage: str) -> None:
        """Tear every member down."""
        for task in self.tasks:
            task.teardown(stage)

    def train_batch(self, step: int) -> Batch:
        """The members' batches ``[K batch ...]``."""
        return self.stacked([task.train_batch(step) for task in self.tasks])

    def stacked(self, batches: Sequence[Batch]) -> Batch:
        """Batches side by side, ``[K batch ...]``, those whose sequences are shorter padded to the longest."""
        steps = max(batch.inputs.shape[1] for batch in batches)
        fields = zip(*(lengthened(batch, steps, self.spec) for batch in batches), strict=True)
        stacked = [None if same[0] is None else torch.stack(same) for same in fields]
        return Batch(*stacked)  # type: ignore[arg-type]

    def evaluation_set(self, name: str) -> Batch:
        """The one evaluation set of all members, without a model axis."""
        return self.first.evaluation_set(name)

    def evaluation_batches(self, name: str) -> Iterator[Batch]:
        """The same in batches."""
        return self.first.evaluation_batches(name)

    def checksum(self, name: str) -> str | None:
        """What the members' task declares of it."""
        return self.first.checksum(name)

    @property
    def streams(self) -> bool:
        """Whether the members' task streams its evaluation sets."""
        return self.first.streams

    def samples(self) -> Sequence[int]:
        """The rows that the members' task names."""
        return self.first.samples()

    def held_out(self, rows: int) -> Batch:
        """The same rows for every member, ``[K batch ...]``."""
        members, batch = len(self.tasks), self.first.held_out(rows)
        return batch.map(lambda one: one.expand(members, *one.shape))

    def loss(self, prediction: Tensor, batch: Batch) -> Loss:
        """The loss of each member, ``[K]``; where it has named terms, each of these."""
        return self.each(self.first.loss, prediction, batch)

    @property
    def loss_source(self) -> str:
        """The members' class and its method."""
        return self.first.loss_source

    def each(self, objective: Objective, prediction: Tensor, batch: Batch) -> Loss:
        """What an objective gives for each member, in one go."""

        def of_one(answer: Tensor, *own: Tensor | None) -> Any:
            found = objective(answer, Batch(*own))  # type: ignore[arg-type]
            return dict(found) if isinstance(found, Mapping) else found

        along = (0, *(None if one is None else 0 for one in batch))
        losses: Loss = torch.vmap(of_one, along)(prediction, *batch)
        return losses

    def metrics(self) -> MetricCollection:
        """Fresh metrics for one member."""
        return self.first.metrics()

    def example_scores(self, metric: str, prediction: Tensor, batch: Batch) -> Float[Tensor, " batch"] | None:
        """Those of one member's prediction."""
        return self.first.example_scores(metric, prediction, batch)

    def baseline(self, name: str) -> dict[str, float]:
        """That of all members."""
        return self.first.baseline(name)


def lengthened(batch: Batch, steps: int, spec: TaskSpec) -> Batch:
    """A batch padded with zeros to so many steps; where every step is answered, its targets and its mask too."""
    more = steps - batch.inputs.shape[1]
    if not more:
        return batch

    def padded(one: Tensor) -> Tensor:
        return pad(one, (0, 0) * (one.dim() - 2) + (0, more))

    longer = batch._replace(inputs=padded(batch.inputs))
    if spec.predicts == "every step":
        longer = longer._replace(targets=padded(batch.targets))
        longer = longer if batch.mask is None else longer._replace(mask=padded(batch.mask))
    return longer
