"""The recurrences step by step from their equations, in plain autograd: the slow twins of the kernels.

Notation: x_t input, h_t state, c_t cell, sigma the logistic function, * elementwise product; weights as in
``torch.nn``, gates stacked row by row.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

Activation = Literal["tanh", "relu", "identity", "modrelu"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "identity": lambda preactivation: preactivation,
}
"""The function f of the vanilla recurrence, by name, where it has no weights."""

Reset = Literal["after", "before"]
"""Where the reset gate of a GRU acts: after the recurrent matrix product, or before it."""


class Weights(NamedTuple):
    """The weights of one layer and direction."""

    w_ih: Float[Tensor, "*model gates features"]
    w_hh: Float[Tensor, "*model gates hidden"]
    b_ih: Float[Tensor, "*model gates"]
    b_hh: Float[Tensor, "*model gates"]
    peepholes: Float[Tensor, "*model three_hidden"] | None = None
    """Of an LSTM: p_i, p_f and p_o."""

    def map(self, function: Callable[[Tensor], Tensor]) -> "Weights":
        """The same weights with a function applied to each."""
        return Weights(*(None if one is None else function(one) for one in self))  # type: ignore[arg-type]


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x @ weight.mT + bias.unsqueeze(-2)


def rnn_step(
    x: Float[Tensor, "*model batch features"],
    h: Float[Tensor, "*model batch hidden"],
    weights: Weights,
    activation: Activation = "tanh",
) -> Float[Tensor, "*model batch hidden"]:
    """Elman (1990): h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh).

    With modrelu (Arjovsky, Shah & Bengio 2016, eq. 8) b_hh is its bias instead: f(a) = sign(a) * relu(|a| + b_hh).
    """
    if activation == "modrelu":
        a = _affine(x, weights.w_ih, weights.b_ih) + h @ weights.w_hh.mT
        return torch.sign(a) * torch.relu(a.abs() + weights.b_hh.unsqueeze(-2))
    preactivation = _affine(x, weights.w_ih, weights.b_ih) + _affine(h, weights.w_hh, weights.b_hh)
    return ACTIVATIONS[activation](preactivation)


def lstm_step(
    x: Float[Tensor, "*model batch features"],
    h: Float[Tensor, "*model batch hidden"],
    c: Float[Tensor, "*model batch hidden"],
    weights: Weights,
) -> tuple[Float[Tensor, "*model batch hidden"], Float[Tensor, "*model batch hidden"]]:
    """Hochreiter & Schmidhuber (1997) with forget gates (Gers et al. 2000): the next h and c.

    i, f, o = sigma(.), g = tanh(.), each of W x_t + b + U h_(t-1) + b'; c_t = f * c_(t-1) + i * g,
    h_t = o * tanh(c_t). With peepholes (Gers & Schmidhuber 2000) i and f also read p * c_(t-1), and o reads p * c_t.
    """
    preactivation = _affine(x, weights.w_ih, weights.b_ih) + _affine(h, weights.w_hh, weights.b_hh)
    i, f, g, o = preactivation.chunk(4, dim=-1)
    p_i, p_f, p_o = (0.0, 0.0, 0.0) if weights.peepholes is None else weights.peepholes.unsqueeze(-2).chunk(3, dim=-1)
    new = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
    return torch.sigmoid(o + p_o * new) * torch.tanh(new), new


def gru_step(
    x: Float[Tensor, "*model batch features"],
    h: Float[Tensor, "*model batch hidden"],
    weights: Weights,
    reset: Reset = "after",
) -> Float[Tensor, "*model batch hidden"]:
    """Cho et al. (2014), the reset gate after the product, as in cuDNN and PyTorch, or before it, as first published.

    r, z = sigma(W x_t + b + U h_(t-1) + b'), n = tanh(W x_t + b + r * (U h_(t-1) + b')) or, with the reset before,
    n = tanh(W x_t + b + U (r * h_(t-1)) + b'); h_t = (1 - z) * n + z * h_(t-1).
    """
    x_r, x_z, x_n = _affine(x, weights.w_ih, weights.b_ih).chunk(3, dim=-1)
    h_r, h_z, h_n = _affine(h, weights.w_hh, weights.b_hh).chunk(3, dim=-1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    if reset == "before":
        h_n = _affine(r * h, weights.w_hh.chunk(3, dim=-2)[2], weights.b_hh.chunk(3, dim=-1)[2])
        n = torch.tanh(x_n + h_n)
    else:
        n = torch.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h


def independent_step(
    x: Float[Tensor, "*model batch features"],
    h: Float[Tensor, "*model batch hidden"],
    weights: Weights,
) -> Float[Tensor, "*model batch hidden"]:
    """Li et al. (2018): h_t = relu(W x_t + b_ih + u * h_(t-1) + b_hh); u is W_hh, of one row."""
    return torch.relu(_affine(x, weights.w_ih, weights.b_ih) + weights.w_hh * h + weights.b_hh.unsqueeze(-2))


def rnn(
    x: Float[Tensor, "*model time batch features"],
    weights: Weights,
    initial: Float[Tensor, "*model batch hidden"],
    activation: Activation = "tanh",
) -> list[Tensor]:
    """The states h_1 ... h_T, each ``[*model batch hidden]``."""
    h, states = initial, []
    for step in x.unbind(-3):
        h = rnn_step(step, h, weights, activation)
        states.append(h)
    return states


def lstm(
    x: Float[Tensor, "*model time batch features"],
    weights: Weights,
    initial: tuple[Float[Tensor, "*model batch hidden"], Float[Tensor, "*model batch hidden"]],
) -> tuple[list[Tensor], list[Tensor]]:
    """The states h_1 ... h_T and the cells c_1 ... c_T, each ``[*model batch hidden]``."""
    (h, c), states, cells = initial, [], []
    for step in x.unbind(-3):
        h, c = lstm_step(step, h, c, weights)
        states.append(h)
        cells.append(c)
    return states, cells


def gru(
    x: Float[Tensor, "*model time batch features"],
    weights: Weights,
    initial: Float[Tensor, "*model batch hidden"],
    reset: Reset = "after",
) -> list[Tensor]:
    """The states h_1 ... h_T, each ``[*model batch hidden]``."""
    h, states = initial, []
    for step in x.unbind(-3):
        h = gru_step(step, h, weights, reset)
        states.append(h)
    return states


def independent(
    x: Float[Tensor, "*model time batch features"],
    weights: Weights,
    initial: Float[Tensor, "*model batch hidden"],
) -> list[Tensor]:
    """The states h_1 ... h_T, each ``[*model batch hidden]``."""
    h, states = initial, []
    for step in x.unbind(-3):
        h = independent_step(step, h, weights)
        states.append(h)
    return states


def linear_recurrence(
    decay: Inexact[Tensor, "*axes time features"],
    drive: Inexact[Tensor, "*axes time features"],
    initial: Inexact[Tensor, "*axes features"],
) -> list[Tensor]:
    """The states h_1 ... h_T of h_t = a_t * h_(t-1) + b_t, each ``[*axes features]``."""
    h, states = initial, []
    for a, b in zip(decay.unbind(-2), drive.unbind(-2), strict=True):
        h = a * h + b
        states.append(h)
    return states


def deltas(loss: Float[Tensor, ""], states: Sequence[Tensor]) -> Float[Tensor, "*model time batch hidden"]:
    """dL/dh_t for every t, by autograd; zero where the loss does not depend on h_t."""
    gradients = torch.autograd.grad(loss, list(states), retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.stack(gradients, dim=-3)
