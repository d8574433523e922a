"""Keras with torch below, its weights drawn from the trial's random numbers, its tensors where torch's are."""

import os
from contextlib import AbstractContextManager
from unittest.mock import patch

import torch
from lightning import Trainer

from rnnae_bench.errors import UserError

with patch.dict(os.environ, KERAS_BACKEND="torch"):
    # The variable is read at the first import, and is then as it was for whoever else looks at it.
    import keras

if keras.backend.backend() != "torch":
    raise ImportError(
        f"keras was imported before with the backend {keras.backend.backend()!r}, and its layers are torch modules "
        "with 'torch' only: import rnnae_bench_keras first, or set KERAS_BACKEND=torch"
    )


class In32Bits:
    """A model whose layers Keras computes: on torch in 32 bits at most, whatever its inputs and weights have."""

    trainer: Trainer

    def on_fit_start(self) -> None:
        if self.trainer.precision == "64-true":
            raise UserError(
                "Keras on torch computes in 32 bits at most, and --trainer.precision is 64-true; choose 32-true"
            )


def on(device: torch.device) -> AbstractContextManager[object]:
    """Within, Keras makes and moves tensors on a device of torch's, and not on the first GPU that it finds."""
    return keras.device(str(device))


def glorot() -> keras.initializers.Initializer:
    """Glorot uniform weights that torch's generator, and so the trial's seed, fixes."""
    return keras.initializers.GlorotUniform(seed=_seed())


def orthogonal() -> keras.initializers.Initializer:
    """A random orthogonal matrix that torch's generator, and so the trial's seed, fixes."""
    return keras.initializers.Orthogonal(seed=_seed())


def _seed() -> int:
    return int(torch.randint(2**31, (), device="cpu"))


def built(layer: keras.Layer, *shape: int | None) -> keras.Layer:
    """A layer with its weights, on torch's default device; the trial says the precision, not Keras.

    Args:
        layer: Without weights yet.
        shape: Of its inputs.
    """
    with on(torch.get_default_device()):
        layer.build(shape)
    for part in {layer, getattr(layer, "cell", layer)}:
        part.autocast = False
        for name in [name for name in part.torch_params if "seed_generator" in name]:
            # What dropout would draw from. Here is none, and its name is another with every layer that is made.
            part.torch_params.pop(name)
    return layer
