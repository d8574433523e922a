"""Autoencoders of which only few numbers of a code are to be active at a time."""

import math
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError, require_choice, require_not_negative
from rnnae_bench.models.dense import Activation, activation_of, dense_layers, gain_of, initialized
from rnnae_bench.models.flat_autoencoder import FlatAutoencoder, Output, require_sizes
from rnnae_bench.training.loss_terms import Loss

Sparsity = Literal["l1", "kl", "top_k"]


def bernoulli_divergence(mean: Float[Tensor, " code"], rho: float) -> Float[Tensor, ""]:
    """sum_j rho ln(rho / mean_j) + (1 - rho) ln((1 - rho) / (1 - mean_j)), of means within (0, 1).

    >>> round(bernoulli_divergence(torch.tensor([0.5, 0.05]), 0.05).item(), 5)
    0.49463
    """
    mean = mean.clamp(1e-6, 1 - 1e-6)
    return (rho * (rho / mean).log() + (1 - rho) * ((1 - rho) / (1 - mean)).log()).sum()


class SparseAutoencoder(FlatAutoencoder):
    """Sparse autoencoder: a dense one whose codes are mostly zero, or nearly so.

    z = a(W h + b) of the last hidden layer h (of the row itself without one), and a decoder that mirrors it. Of
    `sparsity`

    - ``l1``: a is relu, and the loss of a row has weight sum_j |z_j| beside |x - y|^2;
    - ``kl``: a is the logistic function, and the loss has weight sum_j KL(rho || mean of z_j over the batch) (Lee,
      Ekanadham & Ng 2008; Ng 2011, CS294A lecture notes);
    - ``top_k``: a is relu, and all but the k largest numbers of each code are 0, in training and at evaluation
      (Makhzani & Frey 2014, k-sparse autoencoders); the loss has no term for it.

    The term, ``sparsity``, is divided by the numbers of a row, as the squared error is. Weights and state are those of
    `dense_ae`.

    Args:
        spec: The task to serve.
        code_size: Numbers in the code; None: as many as the task allows, or 512 where it sets no limit.
        hidden_sizes: Units of each layer between input and code; none by default.
        sparsity: How codes are made sparse.
        weight: Factor of the term of l1 and of kl; None: 0.01 and 0.1.
        rho: The mean that kl wants of each number of a code.
        k: How many numbers of a code top_k leaves; None: the square root of their number.
        output: What ends the decoder; None: a sigmoid for images, and nothing for other numbers.
        optimization: How to train.
    """

    bibtex = ("lee2008", "ng2011", "makhzani2014")

    def __init__(
        self,
        spec: TaskSpec,
        code_size: Annotated[int | None, Range(16, 1024, log=True)] = None,
        hidden_sizes: tuple[int, ...] = (),
        sparsity: Sparsity = "l1",
        weight: float | None = None,
        rho: float = 0.05,
        k: int | None = None,
        output: Output | None = None,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_sizes(hidden_sizes=hidden_sizes)
        require_choice(("l1", "kl", "top_k"), sparsity=sparsity)
        if weight is not None:
            require_not_negative(weight=weight)
        if not 0 < rho < 1:
            raise UserError(f"rho is {rho}; it must be between 0 and 1")
        super().__init__(spec, code_size, output, optimization, otherwise=512)
        self.sparsity: Sparsity = sparsity
        self.weight = {"l1": 0.01, "kl": 0.1, "top_k": 0.0}[sparsity] if weight is None else weight
        self.rho = rho
        self.k = round(math.sqrt(self.code_size)) if k is None else k
        if not 1 <= self.k <= self.code_size:
            raise UserError(f"k is {self.k}; it must be from 1 to {self.code_size}, the numbers of a code")
        sizes = (self.numbers, *hidden_sizes, self.code_size)
        last: Activation = "sigmoid" if sparsity == "kl" else "relu"
        code = initialized(nn.Linear(sizes[-2], sizes[-1]), gain_of(last))
        self.encoder = nn.Sequential(nn.Flatten(), *dense_layers(sizes[:-1], "relu"), code, activation_of(last))
        back = initialized(nn.Linear(sizes[1], sizes[0]))
        self.decoder = nn.Sequential(*dense_layers(sizes[:0:-1], "relu"), back, *self.ending())

    def encode(self, inputs: Float[Tensor, "batch *input"]) -> Float[Tensor, "batch code"]:
        """The code of each row."""
        code = self.encoder(inputs)
        if self.sparsity != "top_k":
            return code
        kept = code.topk(self.k, dim=1)
        return torch.zeros_like(code).scatter(1, kept.indices, kept.values)

    def decode(self, code: Float[Tensor, "batch code"]) -> Float[Tensor, "batch *input"]:
        """The row of each code."""
        return self.decoder(code)

    def training_loss(self, batch: Batch) -> Loss:
        """The task's loss, and what sparseness costs beside it."""
        code = self.encode(batch.inputs)
        prediction = self.decode(code)
        if not self.weight:
            return self.task.loss(prediction, batch)
        code = code.float() if code.dtype.itemsize < 4 else code
        cost = bernoulli_divergence(code.mean(0), self.rho) if self.sparsity == "kl" else code.abs().sum(1).mean()
        return self.penalised(prediction, batch, sparsity=self.weight * cost)
