"""The anomaly task: its options, data, error, metrics and baselines."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Images, Static, TaskSpec, Values, Vectors
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_choice, require_not_negative
from rnnae_bench.metrics import (
    AveragePrecision,
    Detection,
    PercentileThreshold,
    RocAuc,
    roc_auc_of_rows,
    squared_error,
)
from rnnae_tasks.anomaly import detectors
from rnnae_tasks.anomaly.published import FEATURES, breast_cancer, one_class_digits, require_malignant
from rnnae_tasks.anomaly.rows import Data
from rnnae_tasks.anomaly.windows import KINDS, PERIODS, sine_windows

SHORTEST = 8
"""Steps of the shortest window: one of the fastest sines."""
LARGEST = 10**8
"""Numbers in the training windows, at most."""
_BELONGS = {"window": "sine", "noise": "sine", "rows": "sine", "normal": "digits"}
"""Options that only one kind of data has."""
DETECTORS = {
    "mahalanobis": detectors.mahalanobis,
    "isolation_forest": detectors.isolation_forest,
    "nearest_neighbours": detectors.nearest_neighbours,
}
"""Those that have no setting."""


class AnomalyTask(Task):
    """Tell what is not normal by the error of an autoencoder that has learned to reconstruct what is.

    The first test window with a spike, with window=12 and noise=0, and what a perfect one makes of it::

        input            0.17  0.47  0.74  0.96  1.12  1.22  1.23  2.18  1.05  0.86  0.61  0.33
        reconstruction   0.17  0.47  0.74  0.96  1.12  1.22  1.23  1.18  1.05  0.86  0.61  0.33
        error            0.083, the mean of the squares; above the threshold it counts as an anomaly
        target           1, a spike

    Training rows are normal, and each is its own target. At evaluation what is scored of a row is its error, and the
    target its label: 0 normal, else the number of the kind of anomaly. The threshold for precision and recall is a
    percentile of the errors of the training rows, after the training; the area under the ROC curve needs none.

    Args:
        data: ``sine``: windows of sines of any frequency between two, and five kinds of anomalies. ``digits``: one of
            the handwritten digits is normal, the other nine are not. ``breast_cancer``: measurements of benign tumours,
            and few malignant ones.
        window: Steps of a window; for sine only, 50 by default.
        noise: Standard deviation of the noise on a window; for sine only, 0.2 by default.
        rows: Normal windows to train on; for sine only, 4,000 by default.
        normal: The digit that is normal; for digits only, 0 by default.
        contamination: Share of anomalies among the training rows, which nobody has told apart; below 0.5.
        percentile: Percentage of the training rows that the threshold takes for normal.
        code_limit: How many numbers the code of an autoencoder may have; null allows models without a code.
        protocol: Budget and batch sizes.
        data_seed: Fixes the order of the training rows; the rows do not depend on it.
    """

    name = "anomaly"
    reference = "calibration"

    def __init__(
        self,
        data: Literal["sine", "digits", "breast_cancer"] = "sine",
        window: int | None = None,
        noise: float | None = None,
        rows: int | None = None,
        normal: int | None = None,
        contamination: float = 0.0,
        percentile: float = 95.0,
        code_limit: int | None = None,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_choice(("sine", "digits", "breast_cancer"), data=data)
        given = {"window": window, "noise": noise, "rows": rows, "normal": normal}
        for option, of in _BELONGS.items():
            if given[option] is not None and data != of:
                raise UserError(
                    f"{option} is {given[option]} with data '{data}', which has none; leave it out or set data to {of}"
                )
        if not 0 <= contamination < 0.5:
            raise UserError(f"contamination is {contamination}; it must be at least 0 and below 0.5")
        super().__init__(protocol, data_seed)
        self.data = data
        self.window = 50 if window is None else window
        self.noise = 0.2 if noise is None else noise
        self.rows = 4000 if rows is None else rows
        self.normal = 0 if normal is None else normal
        self.contamination, self.percentile, self.code_limit = contamination, percentile, code_limit
        self._require_data()
        self.calibration()
        self._evaluation_sets: dict[str, Batch] = {}

    def _require_data(self) -> None:
        """Refuse data that can't be made."""
        if self.rows < 2:
            raise UserError(f"rows is {self.rows}; it must be at least 2, for they have a covariance")
        require_not_negative(noise=self.noise)
        if self.window < SHORTEST:
            raise UserError(f"window is {self.window}; it must be at least {SHORTEST}, one period of the fastest sine")
        if self.window * self.rows > LARGEST:
            raise UserError(f"window * rows is {self.window} * {self.rows}; it must be at most {LARGEST:,}, to be held")
        if self.normal not in range(10):
            raise UserError(f"normal is {self.normal}; it must be a digit, 0 to 9")
        if self.data == "breast_cancer":
            require_malignant(self.contamination)
        numbers = {"sine": self.window, "digits": 28 * 28, "breast_cancer": FEATURES}[self.data]
        if self.code_limit is not None and not 0 < self.code_limit < numbers:
            raise UserError(
                f"code_limit is {self.code_limit}; it must be above 0 and below {numbers}, the numbers of a row"
            )

    @property
    def spec(self) -> TaskSpec:
        """A row in, the same row out; all of it may be seen before any of it is answered."""
        if self.data == "breast_cancer":
            vector = Static(FEATURES)
            return TaskSpec(self.name, vector, Values(FEATURES), "last step", causal=False, code_limit=self.code_limit)
        image, steps = Images(channels=1, height=28, width=28), Vectors(features=1, length=self.window)
        inputs, outputs = (image, image) if self.data == "digits" else (steps, Values(1))
        return TaskSpec(self.name, inputs, outputs, "every step", causal=False, code_limit=self.code_limit)

    @cached_property
    def sets(self) -> Data:
        """All rows; made or read when first asked for."""
        if self.data == "sine":
            return sine_windows(self.window, self.noise, self.rows, self.contamination, self.generator)
        if self.data == "digits":
            return one_class_digits(self.normal, self.contamination, self.generator)
        return breast_cancer(self.contamination, self.generator)

    def train_batch(self, step: int) -> Batch:
        """Training rows in random order, each its own target."""
        values = self.sets.train.values
        values = values.index_select(0, self.shuffled(step, len(values)))
        return Batch(values, values)

    def evaluation_set(self, name: str) -> Batch:
        """All rows of a set, labels as targets ``Int64[Tensor, "batch"]``; ``calibration`` are the training rows."""
        if name not in self._evaluation_sets:
            train, validation, test = self.sets
            rows = {"calibration": train, "validation": validation, "test": test}[name]
            self._evaluation_sets[name] = Batch(rows.values, rows.kinds)
        return self._evaluation_sets[name]

    def held_out(self, rows: int) -> Batch:
        """Rows of the validation set, and as in training each its own target."""
        batch = super().held_out(rows)
        return batch._replace(targets=batch.inputs)

    def samples(self) -> Sequence[int]:
        """Rows of every kind, eight in all or nearly: as many of each, evenly spread."""
        kinds = self.evaluation_set("test").targets
        parts = [(kinds == kind).nonzero()[:, 0].tolist() for kind in kinds.unique()]
        count = max(8 // len(parts), 1)
        return [part[place * len(part) // count] for part in parts for place in range(count)]

    def loss(self, prediction: Float[Tensor, "batch *axes"], batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error of the reconstruction."""
        return squared_error(prediction.to(batch.targets.dtype), batch)

    def predict(self, model: Callable[..., Tensor], batch: Batch) -> Float[Tensor, " batch"]:
        """Each row's score: the mean squared error of its reconstruction, in the inputs' precision."""
        reconstruction = super().predict(model, batch).to(batch.inputs.dtype)
        return (reconstruction - batch.inputs).square().flatten(1).mean(dim=1)

    def metrics(self) -> MetricCollection:
        """What needs no threshold: over all rows, and for windows over each kind of anomaly beside the normal rows."""
        kinds = KINDS if self.data == "sine" else ()
        return MetricCollection(
            {
                "roc_auc": RocAuc(),
                "average_precision": AveragePrecision(),
                **{f"roc_auc_{kind}": RocAuc(number) for number, kind in enumerate(kinds, start=1)},
            },
            compute_groups=False,
        )

    def calibration(self) -> Metric:
        """The percentile of the training rows' errors, as ``threshold``."""
        return PercentileThreshold(self.percentile)

    def test_metrics(self, name: str, calibrated: Mapping[str, float]) -> MetricCollection:
        """Those of `metrics`, and what is found above the threshold."""
        own = dict(self.metrics().items())
        return MetricCollection({**own, "detection": Detection(calibrated["threshold"])}, compute_groups=False)

    def example_scores(self, metric: str, prediction: Float[Tensor, " batch"], batch: Batch) -> Tensor | None:
        """Each row's part in the area under the ROC curve, which takes the whole test set; of a part of it, None."""
        if metric != "roc_auc" or len(prediction) < len(self.sets.test.kinds):
            return None
        return roc_auc_of_rows(prediction, batch.targets)

    def baseline_answer(self, name: str) -> Float[Tensor, " row"]:
        """The scores that a detector without a network gives to the test rows, fitted to the training rows.

        ``pca``, ``mahalanobis``, ``isolation_forest``, ``nearest_neighbours``: those of `detectors`. ``sine_fit``, of
        windows: the error of the sine that fits best.
        """
        train, test = (rows.values.flatten(1).double().numpy() for rows in (self.sets.train, self.sets.test))
        if name == "pca":
            return torch.from_numpy(detectors.principal_components(train, test, self.code_limit))
        if name in DETECTORS:
            return torch.from_numpy(DETECTORS[name](train, test))
        if name == "sine_fit" and self.data == "sine":
            slowest, fastest = (2 * math.pi / period for period in (PERIODS[1], PERIODS[0]))
            return torch.from_numpy(detectors.sine_fit(test, slowest, fastest))
        known = ", ".join(["pca", *DETECTORS, *(["sine_fit"] if self.data == "sine" else [])])
        raise UserError(f"task 'anomaly' has no baseline '{name}' here; it has {known}")

    def baseline(self, name: str) -> dict[str, float]:
        """How well a detector tells the test rows apart."""
        metrics = self.metrics()
        metrics.update(self.baseline_answer(name), self.evaluation_set("test").targets)
        return {metric: value.item() for metric, value in metrics.compute().items()}
