"""The forecast task's data, loss, metrics and baselines."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import l1_loss
from torchmetrics import Metric, MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import TaskSpec, Values, Vectors
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_choice, require_positive
from rnnae_bench.metrics import (
    AbsolutePercentageError,
    AbsoluteScaledError,
    RootSquaredError,
    SymmetricPercentageError,
    seasonal_naive_error,
    update_metrics,
)
from rnnae_tasks.forecast.classical import Autoregression, seasonal
from rnnae_tasks.forecast.series import NATURES, packed

PENALTIES = tuple(10.0 ** (exponent / 2) for exponent in range(-8, 7))
"""Those tried for the ridge regression."""


class ForecastTask(Task):
    """Read `window` steps of a real series, forecast the next `horizon` at once.

    The first test row of co2 (monthly means in ppm, window=24 and horizon=12)::

        input    353.65 354.65 355.48 ... 352.25 353.74 355.02    24 months
        target   355.90 356.68 357.90 ... 353.42 354.20 355.35    the 12 after them

    The series is cut by time: the last `test` steps are forecast in the test, those before in the validation, and all
    earlier ones are learned from. A forecast is made from every step that leaves room for a whole horizon (rolling
    origin); its window may reach back beyond the cut, as a forecaster knows the past, its targets may not.

    Models see scaled numbers: airline as its logarithm; airline and co2 without the level of their window, the mean of
    its last season; sunspots without the mean of the training part; all divided by the standard deviation of what is
    left in the training windows. Forecasts are brought back, and scored in units of the series.

    Args:
        series: Airline passengers and CO2 on Mauna Loa by the month, or sunspots by the year.
        window: Steps a model reads.
        horizon: Steps it must forecast.
        validation: Steps at the end of the series, before those of the test, that are forecast in the validation.
        test: Steps at the end of the series that are forecast in the test.
        season: Steps of a season, which the seasonal forecasts repeat and MASE is scaled by; by default the series'
            own, 12 months or 11 years.
        protocol: Budget and batch sizes.
        data_seed: Fixes the order of the training windows.
    """

    name = "forecast"

    def __init__(
        self,
        series: Literal["airline", "co2", "sunspots"] = "co2",
        window: int = 24,
        horizon: int = 12,
        validation: int = 60,
        test: int = 120,
        season: int | None = None,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_choice(tuple(NATURES), series=series)
        self.series, self.nature = series, NATURES[series]
        self.season = self.nature.season if season is None else season
        require_positive(window=window, horizon=horizon, validation=validation, test=test, season=self.season)
        super().__init__(protocol, data_seed)
        self.window, self.horizon = window, horizon
        self.values: Float[Tensor, " time"] = packed(series)
        """The whole series, in its own units."""
        steps = len(self.values)
        self.train_stop, self.test_start = steps - test - validation, steps - test
        self._require_room(validation, test)
        self.scale = seasonal_naive_error(self.values[: self.train_stop], self.season)
        """What the seasonal naive forecast errs in the training part, the unit of MASE."""
        # A window and the horizon after it: rows that far apart share nothing.
        self.example_block = window + horizon
        transformed = self._transformed(self.values[: self.train_stop])
        self._mean = transformed.mean().item()
        inputs, targets = self._cut(window, self.train_stop)
        level = self._level(self._transformed(inputs))
        self._spread = (self._transformed(inputs) - level).std().item()
        self._train = self._scaled(Batch(inputs.unsqueeze(-1), targets))
        self._evaluation = {
            "validation": self._in_units(self.train_stop, self.test_start),
            "test": self._in_units(self.test_start, steps),
        }

    def _require_room(self, validation: int, test: int) -> None:
        for part, size in (("validation", validation), ("test", test)):
            if size < self.horizon:
                raise UserError(
                    f"horizon is {self.horizon} and {part} {size}; a part must have room for a whole horizon: raise "
                    f"{part} or shorten horizon"
                )
        if self.season > self.window:
            raise UserError(
                f"season is {self.season} and window {self.window}; a window must hold a whole season: raise window"
            )
        if self.train_stop < self.window + self.horizon:
            raise UserError(
                f"series '{self.series}' has {len(self.values)} steps; validation {validation} and test {test} leave "
                f"{max(self.train_stop, 0)} to learn from, and a single row takes window {self.window} + horizon "
                f"{self.horizon} of them; lower one of the four"
            )

    def _cut(self, first: int, stop: int) -> tuple[Float[Tensor, "row time"], Float[Tensor, "row horizon"]]:
        """The windows before each step from `first` on, and what follows, as far as that lies before `stop`."""
        rows = self.values[first - self.window : stop].unfold(0, self.window + self.horizon, 1)
        return rows[:, : self.window], rows[:, self.window :]

    def _in_units(self, first: int, stop: int) -> Batch:
        inputs, targets = self._cut(first, stop)
        return Batch(inputs.float().unsqueeze(-1), targets.float())

    def _transformed(self, values: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        return values.log() if self.nature.logarithm else values

    def _level(self, transformed: Float[Tensor, "row time"]) -> Float[Tensor, "row 1"]:
        if self.nature.trend:
            return transformed[:, -self.season :].mean(dim=1, keepdim=True)
        return torch.full_like(transformed[:, :1], self._mean)

    def _scaled(self, batch: Batch) -> Batch:
        """A batch in units of the series as models are trained on it."""
        inputs = self._transformed(batch.inputs.squeeze(-1))
        level = self._level(inputs)
        targets = (self._transformed(batch.targets) - level) / self._spread
        return Batch(((inputs - level) / self._spread).float().unsqueeze(-1), targets.float())

    @property
    def spec(self) -> TaskSpec:
        """A window of numbers in, all of the horizon out after its last step."""
        return TaskSpec(
            task=self.name,
            inputs=Vectors(features=1, length=self.window),
            outputs=Values(self.horizon),
            predicts="last step",
            causal=False,
        )

    def train_batch(self, step: int) -> Batch:
        """Windows and targets in random order, every one once an epoch, scaled."""
        return self._train.rows(self.shuffled(step, len(self._train.targets)))

    def evaluation_set(self, name: str) -> Batch:
        """All windows ``Float[Tensor, "row time 1"]`` and targets ``Float[Tensor, "row horizon"]``, as measured."""
        return self._evaluation[name]

    def held_out(self, rows: int) -> Batch:
        """Rows of the validation set, scaled as in training."""
        return self._scaled(super().held_out(rows))

    def predict(self, model: Callable[..., Tensor], batch: Batch) -> Float[Tensor, "row horizon"]:
        """The model's forecast of each window, brought back to units of the series."""
        inputs = self._transformed(batch.inputs.squeeze(-1))
        level = self._level(inputs)
        forecast = model(((inputs - level) / self._spread).unsqueeze(-1), None) * self._spread + level
        return forecast.exp() if self.nature.logarithm else forecast

    def loss(self, prediction: Float[Tensor, "row horizon"], batch: Batch) -> Float[Tensor, ""]:
        """Mean absolute error of the scaled forecasts, over the horizon."""
        return l1_loss(prediction, batch.targets)

    def metrics(self) -> MetricCollection:
        """MASE, sMAPE and the root mean squared error; MAPE, where the series is above 0 everywhere."""
        metrics: dict[str, Metric | MetricCollection] = {
            "mase": AbsoluteScaledError(self.scale),
            "smape": SymmetricPercentageError(),
            "rmse": RootSquaredError(),
        }
        if self.nature.positive:
            metrics["mape"] = AbsolutePercentageError()
        return MetricCollection(metrics, compute_groups=False)

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "row horizon"], batch: Batch
    ) -> Float[Tensor, " row"] | None:
        """Each window's mean absolute error over the horizon, scaled."""
        return (prediction - batch.targets).abs().mean(dim=1) / self.scale if metric == "mase" else None

    def baseline(self, name: str) -> dict[str, float]:
        """How well a baseline forecasts the test windows."""
        metrics = self.metrics()
        update_metrics(metrics, self.baseline_answer(name), self._evaluation["test"])
        return {metric: value.item() for metric, value in metrics.compute().items()}

    def baseline_answer(self, name: str) -> Float[Tensor, "row horizon"]:
        """What needs no network; all that is fitted is fitted to the training part, as networks are.

        ``naive``: the last value, held. ``seasonal_naive``: the last season again. ``seasonal_drift``: the same, and
        what the line from the first to the last value of the training part rises in between; logarithms of airline.
        ``autoregression``: an `Autoregression` of at most `window` terms (a third of the training part, if that is
        less), continued; logarithms of airline. ``linear``: `linear_forecast`.
        """
        windows, _ = self._cut(self.test_start, len(self.values))
        if name in ("naive", "seasonal_naive"):
            return seasonal(windows, 1 if name == "naive" else self.season, self.horizon)
        if name == "linear":
            return self.linear_forecast(windows)
        known = self._transformed(self.values[: self.train_stop])
        if name == "seasonal_drift":
            slope = (known[-1] - known[0]).item() / (len(known) - 1)
            forecast = seasonal(self._transformed(windows), self.season, self.horizon, slope)
        elif name == "autoregression":
            model = Autoregression.fitted(known, min(self.window, len(known) // 3))
            forecast = model.continued(self._transformed(windows), self.horizon)
        else:
            raise UserError(
                f"task 'forecast' has no baseline '{name}'; it has naive, seasonal_naive, seasonal_drift, "
                "autoregression, linear"
            )
        return forecast.exp() if self.nature.logarithm else forecast

    def linear_forecast(self, windows: Float[Tensor, "row time"]) -> Float[Tensor, "row horizon"]:
        """A ridge regression from the scaled window to the scaled horizon, of the very rows that networks learn from.

        The penalty, one for the whole horizon, is that of `PENALTIES` with the least squared error when each training
        row is left out (scikit-learn's RidgeCV).
        """
        from sklearn.linear_model import RidgeCV

        rows = self._train.inputs.squeeze(-1).double().numpy()
        model = RidgeCV(PENALTIES).fit(rows, self._train.targets.double().numpy())

        def answer(inputs: Tensor, lengths: Tensor | None) -> Tensor:
            return torch.from_numpy(model.predict(inputs.squeeze(-1).numpy())).reshape(len(inputs), self.horizon)

        return self.predict(answer, Batch(windows.unsqueeze(-1), windows))
