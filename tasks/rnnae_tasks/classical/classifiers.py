"""Classifiers of rows of a fixed length, fitted by scikit-learn; none is a network, and none draws random numbers.

Each is fitted to training rows and answers others with scores, the highest of which is its class. The two that are
fitted step by step minimise a strictly convex objective to a tight tolerance, so that their answers are those of its
one optimum, not of a solver.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot


def logistic_regression(
    rows: Float[Tensor, "row number"],
    labels: Int[Tensor, " row"],
    asked: Float[Tensor, "other number"],
    strength: float = 1.0,
) -> Float[Tensor, "other class"]:
    """Log-probabilities of multinomial logistic regression.

    Its weights W and biases b minimise ``strength * sum of cross-entropies + |W|**2 / 2``.

    Args:
        rows: To fit it to.
        labels: Their classes.
        asked: The rows to answer.
        strength: Weight of the data against the penalty (scikit-learn's C).
    """
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=strength, tol=1e-7, max_iter=100_000).fit(_array(rows), labels.numpy())
    return torch.from_numpy(fitted.predict_log_proba(_array(asked))).float()


def nearest_neighbour(
    rows: Float[Tensor, "row number"], labels: Int[Tensor, " row"], asked: Float[Tensor, "other number"]
) -> Float[Tensor, "other class"]:
    """The class of the nearest training row by Euclidean distance: 1 for it, 0 for any other."""
    from sklearn.neighbors import NearestNeighbors

    fitted = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(_array(rows))
    nearest = fitted.kneighbors(_array(asked), return_distance=False)[:, 0]
    return one_hot(labels[torch.from_numpy(nearest)], int(labels.max()) + 1).float()


def support_vectors(
    rows: Float[Tensor, "row number"],
    labels: Int[Tensor, " row"],
    asked: Float[Tensor, "other number"],
    penalty: float = 10.0,
) -> Float[Tensor, "other class"]:
    """Votes of the support vector machines of all pairs of classes, ties broken by their margins.

    The kernel is ``exp(-|a - b|**2 / (numbers * variance))``, of the variance of all numbers in the training rows.

    Args:
        rows: To fit them to.
        labels: Their classes.
        asked: The rows to answer.
        penalty: Of a row on the wrong side of its margin (scikit-learn's C).
    """
    from sklearn.svm import SVC

    fitted = SVC(C=penalty, gamma="scale", tol=1e-6, cache_size=500).fit(_array(rows), labels.numpy())
    return torch.from_numpy(fitted.decision_function(_array(asked))).float()


def _array(rows: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    return rows.double().numpy()
