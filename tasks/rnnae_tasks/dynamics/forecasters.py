"""What forecasts a system without gradient descent: regressions on its trajectories, fed with their own output."""

import math
from collections.abc import Callable, Iterable
from itertools import combinations_with_replacement

import torch
from jaxtyping import Float
from torch import Tensor

RIDGE = 2.5e-6
"""What is added to the diagonal of the features' Gram matrix: that of Gauthier et al. (2021) for Lorenz63."""


def ridge(
    blocks: Iterable[tuple[Float[Tensor, "rows features"], Float[Tensor, "rows values"]]],
) -> Float[Tensor, "features values"]:
    """The weights W that minimise ``|X W - Y|^2 + RIDGE |W|^2``, where X and Y come in blocks of rows.

    By a QR decomposition that takes in one block after the other: smooth series have Gram matrices so near to singular
    that their solutions would be of few digits.
    """
    triangle, features = torch.empty(0), 0
    for x, y in blocks:
        if not features:
            features = x.shape[1]
            triangle = math.sqrt(RIDGE) * torch.eye(features, features + y.shape[1], dtype=x.dtype)
        triangle = torch.linalg.qr(torch.cat((triangle, torch.cat((x, y), dim=1))), mode="r").R
    square, moment = triangle[:features, :features], triangle[:features, features:]
    return torch.linalg.solve_triangular(square, moment, upper=True)


def continued(
    forecaster: Callable[[Tensor], Tensor], window: Float[Tensor, "batch time values"], steps: int
) -> Float[Tensor, "batch steps values"]:
    """What a forecaster says of the next steps, its own output fed back.

    Args:
        forecaster: From a window ``[batch time values]`` to the next sample ``[batch values]``.
        window: Where it begins.
        steps: How many.
    """
    answers: list[Tensor] = []
    for _ in range(steps):
        answers.append(forecaster(window))
        window = torch.cat((window[:, 1:], answers[-1].unsqueeze(1)), dim=1)
    return torch.stack(answers, dim=1)


class LinearAutoregression:
    """The next sample as a linear map of the last `order`, by ridge regression.

    Args:
        series: Training trajectories, standardised; there is no intercept.
        order: Samples that it looks back.
    """

    def __init__(self, series: Float[Tensor, "rows samples values"], order: int) -> None:
        self.order = order
        windows = (one.unfold(0, order + 1, 1).transpose(1, 2) for one in series)
        self.weights = ridge((rows[:, :-1].flatten(1), rows[:, -1]) for rows in windows)

    def __call__(self, window: Float[Tensor, "batch time values"]) -> Float[Tensor, "batch values"]:
        """The next sample."""
        return window[:, -self.order :].flatten(1) @ self.weights


class NextGenerationReservoir:
    """The step to the next sample as a polynomial of `taps` samples, by ridge regression.

    The features are all monomials, up to the `degree`, of the samples now and `skip`, 2 `skip`, ... steps ago, with 1.

    Source: Gauthier, Bollt, Griffith & Barbosa (2021), Next generation reservoir computing, Nature Communications 12,
    5564 (equations 5 to 7; for Lorenz63 two taps, degree 2 and a ridge of 2.5e-6).

    Args:
        series: Training trajectories, standardised.
        taps: Samples that it sees.
        skip: Steps between two of them.
        degree: Of the polynomial.
    """

    def __init__(self, series: Float[Tensor, "rows samples values"], taps: int, skip: int, degree: int) -> None:
        self.taps, self.skip, self.degree = taps, skip, degree
        reach = (taps - 1) * skip + 1
        self.weights = ridge(
            (self.features(one[:-1].unfold(0, reach, 1).transpose(1, 2)), one[reach - 1 :].diff(dim=0))
            for one in series
        )

    def features(self, window: Float[Tensor, "batch time values"]) -> Float[Tensor, "batch features"]:
        """The monomials."""
        linear = window.flip(1)[:, :: self.skip][:, : self.taps].flatten(1)
        monomials = [linear.new_ones(len(linear), 1)]
        for degree in range(1, self.degree + 1):
            chosen = torch.tensor([*combinations_with_replacement(range(linear.shape[1]), degree)])
            monomials.append(linear[:, chosen].prod(dim=2))
        return torch.cat(monomials, dim=1)

    def __call__(self, window: Float[Tensor, "batch time values"]) -> Float[Tensor, "batch values"]:
        """The next sample."""
        return window[:, -1] + self.features(window) @ self.weights
