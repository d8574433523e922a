"""The sine task's data, loss, rollout, metrics and baselines."""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import TaskSpec, Values, Vectors
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_fraction, require_not_negative, require_positive
from rnnae_bench.metrics import SquaredError, squared_error


class SineTask(Task):
    """Read `window` samples of a sine, predict the next; at evaluation go on alone for `horizon` samples.

    The series is ``y_t = sin(span * t / (samples - 1))``, observed as ``x_t = y_t + noise * e_t`` with one fixed
    draw of Gaussian ``e``. One training row and one evaluation row, with window=4 and horizon=3::

        train       input  x0 x1 x2 x3   target x4
        evaluation  input  x0 x1 x2 x3   target y4 y5 y6   (without noise)

    Training predicts one step. At evaluation each prediction is appended to the window, the oldest sample is
    dropped, and the model is asked again. The series is cut by time into training, validation and test part
    before windows are taken, one at every start that leaves room for its targets: no sample is in two parts.

    Args:
        span: Radians from the first sample to the last.
        samples: Length of the whole series.
        window: Samples a model reads.
        horizon: Samples it must continue at evaluation.
        noise: Standard deviation of the observation noise.
        validation_share: Share of the series, before the test part, for validation; 0 validates on the test part.
        test_share: Share of the series, at its end, for the test.
        ordered: Give each training row as the window that follows the same row of the batch before, so that a model may
            carry its state over (at the end of the training part a row begins again at its start), instead of windows
            in random order.
        protocol: Budget and batch sizes.
        data_seed: Fixes the order of the training windows; the series and its noise do not depend on it.
    """

    name = "sine"

    def __init__(
        self,
        span: float = 100.0,
        samples: int = 500,
        window: int = 20,
        horizon: int = 1,
        noise: float = 0.0,
        validation_share: float = 0.0,
        test_share: float = 0.2,
        ordered: bool = False,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_positive(span=span, window=window, horizon=horizon, test_share=test_share)
        require_not_negative(noise=noise)
        require_fraction(validation_share=validation_share, test_share=test_share)
        for option, value in {"samples": samples, "window": window}.items():
            if value < 2:
                raise UserError(f"{option} is {value}; it must be at least 2")
        super().__init__(protocol, data_seed)
        self.window, self.horizon, self.noise, self.ordered = window, horizon, noise, ordered
        # Windows that are `window` apart share no noise (targets have none), and so far apart no sample at all.
        self.example_block = window + horizon
        self.radians_per_step = span / (samples - 1)
        test_start = samples - round(test_share * samples)
        train_stop = test_start - round(validation_share * samples)
        self.parts: dict[str, tuple[int, int]] = {
            "train": (0, train_stop),
            "validation": (train_stop, test_start) if validation_share else (test_start, samples),
            "test": (test_start, samples),
        }
        """First and one-past-last sample of each part."""
        for part, (start, stop) in self.parts.items():
            needed = window + (1 if part == "train" else horizon)
            if stop - start < needed:
                raise UserError(
                    f"the {part} part has {max(stop - start, 0)} samples and a single window with its targets takes "
                    f"{needed}; raise samples ({samples}) or that part's share, or shorten window or horizon"
                )
        self.clean: Float[Tensor, " samples"] = torch.linspace(0, span, samples, dtype=torch.float64).sin()
        self.observed: Float[Tensor, " samples"] = self.clean + noise * torch.randn(
            samples, dtype=torch.float64, generator=self.generator("noise")
        )
        self._train = self._windows("train", 1, self.observed)
        self._evaluation = {split: self._windows(split, horizon, self.clean) for split in ("validation", "test")}

    def _windows(self, part: str, steps: int, truth: Float[Tensor, " samples"]) -> Batch:
        """All windows of a part ``[batch time 1]``, and the `steps` values of `truth` after each ``[batch steps]``."""
        start, stop = self.parts[part]
        inputs = self.observed[start : stop - steps].unfold(0, self.window, 1).unsqueeze(-1)
        targets = truth[start + self.window : stop].unfold(0, steps, 1)
        return Batch(inputs.float().contiguous(), targets.float().contiguous())

    @property
    def spec(self) -> TaskSpec:
        """A window of numbers in, the next number out."""
        return TaskSpec(
            task=self.name,
            inputs=Vectors(features=1, length=self.window),
            outputs=Values(1),
            predicts="last step",
            causal=True,
            continues=self.ordered,
        )

    def train_batch(self, step: int) -> Batch:
        """Windows in random order, or each after the last, and the observed sample after each.

        Targets are ``Float[Tensor, "batch 1"]``.
        """
        if not self.ordered:
            return self._train.rows(self.shuffled(step, len(self._train.targets)))
        windows, rows = len(self._train.targets) // self.window, self.protocol.batch_size
        row = torch.arange(rows)
        place = (row * windows // rows + self.data_seed + step) % windows
        return self._train.rows(place * self.window)

    def evaluation_set(self, name: str) -> Batch:
        """All windows of the part, and the noise-free series after each: targets ``Float[Tensor, "batch horizon"]``."""
        return self._evaluation[name]

    def held_out(self, rows: int) -> Batch:
        """Windows of the validation part, and as in training only the next sample after each."""
        batch = super().held_out(rows)
        return batch._replace(targets=batch.targets[:, :1])

    def predict(self, model: Callable[..., Tensor], batch: Batch) -> Float[Tensor, "batch horizon"]:
        """The model's continuation of each window, fed with its own predictions."""
        window, values = batch.inputs, []
        for _ in range(self.horizon):
            value = model(window, None)
            values.append(value)
            window = torch.cat((window[:, 1:], value.unsqueeze(1)), dim=1)
        return torch.cat(values, dim=1)

    def loss(self, prediction: Float[Tensor, "batch 1"], batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error of the next sample."""
        return squared_error(prediction, batch)

    def metrics(self) -> MetricCollection:
        """Squared error of the first predicted sample, and where the horizon is longer, of all of them."""
        metrics: dict[str, Metric | MetricCollection] = {"mse": SquaredError(first=1)}
        if self.horizon > 1:
            metrics["rollout_mse"] = SquaredError(self.horizon)
        return MetricCollection(metrics, compute_groups=False)

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch horizon"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Each window's mean squared error, over the first sample of its continuation or all of them."""
        steps = {"mse": 1, "rollout_mse": self.horizon}.get(metric)
        return None if steps is None else (prediction - batch.targets)[:, :steps].square().mean(dim=1)

    def autoregression(self, order: int) -> Float[Tensor, " order"]:
        """Least-squares coefficients a in ``x_t = a_1 x_(t-order) + ... + a_order x_(t-1)`` on the training part.

        Where they are not unique (an order above 2 without noise), those of least norm.
        """
        start, stop = self.parts["train"]
        rows = self.observed[start:stop].unfold(0, order + 1, 1)
        return torch.linalg.lstsq(rows[:, :-1], rows[:, -1:], driver="gelsd").solution.squeeze(1)

    def phase_posterior(self, window: Float[Tensor, "batch time"]) -> Float[Tensor, "batch horizon"]:
        """The best continuation of noisy windows for one who knows all of the sine but its phase.

        That is the posterior mean of ``sin(a + omega * (time + h))`` with a uniform phase a on a grid and the
        likelihood ``exp(-sum_t (x_t - sin(a + omega * t))**2 / (2 * noise**2))``: no predictor has a smaller
        expected squared error.
        """
        phase = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.float64)[:-1].unsqueeze(1)
        steps = torch.arange(self.window + self.horizon, dtype=torch.float64)
        sines = (phase + self.radians_per_step * steps).sin()
        squares = torch.cdist(window, sines[:, : self.window], compute_mode="donot_use_mm_for_euclid_dist").square()
        return (-squares / (2 * self.noise**2)).softmax(dim=1) @ sines[:, self.window :]

    def least_squares(self) -> Float[Tensor, "time horizon"]:
        """Least-squares weights of a window's samples for each step of the horizon, on the training part.

        A forecast of its own for every step (a direct one), where `autoregression` is fed with its own predictions.
        """
        start, stop = self.parts["train"]
        rows = self.observed[start:stop].unfold(0, self.window + self.horizon, 1)
        return torch.linalg.lstsq(rows[:, : self.window], rows[:, self.window :], driver="gelsd").solution

    def frequency(self) -> float:
        """Where the periodogram ``|sum_t x_t exp(-i w t)|^2`` of the training part is highest; radians per step.

        Sought between the frequencies of a Fourier transform that is four times as long as the series, so that one of
        them lies on the peak.

        Source: Schuster (1898), On the investigation of hidden periodicities, Terrestrial Magnetism 3(1).
        """
        from scipy.optimize import minimize_scalar

        start, stop = self.parts["train"]
        series, time = self.observed[start:stop].numpy(), np.arange(stop - start)
        spacing = 2 * math.pi / (4 * len(series))
        coarse = spacing * (1 + np.abs(np.fft.rfft(series, 4 * len(series))[1:]).argmax())
        found = minimize_scalar(
            lambda w: -np.abs(np.exp(-1j * w * time) @ series),
            bounds=(coarse - spacing, coarse + spacing),
            method="bounded",
            options={"xatol": 1e-9 * spacing},
        )
        return float(found.x)

    def fitted_sine(self, window: Float[Tensor, "batch time"]) -> Float[Tensor, "batch horizon"]:
        """Each window's sine at `frequency`, continued: a least-squares fit, brought to an amplitude of 1."""
        angles = self.frequency() * torch.arange(self.window + self.horizon, dtype=torch.float64)
        waves = torch.stack((angles.sin(), angles.cos()), dim=1)
        weights = torch.linalg.lstsq(waves[: self.window], window.T, driver="gelsd").solution
        return (waves[self.window :] @ (weights / weights.norm(dim=0))).T

    def baseline_answer(self, name: str) -> Float[Tensor, "batch horizon"]:
        """The continuations of the test windows that take no gradient.

        ``persistence``: the last sample, held. ``ar2``, ``ar_window``: `autoregression` of order 2 or `window`,
        fed with its own predictions. `least_squares`: a linear forecast for each step. ``periodogram``: `fitted_sine`.
        ``bayes``: `phase_posterior`, where there is noise.
        """
        known = ["persistence", "ar2", "ar_window", "least_squares", "periodogram", *(["bayes"] if self.noise else [])]
        if name not in known:
            raise UserError(f"task 'sine' has no baseline '{name}' here; it has {', '.join(known)}")
        start, stop = self.parts["test"]
        window = self.observed[start : stop - self.horizon].unfold(0, self.window, 1)
        if name == "bayes":
            return self.phase_posterior(window)
        if name == "periodogram":
            return self.fitted_sine(window)
        if name == "least_squares":
            return window @ self.least_squares()
        if name == "persistence":
            return window[:, -1:].expand(-1, self.horizon)
        return self._continued(window, self.autoregression(2 if name == "ar2" else self.window))

    def baseline(self, name: str) -> dict[str, float]:
        """How well a baseline continues the test windows."""
        start, stop = self.parts["test"]
        metrics = self.metrics()
        metrics.update(self.baseline_answer(name), self.clean[start + self.window : stop].unfold(0, self.horizon, 1))
        return {metric: value.item() for metric, value in metrics.compute().items()}

    def _continued(
        self, window: Float[Tensor, "batch time"], coefficients: Float[Tensor, " order"]
    ) -> Float[Tensor, "batch horizon"]:
        values = window
        for _ in range(self.horizon):
            following = values[:, -len(coefficients) :] @ coefficients
            values = torch.cat((values, following.unsqueeze(1)), dim=1)
        return values[:, self.window :]
