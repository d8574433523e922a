"""The best affine denoiser, in closed form: what can be done without a network.

Write x for a clean image, y for its noisy copy, m(x) and v(x) for the mean and variance of y's pixels over the
noise. Pixels are corrupted independently, so E[y y'] = m m' + diag(v), and the affine map that minimises the
squared error over the training images *and all noise* solves, with m and x centred over the images,

    (sum m m' + diag(sum v)) W = sum m x'.

This is ridge regression from m(x) to x in which the noise itself is the penalty, pixel by pixel, so there is
none to tune (Bishop 1995, Training with noise is equivalent to Tikhonov regularization; Chen et al. 2012,
Marginalized denoising autoencoders).
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


def noisy_moments(clean: Float[Tensor, "*axes"], sigma: float) -> tuple[Float[Tensor, "*axes"], Float[Tensor, "*axes"]]:
    """Mean and variance of ``clip(clean + sigma * e, 0, 1)`` for standard normal e, element by element.

    With a = -x/sigma and b = (1-x)/sigma the bounds in units of the noise, Phi and phi the normal distribution
    and density::

        E[y]   = x (Phi(b) - Phi(a)) + sigma (phi(a) - phi(b)) + 1 - Phi(b)
        E[y^2] = (x^2 + sigma^2) (Phi(b) - Phi(a)) + 2 x sigma (phi(a) - phi(b))
                 + sigma^2 (a phi(a) - b phi(b)) + 1 - Phi(b)
    """
    low, high = -clean / sigma, (1 - clean) / sigma
    density_low, density_high = _normal_density(low), _normal_density(high)
    inside = torch.special.ndtr(high) - torch.special.ndtr(low)
    above = torch.special.ndtr(-high)
    slope = sigma * (density_low - density_high)
    mean = clean * inside + slope + above
    square = (clean**2 + sigma**2) * inside + 2 * clean * slope + above
    square = square + sigma**2 * (low * density_low - high * density_high)
    return mean, square - mean**2


def _normal_density(z: Tensor) -> Tensor:
    return torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


class AffineDenoiser(NamedTuple):
    """An affine map from noisy to clean pixels, cut to the range of pixels."""

    weights: Float[Tensor, "pixel pixel"]
    intercept: Float[Tensor, " pixel"]

    def __call__(self, noisy: Float[Tensor, "batch channel height width"]) -> Tensor:
        """The denoised images, of the same shape."""
        pixels = noisy.flatten(1).to(self.weights.dtype) @ self.weights + self.intercept
        return pixels.clamp(0, 1).to(noisy.dtype).reshape(noisy.shape)


def fit_ridge(clean: Float[Tensor, "image channel height width"], sigma: float) -> AffineDenoiser:
    """The affine denoiser with the least expected squared error on these images under noise `sigma`."""
    pixels = clean.flatten(1).double()
    mean, variance = noisy_moments(pixels, sigma)
    noisy_centre, clean_centre = mean.mean(0), pixels.mean(0)
    centred = mean - noisy_centre
    gram = centred.T @ centred + torch.diag(variance.sum(0))
    weights = torch.linalg.solve(gram, centred.T @ (pixels - clean_centre))
    return AffineDenoiser(weights, clean_centre - noisy_centre @ weights)
