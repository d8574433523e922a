"""The loop over the optimiser steps of a block: many of them in one call of Lightning's `training_step`."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback, LightningModule
from lightning.pytorch.plugins import Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from rnnae_bench.training.clipping import Clipping, Norms
from rnnae_bench.training.loss_terms import Loss, Minimised, SameTerms, is_scalar, minimised

WHOLE_STRATEGIES = (SingleDeviceStrategy, DDPStrategy)
"""Strategies under which every process holds all weights and all gradients; not their subclasses."""

PER_BATCH_HOOKS = (
    "training_step",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_train_epoch_start",
    "on_train_epoch_end",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
    "configure_optimizers",
    "on_before_zero_grad",
    "optimizer_zero_grad",
    "on_before_optimizer_step",
    "optimizer_step",
    "lr_scheduler_step",
)
"""What Lightning calls by batches or by epochs; a model with one of these of its own is given one batch a call."""

_OPTIMIZATION = ("pre_backward", "backward", "post_backward", "optimizer_step")
_BACKWARD_HOOKS = ("on_before_backward", "on_after_backward")


def _inherits(instance: object, base: type, name: str) -> bool:
    """Whether a method of an instance is the one of its base class."""
    return getattr(getattr(instance, name), "__func__", None) is getattr(base, name)


class BlockLoop(LightningModule):
    """A LightningModule that can do the optimiser steps of many batches in one call of its `training_step`.

    Two ways lead through the training, to the same weights. Lightning's own: `training_step` is called for each batch
    and Lightning does the optimiser step. Or in blocks, where a trial asks for it: `training_step` is called with a
    list of batches and does an optimiser step for each, so that what a call costs in Lightning is paid once a block.
    On both, callbacks that have these methods are told of every optimiser step, counted from 1:

    - ``on_optimizer_step_start(trainer, module, step, batch)``: the forward pass comes next;
    - ``on_optimizer_step(trainer, module, step, loss, batch)``: it is done; the gradients still stand, as they were
      clipped. `loss` is detached;
    - ``on_loss_terms(trainer, module, step, terms)``: just before that, where the loss has named terms; detached.

    (Lightning's way has them from `rnnae_bench.training.optimizer_steps.OptimizerSteps`.)

    Args:
        clipping: Of the gradient before every optimiser step, unless the trainer was told otherwise.
    """

    def __init__(self, clipping: Clipping) -> None:
        super().__init__()
        self.in_blocks = False
        self._clipping = clipping
        self._same_terms = SameTerms()

    @abstractmethod
    def training_loss(self, batch: Any) -> Loss:
        """What is minimised: a number, or named terms whose sum is."""

    @property
    def loss_source(self) -> str:
        """The class and the method that give the loss, for messages."""
        return f"{type(self).__name__}.training_loss"

    loss_shape: tuple[int, ...] = ()
    """Of the loss and its terms."""

    def _minimised(self, batch: Any) -> Minimised:
        loss = self.training_loss(batch)
        if self._same_terms.none and is_scalar(loss, self.loss_shape):
            # As at nearly every step of nearly every trial; who gave it need not be found out.
            return Minimised(loss, {})
        source = self.loss_source
        found = minimised(loss, source, self.loss_shape)
        self._same_terms.require(found.terms, source)
        return found

    def train_in_blocks(self) -> None:
        """Take a list of batches a call from now on, and do the optimiser steps here."""
        self.in_blocks = True
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """The training loss of a batch, for Lightning to go on with; or all optimiser steps of a block of batches.

        Returns:
            The loss; where it has named terms, a dict of the ``loss`` and of these as ``loss_terms``.
        """
        if not self.in_blocks:
            loss, terms = self._minimised(batch)
            return {"loss": loss, "loss_terms": terms} if terms else loss
        self._train_block(batch)
        return None

    def _train_block(self, block: list[Any]) -> None:
        trainer: Any = self.trainer
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        start, named, done = (
            [getattr(each, hook) for each in trainer.callbacks if hasattr(each, hook)]
            for hook in ("on_optimizer_step_start", "on_loss_terms", "on_optimizer_step")
        )
        backward, optimizer_step = self._optimization()
        # Several processes must stop at the same step; Lightning sees to it between blocks.
        may_stop = trainer.world_size == 1
        step = trainer.global_step
        # Lightning's precision plugin has the whole block autocast, and it is meant for the forward pass alone.
        with torch.autocast(self.device.type, enabled=False):
            for batch in block:
                if may_stop and trainer.received_sigterm:
                    raise SIGTERMException
                step += 1
                for tell in start:
                    tell(trainer, self, step, batch)
                with trainer.precision_plugin.train_step_context():
                    loss, terms = self._minimised(batch)
                optimizer.zero_grad()
                backward(loss)
                optimizer_step()
                schedule.step()
                if terms:
                    for tell in named:
                        tell(trainer, self, step, terms)
                loss = loss.detach()
                for tell in done:
                    tell(trainer, self, step, loss, batch)

    def _optimization(self) -> tuple[Callable[[Tensor], Any], Callable[[], Any]]:
        """How to backpropagate, and how to do the optimiser step: Lightning's ways, or short cuts to the same.

        Lightning calls three hooks of every callback through its profiler, 0.2 ms a step. On one device, without
        gradient scaling or a profiler, it is enough to call those that are somebody's own.
        """
        trainer: Any = self.trainer
        optimizer: Any = self.optimizers()
        precision = trainer.precision_plugin
        adds_nothing = (
            type(trainer.strategy) is SingleDeviceStrategy
            and type(trainer.profiler) is PassThroughProfiler
            and all(_inherits(precision, Precision, name) for name in _OPTIMIZATION)
            and all(_inherits(self, LightningModule, name) for name in ("backward", *_BACKWARD_HOOKS))
            and all(_inherits(each, Callback, name) for each in trainer.callbacks for name in _BACKWARD_HOOKS)
        )
        if not adds_nothing:
            return self.manual_backward, optimizer.step
        wrapped = optimizer.optimizer
        hooks = [
            each.on_before_optimizer_step
            for each in trainer.callbacks
            if not _inherits(each, Callback, "on_before_optimizer_step")
        ]

        def step() -> None:
            # These two keep Lightning's count of the steps.
            optimizer._on_before_step()
            for hook in hooks:
                hook(trainer, self, wrapped)
            self.on_before_optimizer_step(wrapped)
            wrapped.step()
            optimizer._on_after_step()

        return Tensor.backward, step

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """In blocks, clip here, as Lightning itself does after this hook: unscaled, and seen by the callbacks."""
        if self.in_blocks:
            self.configure_gradient_clipping(optimizer, None, None)

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as the model's options say and keep the norms, unless the trainer was told otherwise."""
        if gradient_clip_val is not None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif self.measures_gradient_norms:
            self._clipping(optimizer)
        else:
            self.clip_gradients(optimizer, self._clipping.largest or None, self._clipping.by)

    @property
    def measures_gradient_norms(self) -> bool:
        """Whether every clipping leaves its norms in `gradient_norms`."""
        trainer: Any = self.trainer
        own = type(self).configure_gradient_clipping is BlockLoop.configure_gradient_clipping
        return own and trainer.gradient_clip_val is None and type(trainer.strategy) in WHOLE_STRATEGIES

    @property
    def gradient_norms(self) -> Norms:
        """What the last clipping found and left, weights in the order of the optimiser."""
        assert self._clipping.norms is not None
        return self._clipping.norms
