"""How much of the gradient is lost to the smallest numbers of the format it is computed in."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Inexact
from lightning import LightningModule, Trainer
from torch import Tensor

from rnnae_bench.probes.base import Probe, StepBuffer
from rnnae_bench.records.history import Series
from rnnae_bench.training.clipping import entries
from rnnae_bench.training.optimizer_steps import OptimizerSteps, loss_scale
from rnnae_bench.training.own_fit import FITTED

FORMATS = {
    "64-true": torch.float64,
    "32-true": torch.float32,
    "16-true": torch.float16,
    "16-mixed": torch.float16,
    "bf16-true": torch.bfloat16,
    "bf16-mixed": torch.bfloat16,
}
"""The format that gradients are computed in, by Lightning's name of the precision."""


@torch.no_grad()
def underflow(
    gradients: Sequence[Inexact[Tensor, "..."]], format: torch.dtype, scale: float = 1.0, members: int | None = None
) -> Float[Tensor, "*members"]:
    """The fraction of the components that are zero, or below the smallest normal number of a format.

    Args:
        gradients: The gradient of each weight, not scaled.
        format: The floating-point format that they were computed in.
        scale: What the loss was multiplied with meanwhile.
        members: Where K models are trained as one, their number: every gradient then has a leading axis K.

    Returns:
        The fraction; one for each member where there are members.
    """
    smallest = torch.finfo(format).smallest_normal
    shape = (1 if members is None else members, -1)
    lost, total = torch.zeros(shape[0], dtype=torch.float64, device=gradients[0].device), 0
    for whole in gradients:
        gradient = entries(whole)
        # Half precision itself has no room for the scaled values.
        each = gradient.to(torch.promote_types(gradient.dtype, torch.float32)).abs().mul(scale).reshape(shape)
        # What a sparse gradient does not hold is zero.
        absent = whole.numel() - gradient.numel() if whole.is_sparse else 0
        lost += (each < smallest).sum(dim=1) + absent
        total += each.shape[1] + absent
    return (lost / total).squeeze(0) if members is None else lost / total


class Underflow(OptimizerSteps, Probe):
    """The fraction of the weights' gradient that underflows, at some optimiser steps of a trial.

    Counted are the components that are exactly zero or below the smallest normal number of the format that gradients
    are computed in, as backpropagation left them: before clipping, and under float16 with the loss scale. Some are zero
    in every format (the embedding of a symbol that the batch does not have, a unit that is switched off), so a number
    alone says nothing: read it against that of the same trial in 32-true or 64-true.

    Column ``gradient_underflow``; the measure of the same name is its mean.

    Args:
        samples: At how many steps to measure, about.
        members: As for `underflow`.
    """

    subject = "gradient_underflow"
    kept = ("_buffer",)

    def __init__(self, samples: int = 20, members: int | None = None) -> None:
        self._samples, self._members = samples, members
        self._buffer = StepBuffer()
        self._weights: list[Tensor] = []
        self._format: torch.dtype | None = None
        self._every = 1
        self._due = False
        self._row: Tensor | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the weights, the format and the distance between two samples."""
        self._weights = [weight for weight in pl_module.parameters() if weight.requires_grad]
        self._format = FORMATS.get(str(trainer.precision))
        self._every = max(1, trainer.max_steps // self._samples)

    def on_fitted(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say why nothing was measured."""
        self.absent[self.subject] = FITTED

    def on_optimizer_step_start(self, trainer: Trainer, pl_module: LightningModule, step: int, batch: Any) -> None:
        """See whether this step is one of the sample."""
        self._due = self._format is not None and (step - 1) % self._every == 0

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Measure what backpropagation left; clipping comes after this hook."""
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
        if not self._due:
            return
        assert self._format is not None
        gradients = [weight.grad for weight in self._weights if weight.grad is not None]
        if gradients:
            self._row = underflow(gradients, self._format, loss_scale(trainer), self._members)

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor | None, batch: Any
    ) -> None:
        """Keep what was measured."""
        if self._row is not None:
            self._buffer.append(step, self._row)
            self._row = None

    def of_member(self, member: int) -> "Underflow":
        """What was measured of one of K models trained as one."""
        mine = copy.copy(self)
        mine._buffer = self._buffer.of_member(member)
        return mine

    def series(self) -> dict[str, Series]:
        """The fraction at the sampled steps."""
        steps, rows = self._buffer.rows()
        return {"gradient_underflow": Series(steps, rows.reshape(len(steps)))} if len(steps) else {}

    def measures(self) -> dict[str, Any]:
        """The mean over the sampled steps; None where none was sampled, or the format is not known."""
        columns = self.series()
        mean = float(np.mean(columns["gradient_underflow"].values)) if columns else None
        return {"gradient_underflow": mean}
