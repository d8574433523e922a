"""The sunspot task's data, loss, metrics and baselines."""

import csv
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import mse_loss
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

from rnnae_bench import Batch, Protocol, Task, TaskSpec, Values, Vectors
from rnnae_bench.errors import UserError, require_positive

TRAINED_UNTIL, VALIDATED_UNTIL = 1900, 1950
"""The years at which the series is cut; the test has all from the second on."""


class YearlySunspotsTask(Task):
    """Read the sunspot numbers of `window` years, and say that of the next.

    The first test row, with window=22, in hundreds of sunspots::

        input    0.839 0.694 0.315 ... 1.055 1.045 0.666    1950 to 1971
        target   0.689                                      1972

    Each of the three parts (before 1900, before 1950, from then on) has rows of its own years only.

    Args:
        window: Years that are read; a cycle takes about eleven.
        protocol: Budget and batch sizes.
        data_seed: Fixes the order of the training rows.
    """

    name = "yearly_sunspots"

    def __init__(self, window: int = 22, protocol: Protocol = Protocol(), data_seed: int = 0) -> None:  # noqa: B008
        require_positive(window=window)
        years, values = series()
        shortest = VALIDATED_UNTIL - TRAINED_UNTIL
        if window >= shortest:
            raise UserError(f"window is {window}; the validation has {shortest} years, so that a window is shorter")
        super().__init__(protocol, data_seed)
        self.window = window
        self.example_block = window + 1
        self._train = self._rows(values[years < TRAINED_UNTIL])
        self._evaluation = {
            "validation": self._rows(values[(years >= TRAINED_UNTIL) & (years < VALIDATED_UNTIL)]),
            "test": self._rows(values[years >= VALIDATED_UNTIL]),
        }

    def _rows(self, values: Float[Tensor, " year"]) -> Batch:
        """Every window of a part that has a year after it in the part, and that year."""
        rows = values.unfold(0, self.window + 1, 1)
        return Batch(rows[:, :-1, None].clone(), rows[:, -1:].clone())

    @property
    def spec(self) -> TaskSpec:
        """A number a year in, one number out after the last."""
        return TaskSpec(self.name, Vectors(1, self.window), Values(1), "last step", causal=True)

    def train_batch(self, step: int) -> Batch:
        """Rows of the years before 1900, in another order every epoch."""
        return self._train.rows(self.shuffled(step, len(self._train.targets)))

    def evaluation_set(self, name: str) -> Batch:
        """All rows of a part: inputs ``Float[Tensor, "row window 1"]``, targets ``Float[Tensor, "row 1"]``."""
        return self._evaluation[name]

    def loss(self, prediction: Float[Tensor, "row 1"], batch: Batch) -> Float[Tensor, ""]:
        """The mean squared error."""
        return mse_loss(prediction, batch.targets)

    def metrics(self) -> MetricCollection:
        """Mean absolute and root mean squared error, in hundreds of sunspots."""
        return MetricCollection({"mae": MeanAbsoluteError(), "rmse": MeanSquaredError(squared=False)})

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "row 1"], batch: Batch
    ) -> Float[Tensor, " row"] | None:
        """Each row's absolute error."""
        return (prediction - batch.targets).abs().flatten() if metric == "mae" else None

    def baseline(self, name: str) -> dict[str, float]:
        """The errors of a baseline on the test rows."""
        metrics = self.metrics()
        metrics.update(self.baseline_answer(name), self._evaluation["test"].targets)
        return {metric: value.item() for metric, value in metrics.compute().items()}

    def baseline_answer(self, name: str) -> Float[Tensor, "row 1"]:
        """What needs no network, fitted to the training rows.

        ``mean``: their mean. ``last_year``: the last year again. ``autoregression``: least squares on the window.
        """
        windows = self._evaluation["test"].inputs.squeeze(-1)
        if name == "mean":
            return self._train.targets.mean().expand(len(windows), 1)
        if name == "last_year":
            return windows[:, -1:]
        if name == "autoregression":
            known, wanted = _with_one(self._train.inputs.squeeze(-1)), self._train.targets.double()
            return (_with_one(windows) @ torch.linalg.lstsq(known, wanted).solution).float()
        raise UserError(f"task '{self.name}' has no baseline '{name}'; it has mean, last_year, autoregression")


def series() -> tuple[Tensor, Float[Tensor, " year"]]:
    """The years, and their sunspot numbers in hundreds, from the file beside this module."""
    with Path(__file__).with_name("sunspots.csv").open(encoding="utf-8", newline="") as lines:
        rows = [(int(row["year"]), float(row["sunspots"]) / 100) for row in csv.DictReader(lines)]
    years, values = zip(*rows, strict=True)
    return torch.tensor(years), torch.tensor(values)


def _with_one(windows: Float[Tensor, "row time"]) -> Tensor:
    """Windows in float64 with a column of ones, for the constant of a regression."""
    return torch.cat((windows.double(), torch.ones(len(windows), 1, dtype=torch.float64)), dim=1)
