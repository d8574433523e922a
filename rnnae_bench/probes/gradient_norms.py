"""The norm of the gradient at every optimiser step, whole and layer by layer, before and after clipping."""

import copy
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from rnnae_bench.clipping import gradients, norms, together, trained_weights
from rnnae_bench.probes.base import OptimizerSteps, Probe, StepBuffer
from rnnae_bench.results.history import Series

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

    def __init__(self) -> None:
        self._buffer = StepBuffer()
        self._weights: list[Tensor] = []
        self._layers: list[str] = []
        self._model_measures = False
        self._before: Tensor | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the weights, which layer each belongs to, and who measures."""
        names: dict[Tensor, str] = {weight: name for name, weight in pl_module.named_parameters()}
        self._model_measures = getattr(pl_module, "measures_gradient_norms", False)
        if self._model_measures:
            self._weights = trained_weights(trainer.optimizers[0])
        else:
            self._weights = [weight for weight in pl_module.parameters() if weight.requires_grad]
        self._layers = [layer_of(names[weight]) for weight in self._weights]

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Measure each weight's gradient where the model does not; clipping comes after this hook."""
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
        if not self._model_measures:
            self._before = norms(gradients(self._weights))

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor, batch: Any
    ) -> None:
        """Keep the norms; those after clipping are of the gradients that still stand."""
        if self._model_measures:
            before, after = pl_module.gradient_norms  # type: ignore[misc]
        else:
            assert self._before is not None
            left = gradients(self._weights)
            before, after = self._before, together(norms(left), left[0].dtype)
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
