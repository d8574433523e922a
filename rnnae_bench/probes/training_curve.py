"""Loss and learning rate at every optimiser step, and the end of a trial whose loss is no longer a number."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from rnnae_bench.probes.base import Diverged, Probe, StepBuffer
from rnnae_bench.records.history import Series
from rnnae_bench.training.optimizer_steps import OptimizerSteps
from rnnae_bench.training.own_fit import FITTED


class TrainingCurve(OptimizerSteps, Probe):
    """The training loss of the batch just learned from, whole and by its named terms, and the first learning rate.

    Looks every `check_every` steps, on all devices together, whether the loss is still finite, and raises
    `Diverged` with the exact step where it is not. The losses of several devices are averaged then, and come into the
    column no sooner.

    Args:
        check_every: Optimiser steps between two checks; each waits for the device once.
    """

    subject = "loss"
    kept = ("_losses", "_unchecked", "_names", "_terms", "_unreduced", "_rates", "_rate")

    def __init__(self, check_every: int = 50) -> None:
        self.check_every = check_every
        self._losses = StepBuffer()
        self._unchecked: list[tuple[int, Tensor]] = []
        self._names: tuple[str, ...] = ()
        self._terms = StepBuffer()
        self._unreduced: list[tuple[int, Tensor]] = []
        self._rates: list[tuple[int, Any]] = []
        self._rate: Any = None

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Note the learning rate that the coming step uses."""
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
        if optimizer is trainer.optimizers[0]:
            self._rate = next((group["lr"] for group in optimizer.param_groups), None)
            if self._rate is None:
                self.absent["learning_rate"] = "the model has no optimiser"

    def on_fitted(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say why nothing was measured."""
        self.absent.update(loss=FITTED, learning_rate=FITTED)

    def on_loss_terms(
        self, trainer: Trainer, pl_module: LightningModule, step: int, terms: Mapping[str, Tensor]
    ) -> None:
        """Keep the terms of the loss."""
        with self.measuring("loss/"):
            self._names = self._names or tuple(terms)
            row = torch.stack([terms[name] for name in self._names], dim=-1)
            if trainer.world_size == 1:
                self._terms.append(step, row)
            else:
                self._unreduced.append((step, row))

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor | None, batch: Any
    ) -> None:
        """Keep the loss; every so often make sure that it is finite."""
        if self._rate is not None:
            self._rates.append((step, self._rate))
        if loss is None:
            self.absent["loss"] = "the model's training_step returned no loss, at one step at least"
        else:
            self._unchecked.append((step, loss))
            if trainer.world_size == 1:
                self._losses.append(step, loss)
        if step % self.check_every == 0 or step == trainer.max_steps:
            self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        """Look at the losses since the last time; those of several devices are averaged and kept."""
        if not self._unchecked:
            return
        steps = [step for step, _ in self._unchecked]
        losses = torch.stack([loss for _, loss in self._unchecked])
        self._unchecked.clear()
        if trainer.world_size > 1:
            losses = trainer.strategy.reduce(losses.double(), reduce_op="mean")
            for step, loss in zip(steps, losses, strict=True):
                self._losses.append(step, loss)
            self._reduce_terms(trainer)
        self._check(trainer, steps, losses.isfinite().cpu().numpy())

    def _reduce_terms(self, trainer: Trainer) -> None:
        if not self._unreduced:
            return
        steps, rows = zip(*self._unreduced, strict=True)
        self._unreduced.clear()
        for step, row in zip(steps, trainer.strategy.reduce(torch.stack(rows).double(), reduce_op="mean"), strict=True):
            self._terms.append(step, row)

    def _check(self, trainer: Trainer, steps: list[int], finite: np.ndarray) -> None:
        """Raise `Diverged` where one of the losses at these steps was not finite: bool ``[steps]``."""
        if not finite.all():
            raise Diverged(steps[int(finite.argmin())])

    def series(self) -> dict[str, Series]:
        """Columns ``loss``, ``loss/TERM`` where it has named terms, and ``learning_rate``."""
        columns = {}
        steps, rows = self._losses.rows()
        if len(steps):
            columns["loss"] = Series(steps, rows)
        steps, rows = self._terms.rows()
        for place, name in enumerate(self._names):
            columns[f"loss/{name}"] = Series(steps, rows[:, place])
        if self._rates:
            at, rates = zip(*self._rates, strict=True)
            columns["learning_rate"] = Series(np.array(at, dtype=np.int64), np.array(rates, dtype=np.float64))
        return columns

    def of_member(self, member: int) -> "TrainingCurve":
        """What was measured of one of K models trained as one: losses and rates are then vectors of K."""
        mine = copy.copy(self)
        mine._losses = self._losses.of_member(member)
        mine._terms = self._terms.of_member(member)
        mine._rates = [(step, rates[member]) for step, rates in self._rates]
        return mine
