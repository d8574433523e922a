"""What states hold of the inputs that they came from: capacities, ranks, and bits. Arrays in, numbers out.

The capacity for a target is the share of its variance that an affine readout of the states gives (Dambre, Verstraeten,
Schrauwen & Massar 2012, Information processing capacity of dynamical systems, Scientific Reports 2, 514). Over all
targets that are orthogonal under independent inputs it adds up to the number of linearly independent states at most,
and to that number where the states have forgotten how they began. Those for past inputs themselves are the linear
memory capacity (Jaeger 2001, Short term memory in echo state networks, GMD report 152).
"""

import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.polynomial import legendre
from scipy import stats

ALPHA = 1e-4
"""A capacity that chance alone reaches so often counts as 0."""

TOLERANCE = 0.01
"""Of the largest singular value of states: what has less is no direction of its own, where ranks are counted."""


class Function(NamedTuple):
    """One of the functions of an input that targets are products of."""

    variable: int
    """Which number of the input: a product has one function at most of each at each lag."""
    degree: int


Term = tuple[tuple[int, int], ...]
"""A product: pairs of a lag and the place of a function, the smallest lag first."""


def legendre_functions(
    inputs: Float[ndarray, "*axes variables"], degree: int
) -> tuple[Float[ndarray, "*axes functions"], list[Function]]:
    """Polynomials of each number of an input that is uniform in [-1, 1], up to a degree: orthonormal, of mean 0."""
    values = legendre.legvander(inputs, degree)[..., 1:] * np.sqrt(2 * np.arange(1, degree + 1) + 1)
    functions = [Function(variable, power) for variable in range(inputs.shape[-1]) for power in range(1, degree + 1)]
    return values.reshape(*inputs.shape[:-1], -1), functions


def contrast_functions(
    symbols: Int[ndarray, "*axes"], count: int
) -> tuple[Float[ndarray, "*axes functions"], list[Function]]:
    """The count - 1 contrasts of a symbol that is uniform: orthonormal, of mean 0, each of degree 1 (Helmert)."""
    matrix = np.zeros((count, count - 1))
    for place in range(1, count):
        matrix[:place, place - 1], matrix[place, place - 1] = 1.0, -place
    matrix *= np.sqrt(count / np.square(matrix).sum(0))
    return matrix[symbols], [Function(0, 1)] * (count - 1)


def terms(functions: Sequence[Function], degree: int, lags: int, most: int) -> list[Term]:
    """Products of functions at several lags whose degrees add up to `degree`, those of recent inputs first.

    Args:
        functions: Of one input.
        degree: Of the products.
        lags: Lags 0 to lags - 1 are used.
        most: Products at most.
    """

    def extended(last: tuple[int, int] | None, left: int, lag: int) -> Iterator[Term]:
        """Products whose largest lag is at most `lag`, and that come after `last` among the places."""
        if not left:
            yield ()
            return
        for at in range(lag + 1):
            for place, function in enumerate(functions):
                if function.degree > left or (last is not None and (at, function.variable) >= last):
                    continue
                for rest in extended((at, function.variable), left - function.degree, at):
                    yield (*rest, (at, place))

    def in_order() -> Iterator[Term]:
        for lag in range(lags):
            yield from (one for one in extended(None, degree, lag) if one[-1][0] == lag)

    return list(islice(in_order(), most))


def products(
    values: Float[ndarray, "rows time functions"], chosen: Sequence[Term], start: int
) -> Float[ndarray, "samples terms"]:
    """The products at all steps from `start` on, row by row."""
    rows, time, _ = values.shape
    found = np.ones((rows, time - start, len(chosen)))
    for column, term in enumerate(chosen):
        for lag, place in term:
            found[:, :, column] *= values[:, start - lag : time - lag, place]
    return found.reshape(-1, len(chosen))


