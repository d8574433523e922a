"""The imputation task's data, loss, metrics and baselines."""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import TaskSpec, Values, Vectors
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_not_negative, require_positive
from rnnae_bench.metrics import SquaredError, squared_error
from rnnae_tasks.impute.gaussian import conditional_mean, covariance

BASELINES = ("mean", "last", "linear", "filter", "bayes")


class ImputeTask(Task):
    """Fill the gaps of a noisy series: what was there, without the noise?

    One row, with length=10 and one gap of three steps::

        value      x0 x1 x2 x3  0  0  0 x7 x8 x9    noisy
        observed    1  1  1  1  0  0  0  1  1  1
        target     y0 y1 y2 y3 y4 y5 y6 y7 y8 y9    without noise
        scored                  *  *  *

    The series is a Gaussian autoregression of second order with variance 1, which swings with a period and forgets its
    phase. Gaps lie anywhere, but for the first and the last step, and do not touch.

    Args:
        length: Steps of a row.
        gaps: Gaps in each row.
        gap_length: Steps of each gap.
        period: Steps of a swing.
        memory: Steps in which the correlation falls e-fold.
        noise: Standard deviation of the noise on what is observed.
        evaluation_size: Rows in the validation and in the test set, each.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training rows.
    """

    name = "impute"

    def __init__(
        self,
        length: int = 100,
        gaps: int = 3,
        gap_length: int = 6,
        period: float = 20.0,
        memory: float = 30.0,
        noise: float = 0.3,
        evaluation_size: int = 500,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_positive(gaps=gaps, gap_length=gap_length, memory=memory, evaluation_size=evaluation_size)
        require_not_negative(noise=noise)
        if not 2 < period < math.inf:
            raise UserError(f"period is {period}; it must be above 2 steps, the shortest that samples show, and finite")
        if length < gaps * (gap_length + 1) + 1:
            raise UserError(
                f"length is {length}; {gaps} gaps of {gap_length} steps, an observed step before and after each, take "
                f"{gaps * (gap_length + 1) + 1}: raise length, or lower gaps or gap_length"
            )
        super().__init__(protocol, data_seed)
        self.length, self.gaps, self.gap_length = length, gaps, gap_length
        self.noise, self.evaluation_size = noise, evaluation_size
        self.covariance = covariance(length, period, memory)
        self._factor = torch.linalg.cholesky(self.covariance + 1e-9 * torch.eye(length))

    @property
    def spec(self) -> TaskSpec:
        """A value and whether it was observed in; the complete series out; what is scored comes with the batch."""
        return TaskSpec(
            task=self.name,
            inputs=Vectors(features=2, length=self.length),
            outputs=Values(1),
            predicts="every step",
            causal=False,
        )

    def missing(self, count: int, generator: torch.Generator) -> Bool[Tensor, "count time"]:
        """Which steps lie in a gap; every arrangement is as likely as any other.

        A gap is put into one of the spaces between two observed steps, and no two into the same.
        """
        spaces = self.length - self.gaps * self.gap_length - 1
        chosen = torch.rand(count, spaces, generator=generator).argsort(dim=1)[:, : self.gaps].sort(dim=1).values
        first = chosen + 1 + self.gap_length * torch.arange(self.gaps)
        after = torch.arange(self.length) - first.unsqueeze(2)
        return ((after >= 0) & (after < self.gap_length)).any(dim=1)

    def rows(self, count: int, generator: torch.Generator) -> Batch:
        """Draw `count` rows: inputs ``[count time 2]``, targets ``[count time 1]``, and a mask of the gaps."""
        series = torch.randn(count, self.length, dtype=torch.float64, generator=generator) @ self._factor.T
        noise = self.noise * torch.randn(count, self.length, dtype=torch.float64, generator=generator)
        missing = self.missing(count, generator)
        values = torch.where(missing, 0.0, series + noise)
        inputs = torch.stack((values, (~missing).double()), dim=2)
        return Batch(inputs.float(), series.unsqueeze(2).float(), mask=missing)

    def train_batch(self, step: int) -> Batch:
        """Fresh rows for every step."""
        return self.rows(self.protocol.batch_size, self.generator("train", self.data_seed, step))

    def evaluation_set(self, name: str) -> Batch:
        """A fixed draw of `evaluation_size` rows."""
        return self.rows(self.evaluation_size, self.generator(name))

    def loss(self, prediction: Float[Tensor, "batch time 1"], batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error over the gaps."""
        return squared_error(prediction, batch)

    def metrics(self) -> MetricCollection:
        """Squared error over the gaps."""
        return MetricCollection({"mse": SquaredError()}, compute_groups=False)

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch time 1"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Each row's squared error over its gaps, which are as long in all rows."""
        if metric != "mse" or batch.mask is None:
            return None
        squares = (prediction - batch.targets).double().square().squeeze(2)
        return squares[batch.mask].view(len(squares), -1).mean(dim=1)

    def baseline_answer(self, name: str) -> Float[Tensor, "batch time 1"]:
        """What needs no training.

        ``mean``: 0. ``last``: the last observed value, held. ``linear``: a straight line across each gap. ``filter``:
        the mean given all that was observed before the gap, the optimum of whatever reads from left to right.
        ``bayes``: the mean given all that was observed, the optimum.
        """
        if name not in BASELINES:
            raise UserError(f"task 'impute' has no baseline '{name}'; it has {', '.join(BASELINES)}")
        batch = self.evaluation_set("test")
        values, observed = batch.inputs[:, :, 0].double(), batch.inputs[:, :, 1] > 0
        if name == "mean":
            answer = torch.zeros_like(values)
        elif name == "bayes":
            answer = conditional_mean(self.covariance, self.noise, values, observed)
        elif name == "filter":
            answer = self._filtered(values, observed)
        else:
            answer = torch.stack([_bridged(*row, held=name == "last") for row in zip(values, observed, strict=True)])
        return answer.unsqueeze(2)

    def _filtered(
        self, values: Float[Tensor, "batch time"], observed: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time"]:
        step, answer = torch.arange(self.length), values.clone()
        begins = observed[:, :-1] & ~observed[:, 1:]
        firsts = 1 + begins.nonzero()[:, 1].view(len(values), self.gaps)
        for first in firsts.T.unsqueeze(2):
            forecast = conditional_mean(self.covariance, self.noise, values, observed & (step < first))
            answer = torch.where((step >= first) & (step < first + self.gap_length), forecast, answer)
        return answer

    def baseline(self, name: str) -> dict[str, float]:
        """How well a baseline fills the gaps of the test set."""
        metric = SquaredError()
        metric.update(self.baseline_answer(name), self.evaluation_set("test"))
        return {"mse": metric.compute().item()}


def _bridged(values: Float[Tensor, " time"], observed: Bool[Tensor, " time"], held: bool) -> Float[Tensor, " time"]:
    """One row with its gaps filled by the value before each, or by a straight line."""
    step, known = np.arange(len(values)), observed.nonzero()[:, 0].numpy()
    if held:
        return values[torch.from_numpy(known[np.searchsorted(known, step, side="right") - 1])]
    return torch.from_numpy(np.interp(step, known, values.numpy()[known]))
