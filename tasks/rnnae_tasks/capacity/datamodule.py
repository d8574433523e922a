"""The memory-capacity task's data, loss, metric and baselines."""

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import TaskSpec, Values, Vectors
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.metrics import Capacity, squared_error

DELAY_LINE = 10
"""Units of the baseline `delay_line`."""


class CapacityTask(Task):
    """Tell, at every step, the inputs of 1 to `lags` steps ago. One number comes in, `lags` go out.

    One row, with lags=3 and length=6; the first `lags` steps are not scored, since what they ask for was not shown::

        input     u0 u1 u2 u3 u4 u5
        output 1   .  .  . u2 u3 u4
        output 2   .  .  . u1 u2 u3
        output 3   .  .  . u0 u1 u2

    Inputs are independent and uniform in [-1, 1], so that nothing but memory helps.

    Args:
        lags: How far back the outputs reach, and how many there are.
        length: Steps of a row.
        evaluation_size: Rows in the validation and in the test set, each.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training rows.
    """

    name = "capacity"

    def __init__(
        self,
        lags: int = 40,
        length: int = 120,
        evaluation_size: int = 200,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_positive(lags=lags, evaluation_size=evaluation_size)
        if length <= lags:
            raise UserError(f"length is {length}; it must be above lags ({lags}), so that a step is scored")
        super().__init__(protocol, data_seed)
        self.lags, self.length, self.evaluation_size = lags, length, evaluation_size

    @property
    def spec(self) -> TaskSpec:
        """A number in, `lags` numbers out at every step; the first `lags` steps are not scored."""
        return TaskSpec(
            task=self.name,
            inputs=Vectors(features=1, length=self.length),
            outputs=Values(self.lags),
            predicts="every step",
            causal=True,
            scored_steps=(self.lags, self.length),
        )

    def rows(self, count: int, generator: torch.Generator) -> Batch:
        """Draw `count` rows: inputs ``Float[Tensor, "count time 1"]``, targets ``Float[Tensor, "count time lags"]``.

        Targets of what was before the first step are 0, and not scored.
        """
        inputs = 2 * torch.rand(count, self.length, generator=generator) - 1
        before = torch.cat((torch.zeros(count, self.lags), inputs[:, :-1]), dim=1)
        return Batch(inputs.unsqueeze(2), before.unfold(1, self.lags, 1).flip(2))

    def train_batch(self, step: int) -> Batch:
        """Fresh rows for every step."""
        return self.rows(self.protocol.batch_size, self.generator("train", self.data_seed, step))

    def evaluation_set(self, name: str) -> Batch:
        """A fixed draw of `evaluation_size` rows."""
        return self.rows(self.evaluation_size, self.generator(name))

    def loss(self, prediction: Float[Tensor, "batch time lags"], batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error over the scored steps and all lags."""
        return squared_error(prediction[:, self.lags :], batch._replace(targets=batch.targets[:, self.lags :]))

    def metrics(self) -> MetricCollection:
        """The memory capacity up to `lags`."""
        return MetricCollection({"capacity": Capacity(self.lags, skip=self.lags)}, compute_groups=False)

    def baseline(self, name: str) -> dict[str, float]:
        """``memoryless``: what knows the present input alone. ``delay_line``: ten units that hand the input on.

        The inputs of different steps are independent, so that the squared correlation with a past input is 1 where it
        is held and 0 where it is not.
        """
        held = {"memoryless": 0, "delay_line": min(DELAY_LINE, self.lags)}
        if name not in held:
            raise UserError(f"task 'capacity' has no baseline '{name}'; it has {', '.join(held)}")
        return {"capacity": float(held[name])}
