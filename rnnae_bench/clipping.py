"""Gradient clipping that also tells what it found and what it left, so that nothing is measured twice."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Norms(NamedTuple):
    """2-norms of the gradient around a clipping."""

    before: Float[Tensor, " weights"]
    """Of each weight's gradient, before it."""
    after: Float[Tensor, ""]
    """Of all gradients together, after it."""


def trained_weights(optimizer: Any) -> list[Tensor]:
    """The weights that an optimiser trains, in its order."""
    return [weight for group in optimizer.param_groups for weight in group["params"] if weight.requires_grad]


def gradients(weights: Iterable[Tensor]) -> list[Tensor]:
    """The gradient of each weight; zeros where backpropagation did not come by."""
    return [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]


@torch.no_grad()
def norms(gradients: list[Tensor]) -> Float[Tensor, " weights"]:
    """The 2-norm of each gradient."""
    # One fused call for all tensors; torch.nn.utils.clip_grad_norm_ rests on the same one.
    return torch.stack(torch._foreach_norm(gradients))


@torch.no_grad()
def clip(gradients: list[Tensor], largest: float, by: Literal["norm", "value"]) -> Norms:
    """Clip gradients in place, to the same bits as ``torch.nn.utils.clip_grad_norm_`` or ``clip_grad_value_``.

    Args:
        gradients: What to clip.
        largest: The largest global 2-norm (Pascanu et al. 2013) or absolute value allowed; 0 leaves all as it is.
        by: Which of the two is bounded.

    Returns:
        The norms before and after. After clipping by norm, which scales all gradients by one factor, theirs is the norm
        before it times that factor.
    """
    before = norms(gradients)
    if not largest:
        return Norms(before, torch.linalg.vector_norm(before))
    if by == "value":
        torch._foreach_clamp_min_(gradients, -largest)
        torch._foreach_clamp_max_(gradients, largest)
        return Norms(before, torch.linalg.vector_norm(norms(gradients)))
    norm = torch.linalg.vector_norm(before)
    factor = (largest / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, factor)
    return Norms(before, norm * factor)


class Clipping:
    """Clips the gradients of an optimiser's weights, and keeps the norms.

    Args:
        largest: As for `clip`.
        by: As for `clip`.
    """

    def __init__(self, largest: float, by: Literal["norm", "value"]) -> None:
        self.largest: float = largest
        self.by: Literal["norm", "value"] = by
        self.norms: Norms | None = None
        """Of the last clipping, weights in the order of `trained_weights`."""
        self._optimizer: Any = None
        self._weights: list[Tensor] = []

    def __call__(self, optimizer: Any) -> None:
        """Clip. The weights are those that the optimiser trained when it first came here."""
        if optimizer is not self._optimizer:
            self._optimizer, self._weights = optimizer, trained_weights(optimizer)
        self.norms = clip(gradients(self._weights), self.largest, self.by)
