"""Tensors with a logarithmic scale of their own for every row, so that nothing underflows however small it gets."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Scaled:
    """Vectors ``mantissa * exp(log_scale)``; a vector of zeros has the scale -inf."""

    mantissa: Float[Tensor, "*rows features"]
    log_scale: Float[Tensor, "*rows"]

    @classmethod
    def unscaled(cls, vectors: Float[Tensor, "*rows features"]) -> "Scaled":
        """The same vectors as they are."""
        return cls(vectors, torch.zeros_like(vectors[..., 0]))

    @classmethod
    def of(cls, vectors: Float[Tensor, "*rows features"]) -> "Scaled":
        """The same vectors, each scaled to a largest component of size 1."""
        return cls.unscaled(vectors).normalized()

    @cached_property
    def log_norm(self) -> Float[Tensor, "*rows"]:
        """Natural logarithm of each vector's 2-norm, in float64; -inf for zero."""
        return torch.linalg.vector_norm(self.mantissa, dim=-1, dtype=torch.float64).log() + self.log_scale

    def normalized(self) -> "Scaled":
        """The same vectors, the largest component of each mantissa brought to size 1."""
        return normalized(self.mantissa, self.log_scale)

    def map(self, mantissa: Float[Tensor, "*rows others"]) -> "Scaled":
        """A linear image of the vectors, already applied to the mantissas, under the same scales."""
        return Scaled(mantissa, self.log_scale)

    def value(self) -> Float[Tensor, "*rows features"]:
        """The vectors as ordinary numbers; what is too small for them becomes zero."""
        return self.mantissa * self.log_scale.exp().unsqueeze(-1)


def normalized(mantissa: Float[Tensor, "*rows features"], log_scale: Float[Tensor, "*rows"]) -> Scaled:
    """The vectors ``mantissa * exp(log_scale)``, the largest component of each mantissa brought to size 1.

    Zero, and what is not finite, stays.
    """
    # Not by the norm: its squares underflow long before the components do.
    largest = mantissa.abs().amax(dim=-1)
    usable = (largest > 0) & largest.isfinite()
    divisor = torch.where(usable, largest, torch.ones_like(largest))
    shift = torch.where(largest > 0, divisor.log(), torch.full_like(largest, -torch.inf))
    return Scaled(mantissa / divisor.unsqueeze(-1), log_scale + shift)


def add(one: Scaled, other: Scaled) -> Scaled:
    """The sum, row by row, with no detour over ordinary numbers."""
    log_scale = torch.maximum(one.log_scale, other.log_scale)
    # -inf less -inf: both are zero, and any finite reference will do.
    reference = log_scale.clamp_min(torch.finfo(log_scale.dtype).min)
    mantissa = one.mantissa * (one.log_scale - reference).exp().unsqueeze(-1) + other.mantissa * (
        other.log_scale - reference
    ).exp().unsqueeze(-1)
    return normalized(mantissa, log_scale)
