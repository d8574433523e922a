"""The series' covariance, and the conditional mean given what is observed of it: the proven optimum."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def autocovariance(steps: int, period: float, memory: float) -> Float[Tensor, " steps"]:
    """Of the stationary second-order autoregression of variance 1 that swings with `period` and forgets in `memory`.

    With the poles ``r exp(+-iw)``, r = exp(-1 / memory) and w = 2 pi / period,

        x(t) = 2 r cos(w) x(t-1) - r^2 x(t-2) + e(t),
        E[x(t) x(t-k)] = r^k (cos(w k) + cot(w) (1 - r^2) / (1 + r^2) sin(w k)).
    """
    lag, w, r = torch.arange(steps, dtype=torch.float64), 2 * math.pi / period, math.exp(-1 / memory)
    skew = (1 - r * r) / (1 + r * r) / math.tan(w)
    return r**lag * ((w * lag).cos() + skew * (w * lag).sin())


def covariance(steps: int, period: float, memory: float) -> Float[Tensor, "steps steps"]:
    """The matrix of `autocovariance`."""
    step = torch.arange(steps)
    return autocovariance(steps, period, memory)[(step[:, None] - step).abs()]


def conditional_mean(
    covariance: Float[Tensor, "time time"],
    noise: float,
    values: Float[Tensor, "batch time"],
    observed: Bool[Tensor, "batch time"],
) -> Float[Tensor, "batch time"]:
    """The mean of a Gaussian series of mean 0 given noisy values of some of its steps, by dense algebra.

    It is ``K_o (K_oo + noise^2 I)^-1 y_o``, where o are the observed steps; the rows and columns of all others are
    replaced by those of the identity, so that all rows of the batch have matrices of one size.
    """
    shown = observed.double()
    pairs = shown.unsqueeze(2) * shown.unsqueeze(1)
    matrix = pairs * covariance + torch.diag_embed(noise**2 * shown + (1 - shown))
    factor = torch.linalg.cholesky(matrix)
    weights = torch.cholesky_solve((values.double() * shown).unsqueeze(2), factor)
    return (covariance @ (weights * shown.unsqueeze(2))).squeeze(2)
