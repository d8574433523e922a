"""Ways to initialise a recurrence, applied to the weights of an RNN, LSTM or GRU."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from rnnae_bench.recurrence.stack import Stack

Initialization = Literal["pytorch", "orthogonal", "identity"]


@torch.no_grad()
def initialize(recurrence: Stack, how: Initialization) -> None:
    """Initialise all weights of a recurrence, gate by gate.

    - ``pytorch``: uniform in ±1/sqrt(hidden), as PyTorch leaves them.
    - ``orthogonal``: recurrent matrices random orthogonal, so that they neither shrink nor stretch a state
      (Saxe et al. 2014); input matrices Glorot uniform (Glorot & Bengio 2010); biases zero.
    - ``identity``: recurrent matrices the identity (IRNN: Le, Jaitly & Hinton 2015), input matrices normal with
      standard deviation 0.001, biases zero.
    """
    if how == "pytorch":
        return
    for name, weight in recurrence.named_parameters():
        for one in weight.unbind() if recurrence.models else (weight,):
            _initialize(name, one, recurrence.hidden_size, how)


def _initialize(name: str, weight: Tensor, hidden_size: int, how: Initialization) -> None:
    if name.startswith("bias"):
        nn.init.zeros_(weight)
    elif name.startswith("weight"):
        for gate in torch.split(weight, hidden_size):
            if name.startswith("weight_hh"):
                nn.init.orthogonal_(gate) if how == "orthogonal" else nn.init.eye_(gate)
            elif how == "orthogonal":
                nn.init.xavier_uniform_(gate)
            else:
                nn.init.normal_(gate, std=0.001)


@torch.no_grad()
def set_gate_bias(recurrence: Stack, gate: int, bias: float) -> None:
    """Set the bias of one gate (by its place in PyTorch's weights) in every layer and direction.

    PyTorch adds two bias vectors; the whole goes to the first and the second becomes zero.
    """
    rows = slice(gate * recurrence.hidden_size, (gate + 1) * recurrence.hidden_size)
    for name, weight in recurrence.named_parameters():
        if name.startswith("bias_ih"):
            weight[..., rows] = bias
        elif name.startswith("bias_hh"):
            weight[..., rows] = 0.0


@torch.no_grad()
def start_summing(recurrence: Stack, steps: int, scale: float) -> None:
    """Draw the input matrices of a recurrence whose states at the start are sums of all that came in.

    They are normal with standard deviation scale * sqrt(2 / (features * steps)). By He et al. (2015) a rectified linear
    unit keeps the variance of its inputs under sqrt(2 / features); here as many terms as steps come to one state.
    """
    for name, weight in recurrence.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.normal_(weight, std=scale * math.sqrt(2 / (weight.shape[-1] * steps)))
