"""An autoencoder of Keras' dense layers."""

import math
from itertools import pairwise
from typing import ClassVar

from torch import nn

from rnnae_bench import Autoencoder, Images, Optimization, Static, TaskSpec
from rnnae_bench_keras.on_torch import In32Bits, built, glorot, keras, on


class KerasDenseAutoencoder(In32Bits, Autoencoder):
    """Autoencoder of Keras' Dense layers, of images or of vectors without time; the decoder mirrors the encoder.

    Args:
        spec: The task to serve.
        code_size: Numbers in the code; None: as many as the task allows, or 256 where it sets no limit.
        hidden_sizes: Units of each layer between input and code.
        optimization: How to train.
    """

    reconstructs: ClassVar = (Images, Static)

    def __init__(
        self,
        spec: TaskSpec,
        code_size: int | None = None,
        hidden_sizes: tuple[int, ...] = (),
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(spec, optimization)
        inputs = spec.inputs
        is_image = isinstance(inputs, Images)
        shape = (inputs.channels, inputs.height, inputs.width) if is_image else (inputs.features,)
        self.code_size = code_size or spec.code_limit or 256
        sizes = (math.prod(shape), *hidden_sizes, self.code_size)
        self.encoder = nn.Sequential(nn.Flatten(), *(_dense(*two, "relu") for two in pairwise(sizes)))
        hidden = (_dense(*two, "relu") for two in pairwise(sizes[:0:-1]))
        last = _dense(sizes[1], sizes[0], "sigmoid" if is_image else "linear")
        self.decoder = nn.Sequential(*hidden, last, nn.Unflatten(1, shape))

    @property
    def state_size(self) -> int:
        return self.code_size

    def encode(self, inputs):
        with on(inputs.device):
            return self.encoder(inputs)

    def decode(self, code):
        with on(code.device):
            return self.decoder(code)


def _dense(size: int, units: int, activation: str) -> keras.Layer:
    layer = keras.layers.Dense(
        units, activation, kernel_initializer=glorot(), dtype="float32", name=f"dense_{size}_{units}"
    )
    return built(layer, None, size)
