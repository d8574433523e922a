"""Denoising autoencoders: one of dense layers, one of convolutions.

An encoder f takes an image x to a code z, a decoder g takes the code to an image y:

    z = f(x),    y = g(z),    y in (0, 1) by a sigmoid at the end.

Fed a corrupted image and trained to give back the clean one, they minimise E ||g(f(corrupted)) - clean||^2, the
objective of the denoising autoencoder (Vincent et al. 2008, Extracting and composing robust features with
denoising autoencoders; the squared error as in Vincent et al. 2010). Loss and corruption belong to the task.

Weights start Glorot uniform (Glorot & Bengio 2010), in front of an activation times its gain
(``torch.nn.init.calculate_gain``), and biases at zero.
"""

import math
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.contracts.model import Autoencoder
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import Images, Static, TaskSpec, Tokens, Vectors
from rnnae_bench.errors import UserError, require_choice, require_positive

Activation = Literal["relu", "tanh"]
"""What follows every hidden layer."""


class DenseAutoencoder(Autoencoder):
    """Autoencoder of dense layers; the decoder mirrors the encoder's sizes with weights of its own.

    The encoder is h_0 = x, h_k = a(W_k h_(k-1) + b_k), and the code z is the last h; the decoder takes the same
    sizes backwards in the same way, but for its last layer y = sigmoid(W' h' + b'). Without hidden layers this is
    the autoencoder of Vincent et al. (2008) with weights not tied and, by default, another activation. Inputs are
    images, vectors without time, or sequences of vectors that are all as long, which are read as one long vector. Of
    vectors the values need not lie in (0, 1): there the last layer has no sigmoid.

    Args:
        spec: The task to serve.
        code_size: Numbers in the code; None: as many as the task allows, or 256 where it sets no limit.
        hidden_sizes: Units of each layer between input and code; none by default.
        activation: The function a.
        optimization: How to train.
    """

    reconstructs: ClassVar = (Images, Static, Vectors)

    def __init__(
        self,
        spec: TaskSpec,
        code_size: Annotated[int | None, Range(16, 512, log=True)] = None,
        hidden_sizes: tuple[int, ...] = (),
        activation: Activation = "relu",
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        code_size = _code_size(spec, code_size, otherwise=256)
        _require_sizes(code_size, hidden_sizes=hidden_sizes)
        require_choice(("relu", "tanh"), activation=activation)
        inputs = _inputs_of(type(self), spec, code_size=code_size)
        super().__init__(spec, optimization)
        self.code_size = code_size
        end: list[nn.Module] = []
        if isinstance(inputs, Images):
            shape: tuple[int, ...] = (inputs.channels, inputs.height, inputs.width)
            end = [nn.Unflatten(1, shape), nn.Sigmoid()]
        elif isinstance(inputs, Vectors):
            shape = (inputs.length, inputs.features)
            end = [nn.Unflatten(1, shape)]
        else:
            shape = (inputs.features,)
        sizes = (math.prod(shape), *hidden_sizes, code_size)
        back = _initialized(nn.Linear(sizes[1], sizes[0]))
        self.encoder = nn.Sequential(nn.Flatten(), *_dense_layers(sizes, activation))
        self.decoder = nn.Sequential(*_dense_layers(sizes[:0:-1], activation), back, *end)

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses what has no form that it knows, and sequences of different lengths."""
        reason = super().supports(spec, **hyperparameters)
        if reason is None and spec.variable_length:
            return "its layers are of one size, and the task's sequences end at different steps"
        return reason

    @property
    def state_size(self) -> int:
        """Numbers in the code."""
        return self.code_size

    def encode(self, inputs: Float[Tensor, "batch *input"]) -> Float[Tensor, "batch code"]:
        """The code of each image, vector or sequence."""
        return self.encoder(inputs)

    def decode(self, code: Float[Tensor, "batch code"]) -> Float[Tensor, "batch *input"]:
        """The image of each code, pixels in (0, 1), or its vector or sequence."""
        return self.decoder(code)


class ConvAutoencoder(Autoencoder):
    """Autoencoder of strided convolutions, with an affine code between them and their mirror image.

    Each convolution (4 x 4, stride 2, padding 1) halves height and width, rounding down, and is followed by the
    activation; an affine map takes what is left to the code and another brings it back; transposed
    convolutions double height and width, to the very sizes they had on the way in, and a sigmoid ends it.

    Args:
        spec: The task to serve.
        code_size: Numbers in the code; None: as many as the task allows, or 128 where it sets no limit.
        channels: Channels out of each convolution of the encoder, from the image to the code.
        activation: What follows every layer but the code and the last.
        optimization: How to train.
    """

    def __init__(
        self,
        spec: TaskSpec,
        code_size: Annotated[int | None, Range(16, 512, log=True)] = None,
        channels: tuple[int, ...] = (16, 32),
        activation: Activation = "relu",
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        code_size = _code_size(spec, code_size, otherwise=128)
        _require_sizes(code_size, channels=channels)
        require_choice(("relu", "tanh"), activation=activation)
        image = _inputs_of(type(self), spec, code_size=code_size, channels=channels)
        assert isinstance(image, Images)
        super().__init__(spec, optimization)
        self.code_size = code_size
        gain = nn.init.calculate_gain(activation)
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        size, height, width = image.channels, image.height, image.width
        for following in channels:
            odd = (height % 2, width % 2)
            shrink = nn.Conv2d(size, following, kernel_size=4, stride=2, padding=1)
            grow = nn.ConvTranspose2d(following, size, kernel_size=4, stride=2, padding=1, output_padding=odd)
            down += [_initialized(shrink, gain), _activation(activation)]
            up = [_activation(activation), _initialized(grow, gain if up else 1.0), *up]
            size, height, width = following, height // 2, width // 2
        flat = size * height * width
        to_code = _initialized(nn.Linear(flat, code_size))
        from_code = _initialized(nn.Linear(code_size, flat), gain if channels else 1.0)
        self.encoder = nn.Sequential(*down, nn.Flatten(), to_code)
        self.decoder = nn.Sequential(from_code, nn.Unflatten(1, (size, height, width)), *up, nn.Sigmoid())

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses what is no image, and images too small to be halved by every convolution."""
        reason = super().supports(spec, **hyperparameters)
        if reason is None and isinstance(spec.inputs, Images):
            depth = len(hyperparameters.get("channels", (16, 32)))
            if min(spec.inputs.height, spec.inputs.width) >> depth == 0:
                return f"{depth} convolutions halve {spec.inputs} to nothing; give fewer channels"
        return reason

    @property
    def state_size(self) -> int:
        """Numbers in the code."""
        return self.code_size

    def encode(self, inputs: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch code"]:
        """The code of each image."""
        return self.encoder(inputs)

    def decode(self, code: Float[Tensor, "batch code"]) -> Float[Tensor, "batch channel height width"]:
        """The image of each code, pixels in (0, 1)."""
        return self.decoder(code)


def _code_size(spec: TaskSpec, asked: int | None, otherwise: int) -> int:
    """Numbers in the code: as many as are asked for, or as the task allows, or else `otherwise`."""
    return next(size for size in (asked, spec.code_limit, otherwise) if size is not None)


def _require_sizes(code_size: int, **sizes: tuple[int, ...]) -> None:
    """Refuse a code, or any layer of the named sizes, without units."""
    require_positive(code_size=code_size)
    for name, values in sizes.items():
        if any(value < 1 for value in values):
            raise UserError(f"{name} is {list(values)}; each of them must be above 0")


def _inputs_of(model: type[Autoencoder], spec: TaskSpec, **hyperparameters: Any) -> Images | Static | Vectors:
    """What a model is to reconstruct; `UserError` where it does not support the spec."""
    reason = model.supports(spec, **hyperparameters)
    if reason is not None or isinstance(spec.inputs, Tokens):
        raise UserError(f"{model.__name__} cannot serve task '{spec.task}': {reason}")
    return spec.inputs


def _activation(name: Activation) -> nn.Module:
    return nn.ReLU() if name == "relu" else nn.Tanh()


def _dense_layers(sizes: tuple[int, ...], activation: Activation) -> list[nn.Module]:
    """Dense layers from the first size to the last, each followed by the activation."""
    gain = nn.init.calculate_gain(activation)
    layers: list[nn.Module] = []
    for size, following in pairwise(sizes):
        layers += [_initialized(nn.Linear(size, following), gain), _activation(activation)]
    return layers


def _initialized(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, gain: float = 1.0) -> nn.Module:
    """The same layer, its weights Glorot uniform times the gain, its biases zero."""
    nn.init.xavier_uniform_(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