class Readout:
    """States as a basis in which affine readouts are orthogonal projections.

    Args:
        states: A sample a row.
    """

    def __init__(self, states: Float[ndarray, "samples units"]) -> None:
        left, singular, _ = np.linalg.svd(states - states.mean(0), full_matrices=False)
        # As in `numpy.linalg.matrix_rank`.
        kept = singular > singular.max(initial=0.0) * max(states.shape) * np.finfo(float).eps
        self._basis = left[:, kept]

    @property
    def rank(self) -> int:
        """Linearly independent states."""
        return int(self._basis.shape[1])

    def capacities(self, targets: Float[ndarray, "samples targets"]) -> Float[ndarray, " targets"]:
        """The share of each target's variance that the best affine readout gives, from 0 to 1.

        Corrected for what a readout of so many states explains of any target by chance (adjusted R squared), and 0
        where R squared is no larger than that of an independent target in all but `ALPHA` of cases.
        """
        samples, rank = self._basis.shape
        centred = targets - targets.mean(0)
        share = np.square(self._basis.T @ centred).sum(0) / np.square(centred).sum(0)
        free = samples - rank - 1
        adjusted = 1 - (1 - share) * (samples - 1) / free
        chance = stats.beta.isf(ALPHA, rank / 2, free / 2) if rank else np.inf
        return np.where(share > chance, np.clip(adjusted, 0.0, 1.0), 0.0)


def ranks_of_states(apart: Float[ndarray, "streams units"], alike: Float[ndarray, "streams units"]) -> tuple[int, int]:
    """How many directions states take after several input streams, their means aside: kernel and generalisation rank.

    By Legenstein & Maass (2007), Edge of chaos and prediction of computational performance for neural circuit models,
    Neural Networks 20, sections 4 and 5. Directions of less than `TOLERANCE` of the largest are not counted.

    Args:
        apart: After streams that have nothing in common.
        alike: After streams that end in the same inputs.
    """
    singular = [np.linalg.svd(one - one.mean(0), compute_uv=False) for one in (apart, alike)]
    least = TOLERANCE * singular[0].max(initial=0.0)
    kernel, generalisation = (int((one > least).sum()) for one in singular)
    return kernel, generalisation


def entropy(symbols: Int[ndarray, " samples"]) -> float:
    """The entropy of the shares of symbols, in bits.

    >>> entropy(np.array([0, 0, 1, 2])), entropy(np.array([7, 7]))
    (1.5, 0.0)
    """
    shares = np.unique(symbols, return_counts=True)[1] / len(symbols)
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def bits_known(
    fitted: tuple[Float[ndarray, "samples units"], Int[ndarray, " samples"]],
    held_out: tuple[Float[ndarray, "others units"], Int[ndarray, " others"]],
) -> float:
    """What states tell of a symbol to a linear classifier, in bits: a lower bound on their mutual information.

    The entropy of the held-out symbols, less the cross-entropy of a logistic regression on them that was fitted on
    other rows; 0 where that is worse than nothing.

    Args:
        fitted: States and symbols on which the classifier is fitted.
        held_out: Those on which it is evaluated.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    (states, symbols), (others, asked) = fitted, held_out
    known = np.unique(symbols)
    if len(known) < 2:
        return 0.0
    scaler = StandardScaler().fit(states)
    with warnings.catch_warnings():
        # Any classifier gives a lower bound, one that is not quite the best too.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier = LogisticRegression(max_iter=200, tol=1e-3).fit(scaler.transform(states), symbols)
    chances = classifier.predict_proba(scaler.transform(others))
    # A symbol that was not among the fitted has the chance of one that came once.
    chances = chances * len(symbols) / (len(symbols) + 1)
    place = np.searchsorted(known, asked).clip(max=len(known) - 1)
    chance = np.where(known[place] == asked, chances[np.arange(len(asked)), place], 1 / (len(symbols) + 1))
    return max(0.0, entropy(asked) + float(np.log2(np.maximum(chance, 1e-12)).mean()))
