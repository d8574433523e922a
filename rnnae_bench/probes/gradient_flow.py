"""The gradient through sequence time: how much of the loss' gradient reaches the state (or input) of every step."""

import copy
import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import groupby
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning import LightningModule, Trainer
from torch import Tensor, nn

from rnnae_bench.probes.base import OptimizerSteps, Probe, loss_scale
from rnnae_bench.probes.last_step import Reading, lag_origin, last_step_loss
from rnnae_bench.probes.watch import Flow, Origins, Watch
from rnnae_bench.results.history import Series
from rnnae_bench.results.profile import measures
from rnnae_bench.task import Batch, Task

QUANTILES = (0.1, 0.9)
"""Over the batch."""


def sampled_steps(max_steps: int, profiles: int) -> set[int]:
    """Optimiser steps (from 1) to measure at: the first and the last, a third of them denser towards the start.

    >>> sorted(sampled_steps(1000, 9))
    [1, 10, 100, 167, 333, 500, 667, 833, 1000]
    """
    dense = profiles // 3
    even = profiles - dense
    steps = {round(max_steps * place / even) for place in range(1, even + 1)}
    steps |= {round(max_steps ** (place / max(1, dense))) for place in range(dense)}
    return {step for step in steps if 1 <= step <= max_steps} | {1}


def by_lag(
    log_norm: Float[Tensor, "*flows time batch"], origin: Int[Tensor, "*flows batch"], lags: int
) -> Float[Tensor, "*flows batch lags"]:
    """Re-index from steps to lags back from each sequence's origin; NaN before the first step."""
    place = origin.unsqueeze(-1) - torch.arange(lags, device=log_norm.device)
    found = log_norm.mT.gather(-1, place.clamp(0, log_norm.shape[-2] - 1))
    return found.masked_fill(place < 0, torch.nan)


def over_batch(log_norm: Float[Tensor, "*flows batch lags"]) -> Float[Tensor, "three *flows lags"]:
    """Mean and quantiles over the batch of log10 g, where g is neither missing nor exactly zero; NaN where none is."""
    decades = (log_norm / math.log(10)).masked_fill(~log_norm.isfinite(), torch.nan)
    quantiles = torch.tensor(QUANTILES, dtype=decades.dtype, device=decades.device)
    return torch.cat((decades.nanmean(dim=-2).unsqueeze(0), decades.nanquantile(quantiles, dim=-2)))


