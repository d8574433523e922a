"""Regularised least squares with a Gaussian kernel, both of its settings chosen by leaving one row out."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

NARROWNESS = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Those tried: of the kernel, in units of 1 / the mean squared distance of two training rows."""
RIDGE = tuple(10.0**exponent for exponent in range(-6, 2))
"""Penalties tried."""


@dataclass(frozen=True)
class KernelRidge:
    """``f(x) = sum_i c_i exp(-gamma |x - x_i|**2)`` with ``(K + ridge I) c = y``, to whatever targets y.

    Of `NARROWNESS` and `RIDGE` it takes the pair with the least squared error when each training row is answered by a
    fit to all others. That follows from one fit: the row's error is ``c_i / [(K + ridge I)^-1]_ii``.

    Source: Rifkin & Lippert (2007), Notes on regularized least squares, MIT-CSAIL-TR-2007-025.
    """

    rows: Float[Tensor, "row number"]
    gamma: float
    ridge: float
    coefficients: Float[Tensor, "row target"]

    @classmethod
    def fitted(cls, rows: Float[Tensor, "row number"], targets: Float[Tensor, "row target"]) -> "KernelRidge":
        """The fit to training rows."""
        squares = _squares(rows, rows)
        typical = squares.sum() / (len(rows) * (len(rows) - 1))
        found = []
        for narrowness in NARROWNESS:
            gamma = (narrowness / typical).item()
            values, vectors = torch.linalg.eigh((-gamma * squares).exp())
            for ridge in RIDGE:
                inverse = (vectors / (values + ridge)) @ vectors.T
                coefficients = inverse @ targets
                error = (coefficients / inverse.diagonal().unsqueeze(1)).square().mean().item()
                found.append((error, cls(rows, gamma, ridge, coefficients)))
        return min(found, key=lambda one: one[0])[1]

    def __call__(self, rows: Float[Tensor, "other number"]) -> Float[Tensor, "other target"]:
        """What it answers to other rows."""
        return (-self.gamma * _squares(rows, self.rows)).exp() @ self.coefficients


def _squares(rows: Float[Tensor, "row number"], others: Float[Tensor, "other number"]) -> Float[Tensor, "row other"]:
    return torch.cdist(rows, others, compute_mode="donot_use_mm_for_euclid_dist").square()
