"""A short training on the trial's own path, and what is seen of it."""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from rnnae_bench.contracts.task import Task
from rnnae_bench.probes.watched import watched_states
from rnnae_bench.testing.candidates import ModelCandidate
from rnnae_bench.training.own_fit import fit
from rnnae_bench.trial.layout import make_trainer

STEPS = 3
"""Optimiser steps of a short training."""

FIT_STEPS = 8
"""Training batches of a short training of a model that trains itself."""


@dataclass
class Training:
    """What a short training left.

    Args:
        model: As it came out.
    """

    model: LightningModule
    losses: list[float] = field(default_factory=list)
    """As training steps returned them; empty where they returned none."""
    gradients: dict[str, float] = field(default_factory=dict)
    """The largest component of each weight's gradient, over all steps; a weight that had none is not there."""
    held: set[str] = field(default_factory=set)
    """The weights that an optimiser holds."""
    moved: set[str] = field(default_factory=set)
    """The weights that changed."""
    shown: dict[str, str] = field(default_factory=dict)
    """The states that the model showed meanwhile: by name, how."""
    monitors: bool = False
    """Whether a schedule goes by what is measured in evaluations."""

    @property
    def weights(self) -> dict[str, Tensor]:
        """The state dict."""
        return self.model.state_dict()


def trained(
    candidate: ModelCandidate,
    seed: int = 0,
    precision: str = "32-true",
    prepare: Callable[[Task], None] = lambda task: None,
    between: Callable[[LightningModule], None] | None = None,
) -> Training:
    """Train a fresh model for `STEPS` optimiser steps on the CPU, or have it train itself.

    Args:
        candidate: The model and the task.
        seed: Of the weights and all else that is random in the model.
        precision: Lightning's name of it.
        prepare: Is given the task before.
        between: Is given the model between optimiser steps.
    """
    with _short(candidate) as task:
        prepare(task)
        model = candidate.build(seed)
        found = Training(model)
        before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        if candidate.fits_itself:
            fit(model, task)
        else:
            with tempfile.TemporaryDirectory() as folder, watched_states(model) as states:
                asked = {**candidate.options["trainer"], "accelerator": "cpu", "devices": 1, "precision": precision}
                callbacks = [_Notes(found), *([_Between(between)] if between else [])]
                trainer = make_trainer(asked, {}, task, None, callbacks, [], Path(folder), limit_val_batches=0)
                trainer.fit(model, datamodule=task)
            found.shown = {name: one.call for name, one in states.found.items()}
            model.trainer = None
        found.moved = {
            name for name, weight in model.named_parameters() if name not in before or _differ(before[name], weight)
        }
        return found


def training_of(candidate: ModelCandidate) -> Training:
    """A short training under seed 0, done once for all checks; they leave its model as it is."""
    if "training" not in candidate.kept:
        candidate.kept["training"] = trained(candidate)
    found: Training = candidate.kept["training"]
    return found


@contextmanager
def _short(candidate: ModelCandidate) -> Iterator[Task]:
    """The task with a budget of a few steps; a model that trains itself has some more."""
    task = candidate.make_task()
    protocol = task.protocol
    steps = min(FIT_STEPS, protocol.max_steps) if candidate.fits_itself else STEPS
    task.protocol = replace(protocol, max_steps=steps, evaluate_every=steps)
    try:
        yield task
    finally:
        task.protocol, task.trainer = protocol, None


def _differ(one: Tensor, two: Tensor) -> bool:
    return one.shape != two.shape or not torch.equal(one, two.detach())


class _Notes(Callback):
    """Notes losses, gradients and optimisers."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note which weights the optimisers hold."""
        names = {id(weight): name for name, weight in pl_module.named_parameters()}
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                self._training.held.update(names[id(weight)] for weight in group["params"] if id(weight) in names)
        self._training.monitors = any(config.reduce_on_plateau for config in trainer.lr_scheduler_configs)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Note the gradients."""
        for name, weight in pl_module.named_parameters():
            if weight.grad is not None:
                gradient = weight.grad.coalesce().values() if weight.grad.is_sparse else weight.grad
                largest = float(gradient.abs().max()) if gradient.numel() else 0.0
                before = self._training.gradients.get(name, 0.0)
                self._training.gradients[name] = largest if math.isnan(largest) else max(before, largest)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):
            self._training.losses.append(float(loss))


class _Between(Callback):
    """Does something with the model after every optimiser step."""

    def __init__(self, act: Callable[[LightningModule], None]) -> None:
        self._act = act

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Do it."""
        self._act(pl_module)
