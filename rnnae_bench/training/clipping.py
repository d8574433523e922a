"""Gradient clipping that also tells what it found and what it left, so that nothing is measured twice.

A sum of squares leaves the gradients' format long before the gradients do: in single precision that of 1e-25 is 0, and
that of 1e20 infinite. Where that may have been, the squares are added up in float64. (Double precision keeps its own
limits: norms from 1e-154 to 1e154.)
"""

from collections.abc import Callable, Iterable
from functools import partial
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
    """The gradient of each weight; zeros where backpropagation did not come by; of each the `entries`."""
    return [entries(torch.zeros_like(weight) if weight.grad is None else weight.grad) for weight in weights]


def entries(gradient: Tensor) -> Tensor:
    """A gradient's components: of a sparse one those that it holds, of complex ones real and imaginary parts.

    They lie in its own memory, once it is coalesced and no conjugation waits.
    """
    held = gradient.coalesce().values() if gradient.is_sparse else gradient
    return torch.view_as_real(held.resolve_conj()) if held.is_complex() else held


def within_range(
    quick: Float[Tensor, "*axes"], format: torch.dtype, careful: Callable[[], Float[Tensor, "*axes"]]
) -> Float[Tensor, "*axes"]:
    """Norms whose squares surely stayed within a format as they are, to the bit, and all others taken again.

    Args:
        quick: Norms on the CPU, by sums of squares in the format.
        format: That of the gradients.
        careful: Gives the same norms by sums in float64; not called where it is not needed.
    """
    limits = torch.finfo(format)
    low, high = limits.tiny**0.5 * 1e6, limits.max**0.5 * 1e-3
    if all(low < one < high for one in quick.flatten().tolist()):
        return quick
    return torch.where((quick > low) & (quick < high), quick, careful())


@torch.no_grad()
def norms(gradients: list[Tensor]) -> Float[Tensor, " weights"]:
    """The 2-norm of each gradient; in float64 where one needs it, and on a GPU, where looking would have to wait."""
    # One fused call for all tensors; torch.nn.utils.clip_grad_norm_ rests on the same one.
    careful = partial(_stacked_norms, gradients, torch.float64)
    return within_range(_stacked_norms(gradients), gradients[0].dtype, careful) if gradients[0].is_cpu else careful()


def _stacked_norms(gradients: list[Tensor], dtype: torch.dtype | None = None) -> Float[Tensor, " weights"]:
    return torch.stack(torch._foreach_norm(gradients, 2, dtype))


def together(norms: Float[Tensor, "*models weights"], format: torch.dtype) -> Float[Tensor, "*models"]:
    """The 2-norm of all gradients together, from that of each and their format."""
    careful = partial(torch.linalg.vector_norm, norms, dim=-1, dtype=torch.float64)
    if not norms.is_cpu:
        return careful()
    return within_range(torch.linalg.vector_norm(norms.to(format), dim=-1), format, careful)


@torch.no_grad()
def clip(gradients: list[Tensor], largest: float, by: Literal["norm", "value"]) -> Norms:
    """Clip gradients in place, as ``torch.nn.utils.clip_grad_norm_`` or ``clip_grad_value_`` do.

    On a CPU to the same bits, but where PyTorch's norm leaves the gradients' format and is 0 or not finite.

    Args:
        gradients: What to clip.
        largest: The largest global 2-norm (Pascanu et al. 2013) or absolute value allowed; 0 leaves all as it is.
        by: Which of the two is bounded.

    Returns:
        The norms before and after. After clipping by norm, which scales all gradients by one factor, theirs is the norm
        before it times that factor.
    """
    before, format = norms(gradients), gradients[0].dtype
    if not largest:
        return Norms(before, together(before, format))
    if by == "value":
        torch._foreach_clamp_min_(gradients, -largest)
        torch._foreach_clamp_max_(gradients, largest)
        return Norms(before, together(norms(gradients), format))
    norm = together(before, format)
    factor = (largest / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, factor.to(format))
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
        for weight in self._weights:
            # So that what clips its entries clips it.
            if weight.grad is not None and weight.grad.is_sparse:
                weight.grad = weight.grad.coalesce()
            elif weight.grad is not None and weight.grad.is_conj():
                weight.grad = weight.grad.resolve_conj()
        self.norms = clip(gradients(self._weights), self.largest, self.by)
