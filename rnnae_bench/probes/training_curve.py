"""Loss and learning rate at every optimiser step, and the end of a trial whose loss is no longer a number."""

import copy
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from rnnae_bench.probes.base import Diverged, OptimizerSteps, Probe, StepBuffer
from rnnae_bench.results.history import Series


class TrainingCurve(OptimizerSteps, Probe):
    """The training loss (of the batch just learned from) and the learning rate.

    Looks every `check_every` steps, on all devices together, whether the loss is still finite, and raises
    `Diverged` with the exact step where it is not.

    Args:
        check_every: Optimiser steps between two looks; each waits for the device once.
    """

    subject = "loss"

    def __init__(self, check_every: int = 50) -> None:
        self.check_every = check_every
        self._losses = StepBuffer()
        self._unchecked: list[Tensor] = []
        self._rates: list[Any] = []
        self._rate: Any = 0.0

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Note the learning rate that the coming step uses."""
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
        self._rate = optimizer.param_groups[0]["lr"]

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor, batch: Any
    ) -> None:
        """Keep the loss; every so often make sure that it is finite."""
        self._losses.append(step, loss)
        self._rates.append(self._rate)
        self._unchecked.append(loss)
        if step % self.check_every == 0 or step == trainer.max_steps:
            finite = torch.stack(self._unchecked).isfinite().cpu().numpy()
            self._unchecked.clear()
            self._check(trainer, step, finite)

    def _check(self, trainer: Trainer, step: int, finite: np.ndarray) -> None:
        """Raise `Diverged` where one of the losses up to this step was not finite: bool ``[steps]``."""
        if trainer.strategy.reduce_boolean_decision(not finite.all(), all=False):
            raise Diverged(first_not_finite(step, finite))

    def series(self) -> dict[str, Series]:
        """Columns ``loss`` and ``learning_rate``."""
        steps, rows = self._losses.rows()
        if not len(steps):
            return {}
        return {"loss": Series(steps, rows), "learning_rate": Series(steps, np.array(self._rates, dtype=np.float64))}

    def of_member(self, member: int) -> "TrainingCurve":
        """What was measured of one of K models trained as one: losses and rates are then vectors of K."""
        mine = copy.copy(self)
        mine._losses = self._losses.of_member(member)
        mine._rates = [rates[member] for rates in self._rates]
        return mine


def first_not_finite(step: int, finite: np.ndarray) -> int:
    """The first step whose loss was not finite, of those up to `step`; the first of all where all were finite here.

    Args:
        step: The last one, from 1.
        finite: Whether each loss was finite: bool ``[steps]``.
    """
    return step - len(finite) + 1 + int(finite.argmin())
