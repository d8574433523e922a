"""The gradient through sequence time: how much of the loss' gradient reaches the state (or input) of every step."""

import copy
import math
from contextlib import closing, nullcontext
from itertools import groupby
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning import LightningModule, Trainer
from torch import Tensor

from rnnae_bench.contracts.batch import training_prediction
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.contracts.task import Batch, Task
from rnnae_bench.errors import UserError
from rnnae_bench.probes.base import Probe
from rnnae_bench.probes.evaluating import evaluating
from rnnae_bench.probes.flows import Watch
from rnnae_bench.probes.last_step import Reading, lag_origin, last_step_loss
from rnnae_bench.probes.misplaced import misplaced
from rnnae_bench.probes.pieces import extent
from rnnae_bench.probes.watched import by_step
from rnnae_bench.records.history import Series
from rnnae_bench.records.profile import measures
from rnnae_bench.training.optimizer_steps import OptimizerSteps, loss_scale
from rnnae_bench.training.own_fit import FITTED

QUANTILES = (0.1, 0.9)
"""Over the batch."""

COLUMNS = ("", "/q10", "/q90", "/rows", "/alive", "/dead", "/nonfinite")
"""What is kept of a profile, as endings of the column's name: the middle of log10 g over the batch and its quantiles;
how many sequences have the lag; the shares of these whose gradient there is alive (finite, not zero), zero, not finite.
"""


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
    """Re-index from steps to lags back from each sequence's origin.

    NaN before the first step; where there is a step, -inf for a gradient of zero, and inf for one that is not finite.
    """
    place = origin.unsqueeze(-1) - torch.arange(lags, device=log_norm.device)
    found = log_norm.mT.gather(-1, place.clamp(0, log_norm.shape[-2] - 1))
    return found.masked_fill(found.isnan(), torch.inf).masked_fill(place < 0, torch.nan)


def over_batch(log_norm: Float[Tensor, "*flows batch lags"]) -> Float[Tensor, "columns *flows lags"]:
    """What `COLUMNS` keep of a batch of profiles, in their order.

    A sequence is compared with itself: the middle is the mean over the batch of log10 g at lag 0, plus at each lag the
    mean of log10 (g / g at lag 0) over the sequences that are alive at both. So sequences that end before a lag, or
    whose gradient is zero there, don't bend it, and where every profile is flat the middle is flat. The quantiles are
    of the same sequences, moved by what their mean at lag 0 differs from that of all. (Where no sequence is alive at
    lag 0, the first lag where one is stands for it.)

    Args:
        log_norm: As `by_lag` gives it, natural logarithms.
    """
    decades = log_norm / math.log(10)
    has, alive = ~log_norm.isnan(), log_norm.isfinite()
    rows = has.sum(dim=-2)
    shares = [(those.sum(dim=-2) / rows) for those in (alive, log_norm == -torch.inf, log_norm == torch.inf)]
    decades = decades.masked_fill(~alive, torch.nan)
    start = alive.any(dim=-2).int().argmax(dim=-1)
    first = decades.gather(-1, start.unsqueeze(-1).unsqueeze(-1).expand(*decades.shape[:-1], 1))
    level = first.nanmean(dim=-2)
    grown = decades - first
    mine = first.expand(grown.shape).masked_fill(grown.isnan(), torch.nan)
    quantiles = torch.tensor(QUANTILES, dtype=decades.dtype, device=decades.device)
    spread = decades.masked_fill(grown.isnan(), torch.nan).nanquantile(quantiles, dim=-2)
    middle = level + grown.nanmean(dim=-2)
    columns = (middle, *(spread + (level - mine.nanmean(dim=-2))), rows.to(middle.dtype), *shares)
    return torch.stack([column.to(middle.dtype) for column in columns])


UNSEEN = "it is called in training, and not in the forward pass that is profiled"


