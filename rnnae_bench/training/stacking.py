"""K models of one class as one module, through ``torch.func``: for models that have no model axis of their own."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

OWN = frozenset(
    {"forward", "state_size", "supports", "stackable", "stack", "later_options", "width_option", "bibtex", "has_code"}
)
"""What of its base class a model may override and still be trained as one of K."""


class FunctionalStack(nn.Module):
    """K models that differ in their weights only, whose forward passes are one, under ``torch.vmap``.

    Weights have the names that they have in one of the models, and an axis K in front.

    Args:
        models: The models; they are copied.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        own = copy.deepcopy(models[0])
        for name, child in own.named_children():
            self.add_module(name, child)
        for name, weight in own.named_parameters(recurse=False):
            self.register_parameter(name, weight)
        stack_weights(self, models)
        # In a tuple, so that it is no submodule: its weights are those of each model in turn.
        self._one = (copy.deepcopy(models[0]),)
        self._weights: dict[str, Tensor] = dict(self.named_parameters())

    def train(self, mode: bool = True) -> "FunctionalStack":
        """Set whether the models are in training."""
        super().train(mode)
        self._one[0].train(mode)
        return self

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The predictions ``[K batch ...]`` for inputs ``[K batch ...]``."""

        def predict(weights: dict[str, Tensor], inputs: Tensor, lengths: Tensor | None) -> Any:
            return torch.func.functional_call(self._one[0], weights, (inputs, lengths))

        along = (0, 0, None if lengths is None else 0)
        found: Tensor = torch.vmap(predict, along, randomness="error")(self._weights, inputs, lengths)
        return found


@torch.no_grad()
def stack_weights(stack: nn.Module, models: Sequence[nn.Module]) -> None:
    """Give each weight of a module, named as in the models, those of all of them, ``[K ...]``."""
    every = [dict(model.named_parameters()) for model in models]
    for name, weight in stack.named_parameters():
        weight.data = torch.stack([weights[name].detach() for weights in every])


def objection(model: nn.Module, base: type) -> str | None:
    """Why a `FunctionalStack` could not stand for models like this one; None where it is worth a try.

    Args:
        model: One of them, with weights or on the meta device.
        base: The class that calls the model's methods; one of its subclasses may override `OWN` alone.
    """
    for one in type(model).__mro__:
        if issubclass(base, one) or one.__module__.startswith("rnnae_bench.contracts"):
            continue
        for name in vars(one):
            if hasattr(base, name) and name not in OWN and not name.startswith(("__", "_abc_")):
                return f"it has a {name} of its own"
    weights = list(model.parameters())
    if any(isinstance(weight, UninitializedParameter) for weight in weights):
        return "it has weights without a shape, before it has seen an input"
    if not all(weight.requires_grad for weight in weights):
        return "some of its weights are not trained"
    if any(weight.is_complex() for weight in weights):
        return "some of its weights are complex"
    if len({weight.dtype for weight in weights}) > 1:
        return "its weights are of several formats"
    if next(model.buffers(), None) is not None:
        return "it has buffers, in which it may carry something from batch to batch"
    return None
