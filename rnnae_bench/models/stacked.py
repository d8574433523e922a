"""K recurrent models as one, on the model axis that the recurrences of this suite have."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rnnae_bench.contracts.heads import last_state
from rnnae_bench.training.stacking import stack_weights


class _Affine(nn.Module):
    """K affine maps: ``[K *axes features]`` to ``[K *axes size]``."""

    def __init__(self, one: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = one.weight, one.bias

    def forward(self, states: Float[Tensor, "models *axes features"]) -> Float[Tensor, "models *axes size"]:
        rows = states.flatten(1, -2)
        if self.bias is None:
            product = torch.bmm(rows, self.weight.mT)
        else:
            product = torch.baddbmm(self.bias.unsqueeze(-2), rows, self.weight.mT)
        return product.unflatten(1, states.shape[1:-1])


class RecurrentStack(nn.Module):
    """K models of one class and shape; weights named as in one of them, with an axis K in front.

    Args:
        models: The models, of `rnnae_bench.models.recurrence_model`; they are copied.
    """

    def __init__(self, models: Sequence[Any]) -> None:
        super().__init__()
        first = models[0]
        self.bidirectional, self.predicts, self.readout = first.bidirectional, first.spec.predicts, first.readout
        self.embedding = copy.deepcopy(first.embedding)
        self.head = copy.deepcopy(first.head)
        self.recurrence = copy.deepcopy(first.recurrence)
        self.head.affine = _Affine(self.head.affine)
        self.recurrence.models = len(models)
        stack_weights(self, models)

    def forward(self, inputs: Tensor, lengths: Int[Tensor, "models batch"] | None = None) -> Tensor:
        """The predictions ``[K batch ...]`` for inputs ``[K batch ...]``."""
        states = self.recurrence(self.embedding(inputs), lengths)[0]
        if self.readout == "all":
            states = states.flatten(-2)
        elif self.predicts == "last step":
            states = last_state(states, lengths, self.bidirectional)
        return self.head(states)
