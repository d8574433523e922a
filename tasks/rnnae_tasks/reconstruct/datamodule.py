"""The reconstruction task's data, loss, metrics and baselines."""

from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Images, TaskSpec, Values, Vectors
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_choice, require_positive
from rnnae_bench.metrics import SquaredError, VarianceExplained, squared_error
from rnnae_tasks.datasets.pictures import SIDE, picture_labels, pictures
from rnnae_tasks.reconstruct.pca import PrincipalComponents, fit_pca, pca_of_covariance
from rnnae_tasks.reconstruct.sines import WINDOW, covariance, sine_windows

_SINE_ROWS = 1000
"""Windows of sines in the validation and in the test set, each."""


class ReconstructTask(Task):
    """Give back a picture or a window of a series through a code of at most so many numbers.

    The first test image of ``digits``, in five greys, and the best that eight principal components make of it::

        input and target      through 8 numbers
        |  .+#:  |            |  .++.  |
        |  ##+#: |            |  ##++  |
        |  #+ .: |            | .#: :. |
        | .#. .: |            | :#. :. |
        | ::  :: |            | .+  :. |
        | .+  #  |            | .+ .#  |
        |  #+#+  |            |  +:##  |
        |  .##   |            |  .##   |

    Input and target are the same; a model without a code, or with a larger one, is refused.

    Args:
        data: ``digits`` are 1,797 pictures of 8 x 8 pixels (1,293 train, 144 validate, 360 test), ``mnist`` 5,000 of
            28 x 28 (3,500, 500, 1,000), pixels in [0, 1]; ``sine`` are windows of 20 samples of sines of all phases
            and of frequencies between 0.1 and 0.5 radians per sample, drawn afresh at every step.
        code_limit: How many numbers a code may have.
        protocol: Budget and batch sizes.
        data_seed: Fixes the order of the training images, or the training windows.
    """

    name = "reconstruct"

    def __init__(
        self,
        data: Literal["digits", "mnist", "sine"] = "digits",
        code_limit: int = 8,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_choice(("digits", "mnist", "sine"), data=data)
        require_positive(code_limit=code_limit)
        size = WINDOW if data == "sine" else SIDE[data] ** 2
        if code_limit >= size:
            raise UserError(
                f"code_limit is {code_limit} with data '{data}', whose rows have {size} numbers; a code must be smaller"
            )
        super().__init__(protocol, data_seed)
        self.data, self.code_limit = data, code_limit

    def row_labels(self, name: str) -> Int[Tensor, " rows"] | None:
        """Which digit each picture shows; None of sines."""
        return None if self.data == "sine" else picture_labels(self.data)[self.evaluation_sets.index(name) + 1]

    @property
    def spec(self) -> TaskSpec:
        """Rows in, the same rows out, read whole, through a code of `code_limit` numbers."""
        side = SIDE.get(self.data, 0)
        window, image = Vectors(features=1, length=WINDOW), Images(channels=1, height=side, width=side)
        return TaskSpec(
            task=self.name,
            inputs=window if self.data == "sine" else image,
            outputs=Values(1) if self.data == "sine" else image,
            predicts="every step",
            causal=False,
            code_limit=self.code_limit,
        )

    @cached_property
    def images(self) -> tuple[Tensor, ...]:
        """Training, validation and test images ``Float[Tensor, "image 1 side side"]``, pixels in [0, 1]."""
        return pictures(self.data)

    @cached_property
    def _evaluation_sets(self) -> dict[str, Batch]:
        names = self.evaluation_sets
        if self.data == "sine":
            rows = [sine_windows(_SINE_ROWS, self.generator(name)) for name in names]
        else:
            rows = [*self.images[1:]]
        return {name: Batch(each, each) for name, each in zip(names, rows, strict=True)}

    def train_batch(self, step: int) -> Batch:
        """Shuffled training images, or fresh windows; inputs and targets are the same."""
        if self.data == "sine":
            rows = sine_windows(self.protocol.batch_size, self.generator("train", self.data_seed, step))
        else:
            rows = self.images[0].index_select(0, self.shuffled(step, len(self.images[0])))
        return Batch(rows, rows)

    def evaluation_set(self, name: str) -> Batch:
        """All validation or test images, or windows that were drawn once."""
        return self._evaluation_sets[name]

    def loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error over all pixels or samples."""
        return squared_error(prediction.to(batch.targets.dtype), batch)

    def metrics(self) -> MetricCollection:
        """Mean squared error, and the share of the variance about the mean training row that is explained."""
        return MetricCollection(
            {"mse": SquaredError(), "variance_explained": VarianceExplained(self.components.centre)},
            compute_groups=False,
        )

    def example_scores(self, metric: str, prediction: Tensor, batch: Batch) -> Float[Tensor, " batch"] | None:
        """Each row's mean squared error."""
        return (prediction - batch.targets).square().flatten(1).mean(dim=1) if metric == "mse" else None

    @cached_property
    def components(self) -> PrincipalComponents:
        """As many principal components as a code may have numbers.

        Of pictures, those of the training and validation images together, since there is nothing to choose by the
        latter; of sines, those of the exact covariance.
        """
        if self.data == "sine":
            return pca_of_covariance(covariance(), self.code_limit)
        return fit_pca(torch.cat(self.images[:2]), self.code_limit)

    def baseline_answer(self, name: str) -> Tensor:
        """``mean``: the mean row, always; ``pca``: the projection onto `components`."""
        rows = self.evaluation_set("test").inputs
        if name == "mean":
            return self.components.centre.to(rows.dtype).reshape(rows.shape[1:]).expand_as(rows)
        if name == "pca":
            return self.components.reconstruct(rows)
        raise UserError(f"task 'reconstruct' has no baseline '{name}'; it has mean, pca")

    def baseline(self, name: str) -> dict[str, float]:
        """How well a baseline reconstructs the test rows."""
        metrics = self.metrics()
        metrics.update(self.baseline_answer(name), self.evaluation_set("test").targets)
        return {metric: value.item() for metric, value in metrics.compute().items()}
