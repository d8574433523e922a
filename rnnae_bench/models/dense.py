"""Dense layers: activations, their start values, and stacks of both.

Weights start Glorot uniform (Glorot & Bengio 2010), in front of an activation times its gain
(``torch.nn.init.calculate_gain``; 1 where PyTorch has none), and biases at zero.
"""

from itertools import pairwise
from typing import Literal, get_args

from torch import nn

Activation = Literal["relu", "tanh", "sigmoid", "leaky_relu", "elu", "selu", "gelu", "softplus", "identity"]
"""What follows a hidden layer."""

ACTIVATIONS: tuple[str, ...] = get_args(Activation)

_MODULES: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "identity": nn.Identity,
}
_WITH_GAIN = ("relu", "tanh", "sigmoid", "leaky_relu", "selu")


def activation_of(name: Activation) -> nn.Module:
    """The module of an activation."""
    return _MODULES[name]()


def gain_of(name: Activation) -> float:
    """How much larger weights in front of an activation start."""
    return float(nn.init.calculate_gain(name)) if name in _WITH_GAIN else 1.0  # type: ignore[arg-type]


def dense_layers(sizes: tuple[int, ...], activation: Activation) -> list[nn.Module]:
    """Dense layers from the first size to the last, each followed by the activation."""
    layers: list[nn.Module] = []
    for size, following in pairwise(sizes):
        layers += [initialized(nn.Linear(size, following), gain_of(activation)), activation_of(activation)]
    return layers


def initialized(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, gain: float = 1.0) -> nn.Module:
    """The same layer, its weights Glorot uniform times the gain, its biases zero."""
    nn.init.xavier_uniform_(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
