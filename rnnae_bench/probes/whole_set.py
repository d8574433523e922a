"""What is drawn of a whole evaluation set: which classes are mistaken for which, where codes lie, what is unusual."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnae_bench.contracts.code_limit import codes
from rnnae_bench.contracts.model import Autoencoder
from rnnae_bench.contracts.spec import Classes
from rnnae_bench.contracts.task import Batch, Task

CODES = 300
"""Rows whose codes are kept, evenly spread over the set."""

_MOST_CLASSES, _MOST_SCORES = 64, 20_000


class WholeSet:
    """Gathers over the batches of an evaluation set, in order.

    Args:
        task: Whose set it is.
        name: Which.
    """

    def __init__(self, task: Task, name: str = "test") -> None:
        self._task, self._name = task, name
        spec = task.spec
        count = spec.outputs.count if isinstance(spec.outputs, Classes) else 0
        self._classes = count if count <= _MOST_CLASSES and spec.predicts == "last step" else 0
        self._confusion = np.zeros((self._classes, self._classes), dtype=np.int64)
        self._codes: list[Tensor] = []
        self._scores: list[Tensor] = []
        self._kinds: list[Tensor] = []
        self._seen = 0
        size = CODES if task.streams else len(task.evaluation_set(name).targets)
        coded = min(CODES, size)
        self._coded = {row * size // coded for row in range(coded)}

    def add(self, model: Any, batch: Batch, prediction: Tensor) -> None:
        """Take the next batch.

        Args:
            model: Which answered.
            batch: The rows.
            prediction: What `Task.predict` gave for them.
        """
        first, self._seen = self._seen, self._seen + len(batch.targets)
        if self._classes and prediction.shape[1:] == (self._classes,) and batch.targets.dim() == 1:
            pairs = batch.targets * self._classes + prediction.argmax(1)
            self._confusion += pairs.bincount(minlength=self._classes**2).view(self._classes, -1).cpu().numpy()
        if prediction.dim() == 1 and batch.targets.dim() == 1 and not batch.targets.is_floating_point():
            self._scores.append(prediction.float().cpu())
            self._kinds.append(batch.targets.cpu())
        if isinstance(model, Autoencoder):
            mine = [row - first for row in range(first, self._seen) if row in self._coded]
            if mine:
                rows = batch.rows(torch.tensor(mine, device=batch.targets.device))
                self._codes.append(codes(model, rows).float().cpu())

    def arrays(self, calibrated: Mapping[str, float]) -> dict[str, np.ndarray]:
        """What there is, by name as `rnnae_bench.records.samples` has it.

        Args:
            calibrated: What the task's calibration came to.
        """
        found: dict[str, np.ndarray] = {}
        if self._confusion.any():
            found["test/confusion"] = self._confusion
        if self._codes:
            found["test/codes"] = torch.cat(self._codes).numpy()
            labels = self._task.row_labels(self._name)
            if labels is not None:
                found["test/code_labels"] = labels[sorted(self._coded)].numpy()
        if self._scores and self._seen <= _MOST_SCORES:
            found["test/scores"] = torch.cat(self._scores).numpy()
            found["test/kinds"] = torch.cat(self._kinds).numpy()
            if "threshold" in calibrated:
                found["test/threshold"] = np.array([calibrated["threshold"]], dtype=np.float64)
        return found
