"""The contractive autoencoder: codes that change little where rows do.

Source: Rifai, Vincent, Muller, Glorot & Bengio (2011), Contractive auto-encoders: explicit invariance during feature
extraction, ICML.
"""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import require_choice, require_not_negative
from rnnae_bench.models.dense import ACTIVATIONS, Activation, activation_of, dense_layers, initialized
from rnnae_bench.models.flat_autoencoder import FlatAutoencoder, Output, TiedDecoder, require_sizes
from rnnae_bench.training.loss_terms import Loss


def squared_jacobian(encoder: nn.Sequential, inputs: Float[Tensor, "batch *input"]) -> Float[Tensor, " batch"]:
    """|df/dx|_F^2 of dense layers and activations at each row, exactly.

    Of one layer it is sum_j a'(u_j)^2 |W_j|^2; of more it is that of the product of the layers' Jacobians, which is
    formed from the code's end, where it is smallest.
    """
    h = inputs.flatten(1)
    layers: list[tuple[Tensor, Tensor]] = []
    modules = [module for module in encoder if not isinstance(module, nn.Flatten)]
    for affine, activation in zip(modules[::2], modules[1::2], strict=True):
        assert isinstance(affine, nn.Linear)
        u = affine(h)
        h, slope = _with_slope(activation, u)
        layers.append((affine.weight, slope))
    *below, (weight, slope) = layers
    if not below:
        return slope.square() @ weight.square().sum(1)
    product = slope.unsqueeze(2) * weight
    for weight, slope in reversed(below):
        product = (product * slope.unsqueeze(1)) @ weight
    return product.square().sum((1, 2))


def _with_slope(activation: nn.Module, u: Tensor) -> tuple[Tensor, Tensor]:
    """a(u) and a'(u)."""
    h = activation(u)
    (slope,) = torch.autograd.grad(h.sum(), u, create_graph=True)
    return h, slope


class ContractiveAutoencoder(FlatAutoencoder):
    """Contractive autoencoder (Rifai et al. 2011): the loss of a row is |x - y|^2 + weight |df/dx|_F^2.

    z = f(x), of layers h_k = a(W_k h_(k-1) + b_k), and a decoder that mirrors it. The penalty is exact: the squared
    Frobenius norm of the code's Jacobian at each row; of one layer sum_j a'(u_j)^2 |W_j|^2. The term, ``contraction``,
    is divided by the numbers of a row, as the squared error is. Weights and state are those of `dense_ae`.

    Args:
        spec: The task to serve.
        code_size: Numbers in the code; None: as many as the task allows, or 256 where it sets no limit.
        hidden_sizes: Units of each layer between input and code; none by default.
        activation: The function a.
        weight: Factor of the penalty.
        tied: Take the encoder's weights, transposed, for the decoder's, as the source does.
        output: What ends the decoder; None: a sigmoid for images, and nothing for other numbers.
        optimization: How to train.
    """

    bibtex = ("rifai2011",)

    def __init__(
        self,
        spec: TaskSpec,
        code_size: Annotated[int | None, Range(16, 512, log=True)] = None,
        hidden_sizes: tuple[int, ...] = (),
        activation: Activation = "sigmoid",
        weight: Annotated[float, Range(1e-3, 1.0, log=True)] = 0.1,
        tied: bool = True,
        output: Output | None = None,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_sizes(hidden_sizes=hidden_sizes)
        require_choice(ACTIVATIONS, activation=activation)
        require_not_negative(weight=weight)
        super().__init__(spec, code_size, output, optimization)
        self.weight, self.tied = weight, tied
        sizes = (self.numbers, *hidden_sizes, self.code_size)
        self.encoder = nn.Sequential(nn.Flatten(), *dense_layers(sizes, activation))
        if tied:
            self.borrowed = TiedDecoder(self.encoder, activation_of(activation))
            self.decoder = nn.Sequential(*self.ending())
        else:
            back = initialized(nn.Linear(sizes[1], sizes[0]))
            self.decoder = nn.Sequential(*dense_layers(sizes[:0:-1], activation), back, *self.ending())

    def encode(self, inputs: Float[Tensor, "batch *input"]) -> Float[Tensor, "batch code"]:
        """The code of each row."""
        return self.encoder(inputs)

    def decode(self, code: Float[Tensor, "batch code"]) -> Float[Tensor, "batch *input"]:
        """The row of each code."""
        return self.decoder(self.borrowed(code, self.encoder) if self.tied else code)

    def training_loss(self, batch: Batch) -> Loss:
        """The task's loss, and beside it the squared Jacobian."""
        prediction = self(batch.inputs, batch.lengths)
        if not self.weight:
            return self.task.loss(prediction, batch)
        contraction = self.weight * squared_jacobian(self.encoder, batch.inputs).mean()
        return self.penalised(prediction, batch, contraction=contraction)
