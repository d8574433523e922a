"""The norm of the gradient at every optimiser step, whole and layer by layer, before and after clipping."""

import copy
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from rnnae_bench.probes.base import Probe, StepBuffer, is_lazy
from rnnae_bench.records.history import Series
from rnnae_bench.training.clipping import gradients, norms, together, trained_weights
from rnnae_bench.training.optimizer_steps import OptimizerSteps, loss_scale
from rnnae_bench.training.own_fit import FITTED

CLIPPED_BELOW = 1 - 1e-4
"""A norm that fell by more than this factor was clipped; less is rounding."""


class GradientNorms(OptimizerSteps, Probe):
    """2-norms of the gradient of the training loss with respect to the weights.

    Columns: ``gradient_norm`` (all weights, as backpropagation left it), ``gradient_norm_clipped`` (as the
    optimiser got it), and ``gradient_norm/LAYER`` (before clipping). A layer is a module that holds weights; the
    layers and directions of one ``torch.nn`` recurrence count each by itself.

    Clipping has to measure too: where the model keeps what it measured there (`BenchModule.gradient_norms`), that is
    recorded; for all others the norms are taken before and after.
    """

    subject = "gradient_norm"
    kept = ("_buffer", "_layers")

    def __init__(self) -> None:
        self._buffer = StepBuffer()
        self._weights: list[Tensor] = []
        self._layers: list[str] = []
        self._model_measures = False
        self._is_manual = False
        self._left: Tensor | None = None
        self._before: Tensor | None = None
        self._after: Tensor | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note who measures."""
        self._model_measures = getattr(pl_module, "measures_gradient_norms", False)
        self._is_manual = not pl_module.automatic_optimization and not getattr(pl_module, "in_blocks", False)
        if self._is_manual:
            # As an attribute, since a model that trains in blocks saves the time where no callback has such a hook.
            self.on_after_backward = self._take_left  # type: ignore[method-assign]

    def on_fitted(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say why nothing was measured."""
        self.absent[self.subject] = FITTED

    def _note_weights(self, trainer: Trainer, module: LightningModule) -> None:
        """Note the weights, and which layer each belongs to: after a forward pass, when lazy ones have their shape."""
        names: dict[Tensor, str] = {weight: name for name, weight in module.named_parameters()}
        if self._model_measures:
            self._weights = trained_weights(trainer.optimizers[0])
        else:
            self._weights = [weight for weight in names if weight.requires_grad and not is_lazy(weight)]
        self._layers = [layer_of(names[weight]) for weight in self._weights]

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Measure each weight's gradient where the model does not; clipping comes after this hook."""
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
        if not self._weights:
            self._note_weights(trainer, pl_module)
        if self._is_manual:
            self._take_stepped(optimizer)
        elif not self._model_measures:
            self._before = norms(gradients(self._weights))

    def _take_left(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Under manual optimisation: what backpropagation left, before the model clips it."""
        with self.measuring(self.subject):
            if not self._weights:
                self._note_weights(trainer, pl_module)
            self._left = norms(gradients(self._weights)) / loss_scale(trainer)

    def _take_stepped(self, optimizer: Any) -> None:
        """Under manual optimisation: the norms of the weights that this optimiser is about to change.

        Weights that no optimiser changes in a batch have none there; where one does several steps, its last one counts.
        """
        got = norms(gradients(self._weights))
        left = got if self._left is None else self._left
        mine = set(trained_weights(optimizer))
        stepped = torch.tensor([weight in mine for weight in self._weights], device=got.device)
        nothing = torch.zeros_like(got)
        self._before = torch.where(stepped, left, nothing if self._before is None else self._before)
        self._after = torch.where(stepped, got, nothing if self._after is None else self._after)

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor | None, batch: Any
    ) -> None:
        """Keep the norms; those after clipping are of the gradients that still stand."""
        if self._model_measures:
            before, after = pl_module.gradient_norms  # type: ignore[misc]
        elif self._before is None or not self._weights:
            return
        elif self._is_manual:
            assert self._after is not None
            before, after = self._before, together(self._after, self._weights[0].dtype.to_real())
        else:
            left = gradients(self._weights)
            before, after = self._before, together(norms(left), left[0].dtype)
        self._left = self._before = self._after = None
        self._buffer.append(step, torch.cat((before, after.unsqueeze(-1)), dim=-1).double())

    def of_member(self, member: int) -> "GradientNorms":
        """What was measured of one of K models trained as one: their `gradient_norms` have a leading axis K."""
        mine = copy.copy(self)
        mine._buffer = self._buffer.of_member(member)
        return mine

    def series(self) -> dict[str, Series]:
        """The norms, by column."""
        steps, rows = self._buffer.rows()
        if not len(steps):
            return {}
        each, after = rows[:, :-1], rows[:, -1]
        columns = {
            "gradient_norm": Series(steps, np.linalg.norm(each, axis=1)),
            "gradient_norm_clipped": Series(steps, after),
        }
        for layer in dict.fromkeys(self._layers):
            mine = [place for place, name in enumerate(self._layers) if name == layer]
            columns[f"gradient_norm/{layer}"] = Series(steps, np.linalg.norm(each[:, mine], axis=1))
        return columns

    def measures(self) -> dict[str, Any]:
        """Share of the steps whose gradient was clipped, and the middle and the largest norm."""
        columns = self.series()
        if not columns:
            return {"clipped_fraction": None, "gradient_norm_median": None, "gradient_norm_max": None}
        before, after = columns["gradient_norm"].values, columns["gradient_norm_clipped"].values
        finite = before[np.isfinite(before)]
        return {
            "clipped_fraction": float(np.mean(after < CLIPPED_BELOW * before)),
            "gradient_norm_median": float(np.median(finite)) if len(finite) else None,
            "gradient_norm_max": float(finite.max()) if len(finite) else None,
        }


def layer_of(weight: str) -> str:
    """The layer a weight belongs to, from its name.

    >>> layer_of("head.affine.weight")
    'head.affine'
    >>> layer_of("recurrence.weight_hh_l1_reverse")
    'recurrence.l1_reverse'
    """
    module, _, name = weight.rpartition(".")
    _, found, layer = name.partition("_l")
    if found and name.startswith(("weight_", "bias_")):
        return f"{module}.l{layer}" if module else f"l{layer}"
    return module or name
