"""Principal components: the best that a linear code of a given size can do.

Of all affine maps through k numbers, the projection onto the k leading principal axes has the least squared error on
the rows that it is fitted to: the sum of the squares of the singular values it leaves out (Eckart & Young 1936, The
approximation of one matrix by another of lower rank, Psychometrika 1(3)). A linear autoencoder that is trained to the
end finds the same subspace (Baldi & Hornik 1989, Neural networks and principal component analysis, Neural Networks 2).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class PrincipalComponents(NamedTuple):
    """A centre and orthonormal axes, the most important first."""

    centre: Float[Tensor, " features"]
    axes: Float[Tensor, "features code"]

    def encode(self, rows: Float[Tensor, "row *axes"]) -> Float[Tensor, "row code"]:
        """Each row's coordinates along the axes, in float64."""
        return (rows.flatten(1).double() - self.centre) @ self.axes

    def reconstruct(self, rows: Float[Tensor, "row *axes"]) -> Float[Tensor, "row *axes"]:
        """What each row's coordinates stand for, in the form and precision of the rows."""
        return (self.centre + self.encode(rows) @ self.axes.T).to(rows.dtype).reshape(rows.shape)


def fit_pca(rows: Float[Tensor, "row *axes"], size: int) -> PrincipalComponents:
    """The `size` leading principal components of some rows, by a singular value decomposition in float64."""
    pixels = rows.flatten(1).double()
    centre = pixels.mean(0)
    return PrincipalComponents(centre, torch.linalg.svd(pixels - centre, full_matrices=False).Vh[:size].T)


def pca_of_covariance(covariance: Float[Tensor, "features features"], size: int) -> PrincipalComponents:
    """The `size` leading principal components of a distribution with mean 0 (its Karhunen-Loève transform)."""
    vectors = torch.linalg.eigh(covariance.double()).eigenvectors.flip(1)
    return PrincipalComponents(vectors.new_zeros(len(vectors)), vectors[:, :size])
