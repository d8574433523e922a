"""Keeps what a running trial has measured, for the case that its process is killed."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

from lightning import LightningModule, Trainer
from torch import Tensor

from rnnae_bench.probes import OptimizerSteps


class Flush(OptimizerSteps):
    """Calls something before the first optimiser step, and then every so many seconds between two steps.

    A draft that can't be written (a full disk, say) does not end the trial.

    Args:
        draft: Writes down what was measured so far.
        seconds: Between two calls.
    """

    def __init__(self, draft: Callable[[], None], seconds: float) -> None:
        self._draft, self._seconds = draft, seconds
        self._last = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the first one."""
        self._flush(trainer)

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor | None, batch: Any
    ) -> None:
        """Write one where it is time."""
        if time.monotonic() - self._last >= self._seconds:
            self._flush(trainer)

    def _flush(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            with contextlib.suppress(OSError):
                self._draft()
            self._last = time.monotonic()
