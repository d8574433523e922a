"""The tasks of K trials as one task, whose batches have a leading model axis."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad
from torchmetrics import MetricCollection

from rnnae_bench.spec import TaskSpec
from rnnae_bench.task import Batch, Split, Task

Objective = Callable[[Tensor, Batch], Float[Tensor, ""]]
"""From a prediction and its batch, of one model, to a loss."""


class VectorizedTask(Task):
    """K instances of one task that differ only in their data seed.

    A training batch holds those of all K, ``[K batch ...]``; the evaluation sets, which do not depend on the data
    seed, have no model axis, and `predict` answers them K times.

    Args:
        tasks: One a member; the loss and the metrics are taken from the first.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        first = tasks[0]
        super().__init__(first.protocol, first.data_seed)
        self.tasks = list(tasks)
        self.name = first.name
        self._in_one = True

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
        """The members' batches ``[K batch ...]``; members that share a data seed share the memory too if all do."""
        seeds = [task.data_seed for task in self.tasks]
        made = {}
        for task in self.tasks:
            if task.data_seed not in made:
                made[task.data_seed] = task.train_batch(step)
        if len(made) == 1:
            return _repeated(next(iter(made.values())), len(seeds))
        return _stacked([made[seed] for seed in seeds])

    def evaluation_set(self, split: Split) -> Batch:
        """The one evaluation set of all members, without a model axis."""
        return self.first.evaluation_set(split)

    def loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, " models"]:
        """The loss of each member."""
        return self.each(self.first.loss, prediction, batch)

    def each(self, objective: Objective, prediction: Tensor, batch: Batch) -> Float[Tensor, " models"]:
        """What an objective gives for each member.

        In one go with ``torch.vmap``; one member after the other where the objective does what that can't (look at a
        number, say).
        """
        if self._in_one:
            along = (0, 0, 0, None if batch.lengths is None else 0)
            try:
                return torch.vmap(lambda answer, *own: objective(answer, Batch(*own)), along)(prediction, *batch)
            except RuntimeError:
                self._in_one = False
        return torch.stack([objective(prediction[member], _member(batch, member)) for member in range(len(prediction))])

    def metrics(self) -> MetricCollection:
        """Fresh metrics for one member."""
        return self.first.metrics()

    def baseline(self, name: str) -> dict[str, float]:
        """That of all members."""
        return self.first.baseline(name)

    def predict(self, model: Callable[..., Tensor], batch: Batch) -> Float[Tensor, "models *prediction"]:
        """Every member's answers to the same rows.

        Members and rows become one axis for the task's own `predict`, so that it is asked once, and as many rows at a
        time as keep the states of all members within `_ROWS` rows.

        Args:
            model: Takes inputs ``[K batch ...]``.
            batch: Without a model axis.
        """
        members = len(self.tasks)

        def folded(inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
            unfolded = None if lengths is None else lengths.unflatten(0, (members, -1))
            return model(inputs.unflatten(0, (members, -1)), unfolded).flatten(0, 1)

        answers = []
        rows = max(1, _ROWS // members)
        for start in range(0, len(batch.targets), rows):
            part = _repeated(batch.rows(slice(start, start + rows)), members)
            flat = Batch(*(None if one is None else one.flatten(0, 1) for one in part))  # type: ignore[arg-type]
            answers.append(self.first.predict(folded, flat).unflatten(0, (members, -1)))
        return torch.cat(answers, dim=1)


_ROWS = 4096
"""Sequences or images of all members in one forward pass at evaluation."""


def _member(batch: Batch, member: int) -> Batch:
    return Batch(*(None if one is None else one[member] for one in batch))  # type: ignore[arg-type]


def _repeated(batch: Batch, members: int) -> Batch:
    """The same batch for every member, in the same memory."""
    return Batch(*(None if one is None else one.expand(members, *one.shape) for one in batch))  # type: ignore[arg-type]


def _stacked(batches: Sequence[Batch]) -> Batch:
    """Batches side by side, those whose sequences are shorter padded with zeros."""
    inputs = [batch.inputs for batch in batches]
    steps = max(one.shape[1] for one in inputs)
    if any(one.shape[1] < steps for one in inputs):
        inputs = [pad(one, (0, 0) * (one.dim() - 2) + (0, steps - one.shape[1])) for one in inputs]
    lengths = [batch.lengths for batch in batches if batch.lengths is not None]
    return Batch(
        torch.stack(inputs),
        torch.stack([batch.targets for batch in batches]),
        torch.stack(lengths) if lengths else None,
    )
