"""The matrix products of a recurrence, with one set of weights or with K (a leading model axis)."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def affine(
    x: Float[Tensor, "*model time batch features"],
    weight: Float[Tensor, "*model gates features"],
    bias: Float[Tensor, "*model gates"],
) -> Float[Tensor, "*model time batch gates"]:
    """W x_t + b for the whole sequence in one product, into new memory."""
    rows = x.flatten(-3, -2)
    if weight.dim() == 2:
        product = torch.addmm(bias, rows, weight.t())
    else:
        product = torch.baddbmm(bias.unsqueeze(-2), rows, weight.mT)
    return product.unflatten(-2, x.shape[-3:-1])


def stepwise(sequence: Float[Tensor, "*model time batch features"]) -> Float[Tensor, "*model time batch features"]:
    """The same numbers, laid out so that what all models have at one step lies in one piece.

    In a batched product, slices that do not are copied: three times as slow for 32 models of 16 units.
    """
    return sequence if sequence.dim() == 3 else sequence.transpose(0, 1).contiguous().transpose(0, 1)


def empty_steps(
    like: Float[Tensor, "*model time batch features"], features: int | None = None
) -> Float[Tensor, "*model time batch others"]:
    """New memory of that shape, or with another number of features, laid out as by `stepwise`."""
    *lead, time, batch, size = like.shape
    found = like.new_empty(time, *lead, batch, size if features is None else features)
    return found.transpose(0, 1) if lead else found


def addmm(weight: Tensor) -> Callable[..., Tensor]:
    """What multiplies with these weights: ``torch.addmm`` for one set, ``torch.baddbmm`` for K."""
    return torch.addmm if weight.dim() == 2 else torch.baddbmm


def input_gradient(
    gates: Float[Tensor, "*model time batch gates"], weight: Float[Tensor, "*model gates features"]
) -> Float[Tensor, "*model time batch features"]:
    """W^T d_t for the whole sequence in one product."""
    return torch.matmul(gates.flatten(-3, -2), weight).unflatten(-2, gates.shape[-3:-1])


def weight_gradient(
    gates: Float[Tensor, "*model time batch gates"], x: Float[Tensor, "*model time batch features"]
) -> Float[Tensor, "*model gates features"]:
    """The sum over steps and batch of d_t x_t^T, in one product."""
    return torch.matmul(gates.flatten(-3, -2).mT, x.flatten(-3, -2))


def recurrent_weight_gradient(
    gates: Float[Tensor, "*model time batch gates"],
    states: Float[Tensor, "*model time batch hidden"],
    initial: Float[Tensor, "*model batch hidden"],
) -> Float[Tensor, "*model gates hidden"]:
    """The sum over steps and batch of d_t h_(t-1)^T, where h_(-1) is the initial state."""
    first = torch.matmul(gates[..., 0, :, :].mT, initial)
    if gates.shape[-3] == 1:
        return first
    return first + weight_gradient(gates[..., 1:, :, :], states[..., :-1, :, :])
