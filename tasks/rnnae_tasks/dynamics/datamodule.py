"""The dynamics task's data, loss, free run, metrics and baselines."""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.rollout import rollout
from rnnae_bench.contracts.spec import TaskSpec, Values, Vectors
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_choice, require_positive
from rnnae_bench.metrics import RootSquaredError, ValidTime, squared_error, valid_steps
from rnnae_tasks.dynamics.forecasters import LinearAutoregression, NextGenerationReservoir, continued
from rnnae_tasks.dynamics.systems import SYSTEMS, Flow

RESERVOIRS: dict[tuple[str, str], tuple[int, int, int]] = {
    ("lorenz63", "all"): (2, 1, 2),
    ("lorenz63", "first"): (6, 3, 3),
    ("pendulum", "all"): (2, 1, 3),
    ("pendulum", "first"): (3, 1, 3),
    ("mackey_glass", "all"): (6, 3, 4),
}
"""Taps, skip and degree of the next-generation reservoir, by system and coordinates."""


class DynamicsTask(Task):
    """Learn a dynamical system by predicting the next sample; at evaluation go on alone for `horizon` samples.

    One training row and one evaluation row, with window=4 and horizon=3::

        train       input  x0 x1 x2 x3   target  x1 x2 x3 x4
        evaluation  input  x0 x1 x2 x3   target              x4 x5 x6

    Training predicts one step at every step. At evaluation the model reads the window and is then fed with its own
    predictions, its state handed on. Training windows are cut at random from a fixed set of trajectories; validation
    and test rows are trajectories of their own. All samples are standardised by the training trajectories.

    Args:
        system: ``lorenz63`` (three coordinates, 0.02 time units a sample), ``pendulum`` (damped; angle and velocity,
            0.1) or ``mackey_glass`` (one, with a delay of 17 samples).
        coordinates: Show ``all`` of them, or the ``first`` alone, from whose past the others must then be inferred.
        window: Samples that a model reads.
        horizon: Samples that it goes on alone.
        trajectories: How many there are to train on.
        length: Samples of each of these.
        evaluation_size: Trajectories in the validation and in the test set, each.
        threshold: Error up to which a forecast is valid, in standard deviations: root mean square over coordinates.
        protocol: Budget and batch sizes.
        data_seed: Fixes which windows are drawn when; the trajectories do not depend on it.
    """

    name = "dynamics"

    def __init__(
        self,
        system: Literal["lorenz63", "pendulum", "mackey_glass"] = "lorenz63",
        coordinates: Literal["all", "first"] = "all",
        window: int = 50,
        horizon: int = 552,
        trajectories: int = 64,
        length: int = 1000,
        evaluation_size: int = 200,
        threshold: float = 0.4,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_choice(tuple(SYSTEMS), system=system)
        require_choice(("all", "first"), coordinates=coordinates)
        require_positive(
            window=window,
            horizon=horizon,
            trajectories=trajectories,
            evaluation_size=evaluation_size,
            threshold=threshold,
        )
        if length <= window:
            raise UserError(f"length is {length}; it must be above window ({window}), so that a next sample is there")
        super().__init__(protocol, data_seed)
        self.system = SYSTEMS[system]
        one = len(self.system.coordinates) == 1
        self.reservoir = RESERVOIRS[system, "all" if one else coordinates]
        self.values = len(self.system.coordinates) if coordinates == "all" else 1
        self.window, self.horizon, self.threshold = window, horizon, threshold
        self.evaluation_size, self.size = evaluation_size, (trajectories, length)
        self._system = system

    @property
    def step(self) -> float:
        """Duration of a sample in the system's unit of valid times."""
        return self.system.spacing / self.system.time_unit

    def simulated(self, name: str) -> Float[Tensor, "rows samples values"]:
        """The trajectories of a set in double precision, in the system's own units; ``train`` is one too."""
        rows, samples = self.size if name == "train" else (self.evaluation_size, self.window + self.horizon)
        return _simulated(self._system, self.generator(name).initial_seed(), rows, samples)[..., : self.values]

    def moments(self) -> tuple[Float[Tensor, " values"], Float[Tensor, " values"]]:
        """Mean and standard deviation of the training trajectories, to four decimals.

        They are rounded so that the order in which a machine adds up does not reach the data.
        """
        train = self.simulated("train")
        return train.mean((0, 1)).round(decimals=4), train.std((0, 1), correction=0).round(decimals=4)

    def standardised(self, name: str) -> Float[Tensor, "rows samples values"]:
        """The trajectories of a set as they are shown and scored, in single precision."""
        mean, deviation = self.moments()
        return ((self.simulated(name) - mean) / deviation).float()

    @property
    def spec(self) -> TaskSpec:
        """Samples in; at every step the next sample out."""
        return TaskSpec(
            task=self.name,
            inputs=Vectors(features=self.values, length=self.window),
            outputs=Values(self.values),
            predicts="every step",
            causal=True,
        )

    def train_batch(self, step: int) -> Batch:
        """Windows drawn at random, and the sample after each of their samples."""
        generator, rows = self.generator("train", self.data_seed, step), self.protocol.batch_size
        trajectories, length = self.size
        which = torch.randint(trajectories, (rows, 1), generator=generator)
        start = torch.randint(length - self.window, (rows, 1), generator=generator)
        mean, deviation = self.moments()
        samples = self.simulated("train")[which, start + torch.arange(self.window + 1)]
        drawn = ((samples - mean) / deviation).float()
        return Batch(drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous())

    def evaluation_set(self, name: str) -> Batch:
        """Windows, and what comes after: targets ``Float[Tensor, "batch horizon values"]``."""
        samples = self.standardised(name)
        return Batch(samples[:, : self.window].contiguous(), samples[:, self.window :].contiguous())

    def held_out(self, rows: int) -> Batch:
        """Windows of the validation set, and as in training the sample after each of their samples."""
        batch = super().held_out(rows)
        return batch._replace(targets=torch.cat((batch.inputs[:, 1:], batch.targets[:, :1]), dim=1))

    def predict(self, model: Callable[..., Tensor], batch: Batch) -> Float[Tensor, "batch horizon values"]:
        """The model's continuation of each window, fed with its own predictions."""
        return rollout(model, batch.inputs, self.horizon)

    def loss(self, prediction: Float[Tensor, "batch time values"], batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error of the next samples, in variances."""
        return squared_error(prediction, batch)

    def metrics(self) -> MetricCollection:
        """How long the free run is valid, and the error of its first step in standard deviations."""
        return MetricCollection(
            {"valid_time": ValidTime(self.threshold, self.step), "one_step_nrmse": RootSquaredError(first=1)},
            compute_groups=False,
        )

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch horizon values"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """How long each free run is valid."""
        if metric != "valid_time":
            return None
        return self.step * valid_steps(prediction, batch.targets, self.threshold).double()

    def baseline_answer(self, name: str) -> Float[Tensor, "batch horizon values"]:
        """What forecasts the test rows without gradient descent.

        ``persistence``: the last sample, held. ``ar2``, ``ar10``: `LinearAutoregression`.
        ``next_generation_reservoir``: `NextGenerationReservoir`. ``equations``: the system itself, integrated from the
        last sample that is shown, which is rounded to single precision; for flows of which all coordinates are shown.
        """
        known = ["persistence", "ar2", "ar10", "next_generation_reservoir"]
        if isinstance(self.system, Flow) and self.values == len(self.system.coordinates):
            known.append("equations")
        if name not in known:
            raise UserError(f"task 'dynamics' has no baseline '{name}' here; it has {', '.join(known)}")
        window = self.evaluation_set("test").inputs.double()
        mean, deviation = self.moments()
        if name == "persistence":
            return window[:, -1:].expand(-1, self.horizon, -1)
        if name == "equations":
            assert isinstance(self.system, Flow)
            last = (window[:, -1] * deviation + mean).T.numpy()
            return (torch.from_numpy(self.system.continued(last, self.horizon).copy()) - mean) / deviation
        taps, skip, degree = self.reservoir
        reach = (taps - 1) * skip + 1 if name == "next_generation_reservoir" else int(name[2:])
        if self.window < reach:
            raise UserError(f"window is {self.window}; the baseline '{name}' looks back on {reach} samples")
        train = (self.simulated("train") - mean) / deviation
        if name == "next_generation_reservoir":
            return continued(NextGenerationReservoir(train, taps, skip, degree), window, self.horizon)
        return continued(LinearAutoregression(train, reach), window, self.horizon)

    def baseline(self, name: str) -> dict[str, float]:
        """How well a baseline continues the test rows."""
        metrics = self.metrics()
        metrics.update(self.baseline_answer(name), self.evaluation_set("test").targets)
        return {metric: value.item() for metric, value in metrics.compute().items()}


@lru_cache(maxsize=16)
def _simulated(system: str, seed: int, rows: int, samples: int) -> Float[Tensor, "rows samples values"]:
    """Trajectories that begin where the seed says. They are shared: not to be changed in place."""
    drawn = torch.rand(rows, SYSTEMS[system].drawn, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.from_numpy(np.ascontiguousarray(SYSTEMS[system].trajectories(drawn.numpy(), samples)))
