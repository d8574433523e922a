"""Checkpoints of a trial between two optimiser steps, and going on from one as if nothing had happened.

Lightning restores weights, optimisers, schedules, the loss scale and its loops; what it does not know of is kept here:
random states, what the probes have measured (by their `state_dict`), and what a model carries from batch to batch in
attributes. A checkpoint is taken as a batch (or block of batches) begins, when all that belongs to the last one is
done, an evaluation included.
"""

import signal
import time
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from rnnae_bench.errors import UserError
from rnnae_bench.training.optimizer_steps import OptimizerSteps
from rnnae_bench.trial.carried_state import carried, same
from rnnae_bench.trial.interruption import Interruption, Interruptions
from rnnae_bench.trial.random_state import random_state, require_torchs_generators, restore_random_state
from rnnae_bench.trial.resumption import Resumption

GRACE_SECONDS = 20.0
"""How long a signal that asks to stop waits for the place where a checkpoint can be taken. SLURM kills after 30."""

_OWN = "rnnae_bench"
"""Where in Lightning's checkpoint that lies which Lightning does not know of."""


class Checkpointing(OptimizerSteps):
    """Takes checkpoints while a trial runs, and puts back at its first batch what Lightning does not.

    It goes before all callbacks that measure.

    Args:
        resumption: Finds and writes them.
        interruptions: A signal waits for the next place where a checkpoint can be taken, up to `GRACE_SECONDS`.
    """

    def __init__(self, resumption: Resumption, interruptions: Interruptions) -> None:
        self._resumption, self._interruptions = resumption, interruptions
        self._found: dict[str, Any] | None = None
        self._last: float | None = None
        self.resumed: list[int] = []
        """The steps that the trial went on from, in order."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask signals to wait, and refuse what can't be gone on from."""
        for schedule in trainer.lr_scheduler_configs:
            if schedule.reduce_on_plateau and pl_module.automatic_optimization:
                raise UserError(
                    "--checkpoint-every can't keep a schedule that waits for a plateau, since the metric that it "
                    "follows is Lightning's; leave it out"
                )
        require_torchs_generators(pl_module)
        self._interruptions.wait()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Go on from the checkpoint that was found, or take one where it is time."""
        if self._found is not None:
            self._put_back(trainer, pl_module)
        elif batch_idx % trainer.accumulate_grad_batches == 0:
            is_over = _any(trainer, self._interruptions.held is not None)
            due = self._last is None or time.monotonic() - self._last >= self._resumption.every
            if is_over or _any(trainer, due):
                trainer.save_checkpoint(self._resumption.path, weights_only=False)
                self._last = time.monotonic()
            if is_over:
                self._interruptions.obey()
                raise Interruption(signal.SIGTERM)  # another process of this trial was asked to stop
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor | None, batch: Any
    ) -> None:
        """Let a signal that has waited for too long have its way."""
        self._wait_no_longer()

    def on_validation_batch_start(self, *_: Any) -> None:
        """Let a signal that has waited for too long have its way."""
        self._wait_no_longer()

    def on_test_batch_start(self, *_: Any) -> None:
        """Let a signal that has waited for too long have its way; else the trial is about to end by itself."""
        self._wait_no_longer()

    def _wait_no_longer(self) -> None:
        if (self._interruptions.held or 0.0) > GRACE_SECONDS:
            self._interruptions.obey()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Signals need not wait any more."""
        self._interruptions.patient = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Signals need not wait any more."""
        self._interruptions.patient = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of, and leave out the batch that has just begun."""
        for name in list(checkpoint):
            if "hyper_parameters" in name or "hparams" in name:
                # The options are the trial's, and may be objects of any class.
                del checkpoint[name]
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for count in (progress["total"], progress["current"]):
            count["ready"] = count["completed"]
        progress["is_last_batch"] = False
        checkpoint[_OWN] = {
            "step": trainer.global_step,
            "resumed": self.resumed,
            "random": _of_all_processes(trainer, random_state(pl_module)),
            "callbacks": _of_all_processes(trainer, checkpoint["callbacks"]),
            "steps_for_loggers": trainer.fit_loop.epoch_loop._batches_that_stepped,
            "buffers": dict(pl_module.named_buffers()),
            # Of weights that no optimiser clears, or of steps that a model makes of several batches.
            "gradients": {
                name: weight.grad for name, weight in pl_module.named_parameters() if weight.grad is not None
            },
            "attributes": {name: value for *_, name, value in carried(pl_module)},
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep it until the first batch."""
        self._found = checkpoint[_OWN]
        checkpoint["callbacks"] = self._found["callbacks"][trainer.global_rank]
        self.resumed = [*self._found["resumed"], self._found["step"]]

    @torch.no_grad()
    def _put_back(self, trainer: Trainer, module: LightningModule) -> None:
        """Make all as it was when the checkpoint was taken, at this very place."""
        found, self._found = self._found, None
        assert found is not None
        trainer.fit_loop.epoch_loop._batches_that_stepped = found["steps_for_loggers"]
        for name, buffer in module.named_buffers():
            buffer.copy_(found["buffers"][name])
        for name, weight in module.named_parameters():
            if name in found["gradients"]:
                weight.grad = found["gradients"][name]
        for part, key, name, now in carried(module):
            before = found["attributes"].get(name, now)
            if not same(now, before):
                setattr(part, key, before)
        restore_random_state(module, found["random"][trainer.global_rank])
        self._resumption.kept = found["step"]
        self._last = time.monotonic()


def _any(trainer: Trainer, here: bool) -> bool:
    """Whether it is so in any process of a trial on several devices."""
    return here if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(here, all=False)


def _of_all_processes(trainer: Trainer, state: dict[str, Any]) -> list[Any]:
    states: list[Any] = [state]
    if trainer.world_size > 1:
        states = [None] * trainer.world_size
        torch.distributed.all_gather_object(states, state)
    return states
