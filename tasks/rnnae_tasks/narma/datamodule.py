"""The NARMA-10 task's data, loss, metrics and baselines."""

from itertools import combinations_with_replacement

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import TaskSpec, Values, Vectors
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.metrics import NormalizedError, squared_error

ORDER = 10
"""Of the recursion."""
RUNAWAY = 1.0
"""Output above which a row counts as diverging, and is drawn anew; under the mean input the recursion's unstable fixed
point is 1.02."""
LAGS = 20
"""Inputs that the filters see, the present one among them."""
FITTED_ROWS = 200
"""Rows of a set of their own on which the filters are fitted."""


class NarmaTask(Task):
    """Follow a nonlinear autoregressive moving average of order 10 from its input alone.

    The output of step t + 1 is, with inputs u uniform in [0, 0.5] and nothing before the tenth step::

        y(t+1) = 0.3 y(t) + 0.05 y(t) (y(t) + ... + y(t-9)) + 1.5 u(t-9) u(t) + 0.1

    One row, with length=13 and washout=11; ``y`` is never shown::

        input    u0 u1 u2 ... u9  u10 u11 u12
        target    0  0  0 ... y10 y11 y12 y13
        scored                         *   *

    The recursion diverges for some inputs: a row whose output exceeds 1 is drawn anew, from the same generator.

    Args:
        length: Steps of a row.
        washout: Steps at its start that are not scored, nor learned from.
        evaluation_size: Rows in the validation and in the test set, each.
        protocol: Budget and batch sizes.
        data_seed: Fixes the training rows.
    """

    name = "narma"

    def __init__(
        self,
        length: int = 150,
        washout: int = 50,
        evaluation_size: int = 500,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_positive(evaluation_size=evaluation_size)
        if washout < LAGS - 1:
            raise UserError(f"washout is {washout}; it must be at least {LAGS - 1}, what a filter of {LAGS} lags needs")
        if length <= washout:
            raise UserError(f"length is {length}; it must be above washout ({washout}), so that a step is scored")
        super().__init__(protocol, data_seed)
        self.length, self.washout, self.evaluation_size = length, washout, evaluation_size

    @property
    def spec(self) -> TaskSpec:
        """A number in, a number out at every step; those after the washout are scored."""
        return TaskSpec(
            task=self.name,
            inputs=Vectors(features=1, length=self.length),
            outputs=Values(1),
            predicts="every step",
            causal=True,
            scored_steps=(self.washout, self.length),
        )

    def rows(self, count: int, generator: torch.Generator) -> Batch:
        """Draw `count` rows: inputs and targets ``Float[Tensor, "count time 1"]``."""
        inputs = 0.5 * torch.rand(count, self.length, dtype=torch.float64, generator=generator)
        outputs = recursion(inputs.numpy())
        while (diverging := torch.from_numpy(~(outputs.max(axis=1) <= RUNAWAY))).any():
            again = 0.5 * torch.rand(int(diverging.sum()), self.length, dtype=torch.float64, generator=generator)
            inputs[diverging] = again
            outputs[diverging.numpy()] = recursion(again.numpy())
        return Batch(inputs.float().unsqueeze(2), torch.from_numpy(outputs).float().unsqueeze(2))

    def train_batch(self, step: int) -> Batch:
        """Fresh rows for every step."""
        return self.rows(self.protocol.batch_size, self.generator("train", self.data_seed, step))

    def evaluation_set(self, name: str) -> Batch:
        """A fixed draw of `evaluation_size` rows."""
        return self.rows(self.evaluation_size, self.generator(name))

    def loss(self, prediction: Float[Tensor, "batch time 1"], batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error over the steps after the washout."""
        return squared_error(prediction[:, self.washout :], batch._replace(targets=batch.targets[:, self.washout :]))

    def metrics(self) -> MetricCollection:
        """The normalised root of the mean squared error after the washout."""
        return MetricCollection({"nrmse": NormalizedError(skip=self.washout)}, compute_groups=False)

    def baseline_answer(self, name: str) -> Float[Tensor, "batch time 1"]:
        """What needs no gradient descent: regressions on a set of their own.

        ``mean``: the mean output. ``linear_filter``: an affine map of the last 20 inputs. ``volterra``: of these and of
        all products of two of them.
        """
        degrees = {"mean": 0, "linear_filter": 1, "volterra": 2}
        if name not in degrees:
            raise UserError(f"task 'narma' has no baseline '{name}'; it has {', '.join(degrees)}")
        fitted = self.rows(FITTED_ROWS, self.generator("fitted"))
        features = regressors(fitted.inputs[:, :, 0].double(), degrees[name], self.washout)
        wanted = fitted.targets[:, self.washout :, 0].double().flatten()
        weights = torch.linalg.lstsq(features, wanted.unsqueeze(1), driver="gelsd").solution
        inputs = self.evaluation_set("test").inputs[:, :, 0].double()
        answer = torch.zeros(*inputs.shape, 1, dtype=torch.float64)
        answer[:, self.washout :] = (regressors(inputs, degrees[name], self.washout) @ weights).view(len(inputs), -1, 1)
        return answer

    def baseline(self, name: str) -> dict[str, float]:
        """How well a baseline does on the test set."""
        metrics = self.metrics()
        metrics.update(self.baseline_answer(name), self.evaluation_set("test").targets)
        return {metric: value.item() for metric, value in metrics.compute().items()}


def recursion(inputs: Float[np.ndarray, "rows time"]) -> Float[np.ndarray, "rows time"]:
    """The outputs that follow each input; of diverging rows whatever numbers they come to.

    The sum of the last ten outputs is carried along, one added and one taken away.
    """
    rows, steps = inputs.shape
    outputs = np.zeros((steps + ORDER, rows))  # row t + ORDER - 1 holds y(t)
    drive = np.full((steps, rows), 0.1)
    drive[ORDER - 1 :] += 1.5 * (inputs[:, ORDER - 1 :] * inputs[:, : max(steps - ORDER + 1, 0)]).T
    recent = np.zeros(rows)
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(ORDER - 1, steps):
            last = outputs[t + ORDER - 1]
            new = outputs[t + ORDER] = last * (0.3 + 0.05 * recent) + drive[t]
            recent += new - outputs[t]
    return outputs[ORDER:].T.copy()


def regressors(inputs: Float[Tensor, "rows time"], degree: int, washout: int) -> Float[Tensor, "steps features"]:
    """For every step after the washout, row by row: all monomials up to the degree of the last 20 inputs."""
    lagged = inputs[:, washout - LAGS + 1 :].unfold(1, LAGS, 1).flatten(0, 1)
    monomials = [torch.ones(len(lagged), 1, dtype=lagged.dtype)]
    for power in range(1, degree + 1):
        chosen = torch.tensor([*combinations_with_replacement(range(LAGS), power)])
        monomials.append(lagged[:, chosen].prod(dim=2))
    return torch.cat(monomials, dim=1)
