"""Callbacks that are told of optimiser steps, however many steps or batches go into one of Lightning's batches."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor


class OptimizerSteps(Callback):
    """A callback that is told of every step, however many steps or batches go into one Lightning batch.

    A model that trains in blocks tells it by itself (`rnnae_bench.BenchModule`); for all others it is found out here
    from Lightning's own hooks, to the same calls. Where several batches make one optimiser step, the first of them
    starts it, and the last goes with its end; the loss and its terms are their means. Under manual optimisation a step
    is a batch, however many optimiser steps the model makes of it (`CountBatches`).
    """

    _step_begun = 0
    _stepping = False
    _step_losses: tuple[Tensor, ...] = ()
    _step_terms: tuple[Mapping[str, Tensor], ...] = ()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Pass the beginning of a step on."""
        step = trainer.global_step + 1
        if not in_blocks(pl_module) and step != self._step_begun:
            self._step_begun = step
            self._step_losses = ()
            self._step_terms = ()
            self.on_optimizer_step_start(trainer, pl_module, step, batch)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Remember that this batch ends in an optimiser step."""
        self._stepping = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Pass a finished step on."""
        if in_blocks(pl_module):
            return
        loss = _loss_of(outputs)
        if loss is not None:
            # Lightning gives each batch's share of the step's loss.
            self._step_losses = (*self._step_losses, loss * trainer.accumulate_grad_batches)
        if isinstance(outputs, Mapping) and outputs.get("loss_terms"):
            self._step_terms = (*self._step_terms, outputs["loss_terms"])
        if self._stepping or not pl_module.automatic_optimization:
            self._stepping = False
            if self._step_terms:
                means = {
                    name: torch.stack([terms[name] for terms in self._step_terms]).mean(dim=0)
                    for name in self._step_terms[0]
                }
                self.on_loss_terms(trainer, pl_module, trainer.global_step, means)
            losses = self._step_losses
            mean = torch.stack(losses).mean(dim=0) if len(losses) > 1 else next(iter(losses), None)
            self.on_optimizer_step(trainer, pl_module, trainer.global_step, mean, batch)

    def on_fitted(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The model has trained itself by its ``fit``: there are no optimiser steps."""

    def on_optimizer_step_start(self, trainer: Trainer, pl_module: LightningModule, step: int, batch: Any) -> None:
        """Optimiser step `step` (from 1) begins: the forward pass on `batch` comes next."""

    def on_loss_terms(
        self, trainer: Trainer, pl_module: LightningModule, step: int, terms: Mapping[str, Tensor]
    ) -> None:
        """Optimiser step `step` is done, and its loss had named terms: what they were, as this process has them.

        They are what ``training_step`` returned as ``loss_terms`` beside the ``loss``.
        """

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor | None, batch: Any
    ) -> None:
        """Optimiser step `step` (from 1) is done; the gradients still stand, clipped.

        `loss` is that of the whole step as this process has it, and `batch` the last that went into it; None where the
        model's ``training_step`` gave no loss.
        """


class CountBatches(Callback):
    """Has Lightning count batches for a model that does its own optimiser steps: a budget means the same to all.

    Lightning counts every step of every optimiser there, and would give a model with two optimisers half the batches.
    It goes before all callbacks that are told of steps.
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch."""
        if not pl_module.automatic_optimization and not in_blocks(pl_module):
            loop = trainer.fit_loop.epoch_loop
            loop.manual_optimization.optim_step_progress.total.completed = loop.total_batch_idx + 1


def _loss_of(outputs: Any) -> Tensor | None:
    """The loss that a ``training_step`` returned, detached, a number; None where it returned none."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    if not isinstance(loss, Tensor):
        return None
    return loss.detach().reshape(()) if loss.numel() == 1 else loss.detach()


def in_blocks(module: LightningModule) -> bool:
    """Whether a model is handed several batches a call, and does their optimiser steps itself."""
    return getattr(module, "in_blocks", False)


def loss_scale(trainer: Trainer) -> float:
    """What half precision multiplies the loss with; 1 where nothing does."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return 1.0 if scaler is None else float(scaler.get_scale())
