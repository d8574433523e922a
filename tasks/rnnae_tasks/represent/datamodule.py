"""The representation task's data, loss, metrics and baselines."""

from collections.abc import Callable
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import MetricCollection

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.code_limit import codes
from rnnae_bench.contracts.spec import Images, TaskSpec
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError, require_choice, require_positive
from rnnae_bench.metrics import CodeKnowledge, squared_error
from rnnae_tasks.datasets.pictures import SIDE, Source, picture_labels, pictures
from rnnae_tasks.reconstruct.pca import fit_pca


class RepresentTask(Task):
    """Learn a code of pictures without labels; what it knows of what they show is scored.

    A model is trained to give pictures back. Of an evaluation set the rows are (``digits``, the test set)::

        picture         target: label, scored, row   what becomes of its code
        a 6, training   6  0     0                   teaches a linear probe the label
        ...
        a 0, test       0  1  1293                   the probe is asked for the label; is clustered
        ...

    A model without a code, or with a larger one, is refused.

    Args:
        data: ``digits`` are 1,797 pictures of 8 x 8 pixels (1,293 train, 144 validate, 360 test), ``mnist`` 5,000 of
            28 x 28 (3,500, 500, 1,000).
        code_limit: How many numbers a code may have.
        protocol: Budget and batch sizes.
        data_seed: Fixes the order of the training images.
    """

    name = "represent"

    def __init__(
        self,
        data: Source = "digits",
        code_limit: int = 8,
        protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
        data_seed: int = 0,
    ) -> None:
        require_choice(tuple(SIDE), data=data)
        require_positive(code_limit=code_limit)
        if code_limit >= SIDE[data] ** 2:
            raise UserError(
                f"code_limit is {code_limit} with data '{data}', whose pictures have {SIDE[data] ** 2} pixels; "
                "a code must be smaller"
            )
        super().__init__(protocol, data_seed)
        self.data, self.code_limit = data, code_limit

    def row_labels(self, name: str) -> Int[Tensor, " rows"]:
        """Which digit each picture shows."""
        return self.evaluation_set(name).targets[:, 0]

    @property
    def spec(self) -> TaskSpec:
        """Pictures in, the same pictures out, through a code of `code_limit` numbers."""
        image = Images(channels=1, height=SIDE[self.data], width=SIDE[self.data])
        return TaskSpec(
            task=self.name,
            inputs=image,
            outputs=image,
            predicts="every step",
            causal=False,
            code_limit=self.code_limit,
        )

    @cached_property
    def _train(self) -> Tensor:
        return pictures(self.data)[0]

    @cached_property
    def _evaluation_sets(self) -> dict[str, Batch]:
        labelled, *scored = pictures(self.data)
        labels, *truths = picture_labels(self.data)
        found = {}
        for name, images, truth in zip(self.evaluation_sets, scored, truths, strict=True):
            row = torch.arange(len(labels) + len(truth))
            targets = torch.stack((torch.cat((labels, truth)), (row >= len(labels)).long(), row), dim=1)
            found[name] = Batch(torch.cat((labelled, images)), targets)
        return found

    def train_batch(self, step: int) -> Batch:
        """Shuffled training images, as inputs and as targets; no labels."""
        images = self._train.index_select(0, self.shuffled(step, len(self._train)))
        return Batch(images, images)

    def evaluation_set(self, name: str) -> Batch:
        """The training images, labelled, and after them those of the set, which are scored.

        Targets are ``Int[Tensor, "image 3"]``: which digit an image shows, 1 where it is scored, and its number.
        """
        return self._evaluation_sets[name]

    def scored_rows(self, name: str) -> Bool[Tensor, " rows"]:
        """The images after the labelled ones."""
        return self.evaluation_set(name).targets[:, 1] == 1

    def held_out(self, rows: int) -> Batch:
        """Validation images, as inputs and as targets."""
        whole = self.evaluation_set("validation")
        scored = whole.rows(self.scored_rows("validation"))
        count = min(rows, len(scored.inputs))
        images = scored.inputs[torch.arange(count) * len(scored.inputs) // count]
        return Batch(images, images)

    def samples(self) -> list[int]:
        """Eight of the scored test images."""
        labelled, size = len(self._train), len(self.evaluation_set("test").targets)
        return [labelled + place * (size - labelled) // 8 for place in range(8)]

    def predict(self, model: Callable[..., Tensor], batch: Batch) -> Float[Tensor, "batch code"]:
        """The model's code of each image."""
        return codes(model, batch)

    def loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Mean squared error over all pixels."""
        return squared_error(prediction.to(batch.targets.dtype), batch)

    def metrics(self) -> MetricCollection:
        """A linear probe's accuracy, and how well clusters of the codes are the labels."""
        return MetricCollection({"knowledge": CodeKnowledge()}, compute_groups=False)

    def baseline(self, name: str) -> dict[str, float]:
        """What codes know that take no training: ``constant``, ``pca`` and, though larger, ``pixels``."""
        test = self.evaluation_set("test")
        if name == "constant":
            labels, scored, _ = test.targets.unbind(1)
            commonest = labels[scored == 0].bincount().argmax()
            return {"probe_accuracy": (labels[scored == 1] == commonest).double().mean().item()}
        if name == "pca":
            code = fit_pca(self._train, self.code_limit).encode(test.inputs)
        elif name == "pixels":
            code = test.inputs.flatten(1)
        else:
            raise UserError(f"task 'represent' has no baseline '{name}'; it has constant, pca, pixels")
        metrics = self.metrics()
        metrics.update(code.float(), test.targets)
        return {metric: value.item() for metric, value in metrics.compute().items()}