class GradientFlow(OptimizerSteps, Probe):
    """Profiles of g_t = ||dL/dh_t||_2 over the lag back from the last scored step, at some optimiser steps of a trial.

    h_t is the state of a recurrence (this suite's, ``torch.nn``'s, or a loop of the model's own), layer by layer and
    direction by direction, and for an LSTM the cell c_t too; the gradient is the total one, by all ways from h_t to the
    loss. Over the batch the norms are averaged as logarithms (geometric mean, 10 % and 90 % quantiles; see
    `over_batch`): an arithmetic mean would hide vanishing. Steps of padding don't count. Sequences whose gradient is
    zero or not finite have no logarithm, and are counted instead. A lag counts steps in the order in which the
    direction reads. There are two readings:

    - ``training_loss``: of the loss that the optimiser step minimises, on its own batch, as backpropagated there;
    - ``last_step``: of the loss of the last scored step alone (`last_step_loss`), on the fixed rows of `Task.held_out`,
      without dropout.

    Columns ``gradient_flow/READING/LAYER/STATE`` hold log10 g by lag, and those with the endings of `COLUMNS` what
    belongs to it. A loop of the model's own is read where it shows its states (`BenchModule.watch`), or where the model
    gives its `step`. Every model has ``input_saliency/READING/inputs/x`` beside them, the norms of dL/dx_t: of symbols
    as they are embedded, of an image row by row. A recurrence that is called several times in a forward pass is read as
    one, where each call begins with the state that the last one left. Where rows or steps are not known to be the
    task's, the reading is `absent`, with the reason. Measures: those of `rnnae_bench.records.profile.measures`.

    Nothing under- or overflows in a known recurrence: where single precision could, its backward pass is repeated on a
    logarithmic scale. All other gradients are as the precision of the training leaves them.

    Args:
        task: The task trained on.
        profiles: How many profiles to take, about; a trial too short for it takes one every 80 steps, and 12 at least.
        rows: Sequences of the fixed batch.
    """

    subject = "gradient_flow"
    kept = ("_found", "_misplaced", "_profiled")

    def __init__(self, task: Task, profiles: int = 100, rows: int = 32) -> None:
        self.task = task
        steps = task.protocol.max_steps
        self.steps = sampled_steps(steps, min(profiles, max(12, steps // 80)))
        self._rows = rows
        self._fixed: Batch | None = None
        self._misplaced: dict[str, str] | None = None
        self._profiled: dict[str, str] = {}
        self._watch: Watch | None = None
        self._log_scale = 0.0
        self._found: dict[str, tuple[list[int], list[Tensor]]] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the fixed batch."""
        with self.measuring("gradient_flow/last_step"):
            fixed = self.task.held_out(self._rows)
            _require_alike(fixed, self.task.train_batch(0), self.task.spec)
            converted = trainer.precision_plugin.convert_input(fixed)
            self._fixed = trainer.strategy.batch_to_device(converted, pl_module.device)

    def on_optimizer_step_start(self, trainer: Trainer, pl_module: LightningModule, step: int, batch: Any) -> None:
        """Read the last step's loss, and watch the training's own forward and backward pass."""
        if step in self.steps and trainer.is_global_zero:
            if "gradient_flow/last_step" not in self.absent:
                with self.measuring("gradient_flow/last_step"):
                    self._read_last_step(trainer, pl_module, step)
            self._watch = Watch(pl_module, self.task.spec, batch)
            self._log_scale = math.log(loss_scale(trainer))

    def on_fitted(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the last step's loss once, of the model as its fit left it, as at step 0."""
        self.absent["gradient_flow/training_loss"] = FITTED
        if "gradient_flow/last_step" not in self.absent:
            with self.measuring("gradient_flow/last_step"):
                self._read_last_step(trainer, pl_module, step=0)

    def _read_last_step(self, trainer: Trainer, module: LightningModule, step: int) -> None:
        assert self._fixed is not None
        # A model may change its inputs in place.
        batch = self._fixed.map(torch.clone)
        if self._misplaced is None:
            with trainer.precision_plugin.train_step_context():
                self._misplaced = misplaced(module, batch, self.task.spec)
        watch = Watch(module, self.task.spec, batch)
        step_by_step = nullcontext() if watch.recordings else by_step(module)
        with closing(watch), evaluating(module), step_by_step, trainer.precision_plugin.train_step_context():
            prediction = training_prediction(module, batch, self.task.spec)
            watch.differentiate(self._last_step_loss(prediction, batch))
        self._keep(step, "last_step", watch)

    def _last_step_loss(self, prediction: Tensor, batch: Batch) -> Float[Tensor, ""]:
        return last_step_loss(self.task, prediction, batch)

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor | None, batch: Any
    ) -> None:
        """Read what the backward pass left."""
        watch, self._watch = self._watch, None
        if watch is not None:
            self._keep(step, "training_loss", watch, self._log_scale)

    def _keep(self, step: int, reading: Reading, watch: Watch, log_scale: float = 0.0) -> None:
        def origins(lengths: Tensor, backward: bool) -> Tensor:
            return lag_origin(self.task.spec, lengths, backward, reading, watch.batch.mask)

        flows, absent = watch.flows(origins, self._misplaced or {})
        if reading == "last_step":
            self._profiled = watch.shown
        elif self._fixed is not None and "gradient_flow/last_step" not in self.absent:
            for name in watch.shown.keys() - self._profiled.keys():
                self.absent.setdefault(f"gradient_flow/last_step/{name}", f"{watch.shown[name]}: {UNSEEN}")
        for name, reason in absent.items():
            column = f"input_saliency/{reading}/inputs/x" if name == "inputs" else f"gradient_flow/{reading}/{name}"
            # A step without a loss has no gradient, and that of others is there.
            if column not in self._found:
                self.absent.setdefault(column, reason)
        # Layers and states of the same shape at once.
        for _, same in groupby(flows, key=lambda flow: flow.log_norm.shape):
            alike = list(same)
            log_norm = torch.stack([flow.log_norm for flow in alike]) - log_scale
            origin = torch.stack([flow.origin for flow in alike])
            lagged = by_lag(log_norm, origin, self.task.spec.sequence.length)
            for flow, profile in zip(alike, over_batch(lagged).unbind(1), strict=True):
                name = f"{flow.probe}/{reading}/{flow.layer}/{flow.state}"
                self.absent.pop(name, None)
                steps, profiles = self._found.setdefault(name, ([], []))
                steps.append(step)
                profiles.append(profile)

    def series(self) -> dict[str, Series]:
        """The profiles, by column."""
        columns = {}
        for name, (steps, profiles) in self._found.items():
            rows = torch.stack(profiles).to("cpu", torch.float32).numpy()
            width = int(np.flatnonzero((rows[:, COLUMNS.index("/rows")] > 0).any(axis=0))[-1]) + 1
            for place, ending in enumerate(COLUMNS):
                columns[name + ending] = Series(np.array(steps, dtype=np.int64), rows[:, place, :width].copy())
        return columns

    def of_member(self, member: int) -> "GradientFlow":
        """What was measured of one of K models trained as one: profiles are then ``[columns K lags]``."""
        mine = copy.copy(self)
        mine._found = {
            name: (list(steps), [profile[:, member] for profile in profiles])
            for name, (steps, profiles) in self._found.items()
        }
        return mine

    def measures(self) -> dict[str, Any]:
        """What sums the profiles up."""
        return dict(measures(self.series()))


def _require_alike(held_out: Batch, trained: Batch, spec: TaskSpec) -> None:
    """Raise `UserError` where the targets of one batch have another form than those of another."""
    after = len(extent(spec, trained)[0])
    if (trained.lengths if spec.predicts == "every step" else trained.target_lengths) is not None:
        after += 1  # padded to whatever length
    one, other = held_out.targets.shape, trained.targets.shape
    if len(one) != len(other) or one[after:] != other[after:]:
        raise UserError(
            f"the held-out targets have the shape {tuple(one)} and those of training {tuple(other)}; "
            "give the task a held_out(rows) whose targets have the form of training's"
        )
