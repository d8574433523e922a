"""What autoencoders have in common that read a row as one long vector.

A row is an image, a vector without time, or a sequence of vectors of which all are as long. Losses of such an
autoencoder may have terms of its own beside the task's. Each is as in a loss whose reconstruction error is summed over
the numbers of a row; the task's is their mean, and so each term is divided by their count too. A factor then means the
same on rows of any size, and what its source means by it.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.model import Autoencoder
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.spec import Images, Static, TaskSpec, Tokens, Vectors
from rnnae_bench.errors import UserError, require_choice, require_positive
from rnnae_bench.training.loss_terms import Loss

Output = Literal["sigmoid", "linear"]
"""What ends a decoder."""


class FlatAutoencoder(Autoencoder):
    """An autoencoder that reads each row as one long vector.

    Args:
        spec: The task to serve.
        code_size: Numbers in the code; None: as many as the task allows, or `otherwise`.
        output: What ends the decoder; None: a sigmoid for images, and nothing for other numbers.
        optimization: How to train.
        otherwise: Numbers in the code where the task sets no limit.
        **hyperparameters: What else `supports` is to know.
    """

    reconstructs: ClassVar = (Images, Static, Vectors)

    @abstractmethod
    def __init__(
        self,
        spec: TaskSpec,
        code_size: int | None,
        output: Output | None,
        optimization: Optimization,
        otherwise: int = 256,
        **hyperparameters: Any,
    ) -> None:
        size = code_size_of(spec, code_size, otherwise)
        if output is not None:
            require_choice(("sigmoid", "linear"), output=output)
        inputs = inputs_of(type(self), spec, code_size=size, **hyperparameters)
        super().__init__(spec, optimization)
        self.code_size = size
        if isinstance(inputs, Images):
            self.shape: tuple[int, ...] = (inputs.channels, inputs.height, inputs.width)
        elif isinstance(inputs, Vectors):
            self.shape = (inputs.length, inputs.features)
        else:
            self.shape = (inputs.features,)
        self.output: Output = output or ("sigmoid" if isinstance(inputs, Images) else "linear")

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses what has no form that it knows, and sequences of different lengths."""
        reason = super().supports(spec, **hyperparameters)
        if reason is None and spec.variable_length:
            return "its layers are of one size, and the task's sequences end at different steps"
        return reason

    @property
    def numbers(self) -> int:
        """Numbers of a row."""
        return math.prod(self.shape)

    @property
    def state_size(self) -> int:
        """Numbers in the code."""
        return self.code_size

    def ending(self) -> list[nn.Module]:
        """The modules from the numbers of a row to the row."""
        shaped: list[nn.Module] = [nn.Unflatten(1, self.shape)] if len(self.shape) > 1 else []
        return shaped + ([nn.Sigmoid()] if self.output == "sigmoid" else [])

    def penalised(self, prediction: Tensor, batch: Batch, **terms: Float[Tensor, ""]) -> Loss:
        """The task's loss of a prediction, as ``reconstruction``, and terms beside it, over the numbers of a row."""
        loss = self.task.loss(prediction, batch)
        own = {name: term / self.numbers for name, term in terms.items()}
        return {**(loss if isinstance(loss, Mapping) else {"reconstruction": loss}), **own}


def code_size_of(spec: TaskSpec, asked: int | None, otherwise: int) -> int:
    """Numbers in the code: as many as are asked for, or as the task allows, or else `otherwise`."""
    size = next(size for size in (asked, spec.code_limit, otherwise) if size is not None)
    require_positive(code_size=size)
    return size


def require_sizes(**sizes: tuple[int, ...]) -> None:
    """Refuse any layer of the named sizes without units."""
    for name, values in sizes.items():
        if any(value < 1 for value in values):
            raise UserError(f"{name} is {list(values)}; each of them must be above 0")


def inputs_of(model: type[Autoencoder], spec: TaskSpec, **hyperparameters: Any) -> Images | Static | Vectors:
    """What a model is to reconstruct; `UserError` where it does not support the spec."""
    reason = model.supports(spec, **hyperparameters)
    if reason is not None or isinstance(spec.inputs, Tokens):
        raise UserError(f"{model.__name__} cannot serve task '{spec.task}': {reason}")
    return spec.inputs


class TiedDecoder(nn.Module):
    """The transposed weights of an encoder's layers, backwards, with biases of its own.

    Args:
        encoder: Whose dense layers are borrowed; they stay its own.
        activation: What follows each layer but the last.
    """

    def __init__(self, encoder: nn.Sequential, activation: nn.Module) -> None:
        super().__init__()
        layers = [layer for layer in encoder if isinstance(layer, nn.Linear)][::-1]
        self.biases = nn.ParameterList(torch.zeros(layer.in_features) for layer in layers)
        self.activation = activation

    def forward(self, code: Float[Tensor, "batch code"], encoder: nn.Sequential) -> Float[Tensor, "batch numbers"]:
        """The numbers of the row of each code."""
        layers = [layer for layer in encoder if isinstance(layer, nn.Linear)][::-1]
        h = code
        for place, (layer, bias) in enumerate(zip(layers, self.biases, strict=True)):
            h = nn.functional.linear(h if place == 0 else self.activation(h), layer.weight.T, bias)
        return h
