"""What is scored of a LightningModule that has no evaluation steps of its own: what its forward says."""

from functools import partial

from lightning import LightningModule
from torch import Tensor

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.probes import NoPrediction

EVALUATION_STEPS = ("validation_step", "test_step")
"""What of a model returns the prediction."""


def complete_evaluation_steps(model: LightningModule) -> LightningModule:
    """Give a model those of Lightning's evaluation steps that its class leaves out; the model itself.

    Each returns the model's own answer to the batch, or what the task makes of it (`Task.predict`).
    """
    for name in EVALUATION_STEPS:
        if getattr(type(model), name, None) is getattr(LightningModule, name):
            # No bound method: those are looked up by their name when a copy is unpickled, which finds Lightning's.
            setattr(model, name, partial(_predicted, model))
    return model


def _predicted(model: LightningModule, batch: Batch, batch_idx: int) -> Tensor:
    """The prediction; the runner scores it."""
    prediction = model.trainer.datamodule.predict(model, batch)  # type: ignore[attr-defined]
    if not isinstance(prediction, Tensor):
        raise NoPrediction(
            f"the model's forward returned {type(prediction).__name__}, and what is scored is the prediction; return "
            "it alone, as a tensor, or define validation_step and test_step that do"
        )
    return prediction
