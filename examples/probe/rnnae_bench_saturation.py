"""A probe for rnnae-bench: how much of a recurrent model's state is saturated while it trains."""

from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from rnnae_bench import Batch, OptimizerSteps, Probe, SequenceModel, Series, evaluating
from rnnae_bench.errors import UserError, require_positive


class Saturation(OptimizerSteps, Probe):
    """Share of the numbers in a model's states that lie near the ends of tanh, where its gradient vanishes.

    Columns ``saturation``, over all steps of a few fixed rows, and ``saturation/by_step``, one number for each step of
    the sequence; measures ``saturation``, as it was last, and ``saturation/stuck``, the share of units that are
    saturated at every step of every row.

    Args:
        above: From which absolute value on a number counts as saturated.
        samples: At how many optimiser steps to measure, about.
        rows: On how many rows.
    """

    subject = "saturation"
    kept = ("_steps", "_profiles", "_shares", "_stuck")

    def __init__(self, above: float = 0.9, samples: int = 20, rows: int = 32) -> None:
        if not 0 < above < 1:
            raise UserError(f"above is {above}; it must be between 0 and 1, the ends of tanh")
        require_positive(samples=samples, rows=rows)
        self.above, self.samples, self.rows = above, samples, rows
        self._batch: Batch | None = None
        self._steps: list[int] = []
        self._profiles: list[Tensor] = []
        self._shares: list[float] = []
        self._stuck: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the rows. An error here switches the probe off, with its message as the reason."""
        if not isinstance(pl_module, SequenceModel):
            raise UserError(f"{type(pl_module).__name__} has no states at every step of its inputs")
        rows = trainer.datamodule.held_out(self.rows)
        rows = trainer.precision_plugin.convert_input(rows)
        self._batch = trainer.strategy.batch_to_device(rows, pl_module.device)
        self._every = max(1, trainer.max_steps // self.samples)

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor | None, batch: Any
    ) -> None:
        """Measure at one step in so many, and at the last."""
        if step % self._every == 0 or step == trainer.max_steps:
            self._measure(trainer, pl_module, step)

    def on_fitted(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure once where the model has trained itself, which takes no optimiser steps."""
        self._measure(trainer, pl_module, 0)

    @torch.no_grad()
    def _measure(self, trainer: Trainer, model: SequenceModel, step: int) -> None:
        batch = self._batch
        # Modes, random numbers and buffers are afterwards what they were.
        with evaluating(model), trainer.precision_plugin.train_step_context():
            states = model.states(model.embedding(batch.inputs), batch.lengths)
        saturated = states.abs() > self.above
        time = torch.arange(states.shape[1], device=states.device)
        real = torch.ones_like(saturated[..., 0])
        if batch.lengths is not None:
            real = time < batch.lengths.to(time.device)[:, None]
        share = saturated.float().mean(-1) * real
        self._steps.append(step)
        self._profiles.append((share.sum(0) / real.sum(0)).cpu())
        self._shares.append(float(share.sum() / real.sum()))
        self._stuck = float((saturated | ~real[..., None]).all(0).all(0).float().mean())

    def series(self) -> dict[str, Series]:
        """Both columns."""
        if not self._steps:
            return {}
        steps = np.array(self._steps)
        profiles = torch.stack(self._profiles).numpy()
        return {
            "saturation": Series(steps, np.array(self._shares)),
            "saturation/by_step": Series(steps, profiles),
        }

    def measures(self) -> dict[str, Any]:
        """The last values; None where nothing was measured."""
        return {"saturation": self._shares[-1] if self._shares else None, "saturation/stuck": self._stuck}