class GradientFlow(OptimizerSteps, Probe):
    """Profiles of g_t = ||dL/dh_t||_2 over the lag back from the last scored step, at some optimiser steps of a trial.

    h_t is the state of a recurrence (this suite's or ``torch.nn``'s), layer by layer and direction by direction, and
    for an LSTM the cell c_t too; the gradient is the total one, by all ways from h_t to the loss. Over the batch the
    norms are averaged as logarithms (geometric mean, 10 % and 90 % quantiles): an arithmetic mean would hide
    vanishing. Steps of padding don't count, nor sequences whose gradient is exactly zero. A lag counts steps in the
    order in which the direction reads. There are two readings:

    - ``training_loss``: of the loss that the optimiser step minimises, on its own batch, as backpropagated there;
    - ``last_step``: of the loss of the last scored step alone (`last_step_loss`), on a fixed batch that training does
      not reach, without dropout.

    Columns ``gradient_flow/READING/LAYER/STATE`` hold log10 g by lag, ``.../q10`` and ``.../q90`` the quantiles. A
    model without a known recurrence has ``input_saliency/READING/inputs/x`` instead, the norms of dL/dx_t, where its
    inputs are real numbers. Measures: those of `rnnae_bench.results.profile.measures`.

    Nothing underflows: where single precision could, the backward pass is repeated on a logarithmic scale.

    Args:
        task: The task trained on.
        profiles: How many profiles to take, about; a trial too short for it takes one every 80 steps, and 12 at least.
        rows: Sequences of the fixed batch.
    """

    subject = "gradient_flow"

    def __init__(self, task: Task, profiles: int = 100, rows: int = 32) -> None:
        self.task = task
        steps = task.protocol.max_steps
        self.steps = sampled_steps(steps, min(profiles, max(12, steps // 80)))
        self._rows = rows
        self._fixed: Batch | None = None
        self._watch: Watch | None = None
        self._log_scale = 0.0
        self._found: dict[str, tuple[list[int], list[Tensor]]] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the fixed batch: the first rows of the one after the last that is trained on."""
        fixed = self._first_rows(self.task.train_batch(self.task.protocol.max_steps), self._rows)
        converted = trainer.precision_plugin.convert_input(fixed)
        self._fixed = trainer.strategy.batch_to_device(converted, pl_module.device)

    def on_optimizer_step_start(self, trainer: Trainer, pl_module: LightningModule, step: int, batch: Any) -> None:
        """Read the last step's loss, and watch the training's own forward and backward pass."""
        if step in self.steps and trainer.is_global_zero:
            if "gradient_flow/last_step" not in self.absent:
                with self.measuring("gradient_flow/last_step"):
                    self._read_last_step(trainer, pl_module, step)
            self._watch = Watch(pl_module)
            self._log_scale = math.log(loss_scale(trainer))

    def _read_last_step(self, trainer: Trainer, module: LightningModule, step: int) -> None:
        assert self._fixed is not None
        batch = self._fixed
        watch = Watch(module)
        with closing(watch), _evaluating(module), trainer.precision_plugin.train_step_context():
            watch.differentiate(self._last_step_loss(module(batch.inputs, batch.lengths), batch))
        self._keep(step, "last_step", watch.flows(batch.lengths, self._origins("last_step")))

    def _first_rows(self, batch: Batch, rows: int) -> Batch:
        return batch.rows(slice(0, rows))

    def _last_step_loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        return last_step_loss(self.task, prediction, batch)

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor, batch: Any
    ) -> None:
        """Read what the backward pass left."""
        watch, self._watch = self._watch, None
        if watch is not None:
            lengths = getattr(batch, "lengths", None)
            flows = watch.flows(lengths, self._origins("training_loss"))
            self._keep(step, "training_loss", flows, self._log_scale)

    def _origins(self, reading: Reading) -> Origins:
        return lambda lengths, backward: lag_origin(self.task.spec, lengths, backward, reading)

    def _keep(self, step: int, reading: str, flows: list[Flow], log_scale: float = 0.0) -> None:
        # Layers and states of the same shape at once.
        for _, same in groupby(flows, key=lambda flow: flow.log_norm.shape):
            alike = list(same)
            log_norm = torch.stack([flow.log_norm for flow in alike]) - log_scale
            origin = torch.stack([flow.origin for flow in alike])
            lagged = by_lag(log_norm, origin, self.task.spec.sequence.length)
            for flow, profile in zip(alike, over_batch(lagged).unbind(1), strict=True):
                name = f"{flow.probe}/{reading}/{flow.layer}/{flow.state}"
                steps, profiles = self._found.setdefault(name, ([], []))
                steps.append(step)
                profiles.append(profile)

    def series(self) -> dict[str, Series]:
        """The profiles, by column."""
        columns = {}
        for name, (steps, profiles) in self._found.items():
            rows = torch.stack(profiles).to("cpu", torch.float32).numpy()
            known = np.flatnonzero(np.isfinite(rows).any(axis=(0, 1)))
            width = int(known[-1]) + 1 if len(known) else 1
            for place, quantile in enumerate(("", "/q10", "/q90")):
                columns[name + quantile] = Series(np.array(steps, dtype=np.int64), rows[:, place, :width].copy())
        return columns

    def of_member(self, member: int) -> "GradientFlow":
        """What was measured of one of K models trained as one: profiles are then ``[three K lags]``."""
        mine = copy.copy(self)
        mine._found = {
            name: (list(steps), [profile[:, member] for profile in profiles])
            for name, (steps, profiles) in self._found.items()
        }
        return mine

    def measures(self) -> dict[str, Any]:
        """What sums the profiles up."""
        return dict(measures(self.series()))


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Without dropout, and without a trace in the random numbers."""
    training = [one for one in module.modules() if one.training]
    devices = {weight.device for weight in module.parameters() if weight.is_cuda}
    with torch.random.fork_rng(devices=sorted(devices, key=str)):
        for one in training:
            one.training = False
        try:
            yield
        finally:
            for one in training:
                one.training = True
