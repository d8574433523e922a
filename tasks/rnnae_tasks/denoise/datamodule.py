"""The denoising task's data, loss, metrics and baselines."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.image import PeakSignalNoiseRatio

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.spec import Images, TaskSpec
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_choice, require_positive
from rnnae_bench.metrics import SquaredError, StructuralSimilarity, squared_error, structural_similarity
from rnnae_tasks.datasets.digits import Digits, packed_digits, packed_labels, published_digits, published_labels
from rnnae_tasks.denoise.ridge import fit_ridge


class DenoiseTask(Task):
    """Give back the clean handwritten digit behind Gaussian noise.

    Test image 200, a two, averaged over 2 x 2 pixels and drawn in five greys::

        target                  input
        |              |        |. .. . .   ...|
        |              |        | .     ... .  |
        |      +#+     |        | .   .:#+. :  |
        |     ##:#:    |        |. . .#+.#  .. |
        |     .  #:    |        | ..  :..++ . .|
        |        #:    |        |.  . ...::  .:|
        |       +#:    |        |  . .  +#::. .|
        |    :######   |        | . . :##+++: .|
        |  .#+##+ .#:  |        |   +++++ :+. .|
        | .#+##.  .#.  |        |..##++.. .# ..|
        | .##+.   :#   |        |..#:+..  .#:: |
        |         #.   |        |.  : ..  ## ..|
        |              |        |..  :      ::.|
        |              |        |    .: :  :.. |

    A noisy image is ``clip(clean + sigma * e, 0, 1)`` with e standard normal, pixel by pixel. Training noise is
    drawn afresh at every step, evaluation noise once. An autoencoder sees the image whole; a sequence model
    reads its 28 rows from top to bottom and answers a row at each.

    Args:
        sigma: Standard deviation of the noise, on pixels in [0, 1].
        source: ``embedded`` takes the 5,000 digits that come with the suite (3,500 train, 500 validate, 1,000
            test); ``torchvision`` takes all of MNIST (55,000, 5,000 and 10,000).
        folder: torchvision's root folder, with MNIST's files or to download them to; for that source only.
        protocol: Budget and batch sizes.
        data_seed: Fixes the order of the training images and their noise.
    """

    name = "denoise"

    def __init__(
        self,
        sigma: float = 0.5,
        source: Literal["embedded", "torchvision"] = "embedded",
        folder: str | None = None,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_positive(sigma=sigma)
        require_choice(("embedded", "torchvision"), source=source)
        if source == "torchvision" and folder is None:
            raise UserError("source is 'torchvision' without a folder; say where MNIST lies or may be downloaded to")
        if source == "embedded" and folder is not None:
            raise UserError(f"folder is '{folder}' with source 'embedded', which reads none; set source to torchvision")
        super().__init__(protocol, data_seed)
        self.sigma = sigma
        self.folder = folder
        self._evaluation_sets: dict[str, Batch] = {}

    @property
    def spec(self) -> TaskSpec:
        """Images in, images out; all of the image may be seen before any of it is answered."""
        image = Images(channels=1, height=28, width=28)
        return TaskSpec(task=self.name, inputs=image, outputs=image, predicts="every step", causal=False)

    @cached_property
    def digits(self) -> Digits:
        """The clean images; read when first asked for."""
        return packed_digits() if self.folder is None else published_digits(Path(self.folder))

    def prepare_data(self) -> None:
        """Read the images, so that a download happens once per machine, before other processes look."""
        _ = self.digits

    def corrupt(
        self,
        clean: Float[Tensor, "batch channel height width"],
        generator: torch.Generator,
    ) -> Float[Tensor, "batch channel height width"]:
        """The noisy copies of clean images."""
        return torch.randn(clean.shape, generator=generator).mul_(self.sigma).add_(clean).clamp_(0, 1)

    def train_batch(self, step: int) -> Batch:
        """Shuffled training images under fresh noise."""
        images = self.digits.train
        clean = _in_unit_range(images.index_select(0, self.shuffled(step, len(images))))
        return Batch(self.corrupt(clean, self.generator("train", self.data_seed, step)), clean)

    def evaluation_set(self, name: str) -> Batch:
        """All validation or test images under noise that was drawn once."""
        if name not in self._evaluation_sets:
            clean = _in_unit_range(self.digits.validation if name == "validation" else self.digits.test)
            self._evaluation_sets[name] = Batch(self.corrupt(clean, self.generator(name)), clean)
        return self._evaluation_sets[name]

    def row_labels(self, name: str) -> Int[Tensor, " rows"]:
        """Which digit each image shows; models are not told."""
        labels = packed_labels() if self.folder is None else published_labels(Path(self.folder))
        return labels.validation if name == "validation" else labels.test

    def loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error over all pixels."""
        return squared_error(prediction.to(batch.targets.dtype), batch)

    def metrics(self) -> MetricCollection:
        """Mean squared error, and means over images of the peak signal-to-noise ratio and of the similarity.

        ``psnr`` is 10 log10(1 / mse) of each image; ``structural_similarity`` is that of Wang et al. (2004).
        """
        return MetricCollection(
            {
                "mse": SquaredError(),
                "psnr": PeakSignalNoiseRatio(data_range=1.0, reduction="elementwise_mean", dim=(1, 2, 3)),
                "structural_similarity": StructuralSimilarity(),
            },
            compute_groups=False,
        )

    def example_scores(
        self, metric: str, prediction: Float[Tensor, "batch channel height width"], batch: Batch
    ) -> Float[Tensor, " batch"] | None:
        """Each image's mean squared error, peak signal-to-noise ratio or similarity."""
        squares = (prediction - batch.targets).square().mean(dim=(1, 2, 3))
        if metric == "structural_similarity":
            return structural_similarity(prediction, batch.targets)
        return {"mse": squares, "psnr": -10 * squares.log10()}.get(metric)

    def predict(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        """The model's images in the targets' precision; differences in half precision would be too coarse."""
        return super().predict(model, batch).to(batch.targets.dtype)

    def baseline_answer(self, name: str) -> Float[Tensor, "batch channel height width"]:
        """``mean``: the mean training image, always; ``noisy``: the input; ``ridge``: the best affine map."""
        noisy, clean = self.evaluation_set("test")[:2]
        if name == "mean":
            return _in_unit_range(self.digits.train).mean(0).expand_as(clean)
        if name == "noisy":
            return noisy
        if name == "ridge":
            return fit_ridge(_in_unit_range(self.digits.train), self.sigma)(noisy)
        raise UserError(f"task 'denoise' has no baseline '{name}'; it has mean, noisy, ridge")

    def baseline(self, name: str) -> dict[str, float]:
        """How well a baseline denoises the test images."""
        metrics = self.metrics()
        metrics.update(self.baseline_answer(name), self.evaluation_set("test").targets)
        return {metric: value.item() for metric, value in metrics.compute().items()}


def _in_unit_range(images: Tensor) -> Tensor:
    return images / 255
