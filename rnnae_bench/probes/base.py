"""What all probes have in common, and the buffer that lets them measure every step without waiting for the device."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from rnnae_bench.results.history import Series


class Probe(Callback):
    """A callback that measures. What it measured is asked for after the trial, however that ended."""

    def series(self) -> dict[str, Series]:
        """Histories by column name: what was measured at which optimiser steps."""
        return {}

    def measures(self) -> dict[str, Any]:
        """Numbers about the whole trial, by name; None where there is nothing to say."""
        return {}


class StepBuffer:
    """Rows of numbers measured on the device, one row a step, fetched from there a block at a time.

    Fetching a number from a GPU waits for all work queued before it; a block of 256 steps waits once.
    """

    BLOCK = 256

    def __init__(self) -> None:
        self._waiting: list[Tensor] = []
        self._blocks: list[np.ndarray] = []
        self._steps: list[int] = []

    def append(self, step: int, row: Float[Tensor, " width"]) -> None:
        """Add the row of an optimiser step."""
        self._steps.append(step)
        self._waiting.append(row.detach())
        if len(self._waiting) == self.BLOCK:
            self._fetch()

    def _fetch(self) -> None:
        if self._waiting:
            self._blocks.append(torch.stack(self._waiting).to("cpu", torch.float64).numpy())
            self._waiting.clear()

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps ``[rows]`` and values ``[rows width]`` so far, in float64."""
        self._fetch()
        values = np.concatenate(self._blocks) if self._blocks else np.empty((0, 0))
        return np.array(self._steps, dtype=np.int64), values


class OptimizerSteps(Probe):
    """A probe that is told once per optimiser step, after it, however many batches went into the step."""

    _stepping = False

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Remember that this batch ends in an optimiser step."""
        self._stepping = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Pass a finished optimiser step on, with its number from 1."""
        if self._stepping:
            self._stepping = False
            self.on_step(trainer, pl_module, trainer.global_step, outputs)

    def on_step(self, trainer: Trainer, pl_module: LightningModule, step: int, outputs: Any) -> None:
        """An optimiser step (from 1) is done; `outputs` is what ``training_step`` returned."""
