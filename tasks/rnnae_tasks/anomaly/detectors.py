"""Detectors that need no network: each is fitted to the training rows, and scores others, higher where less normal."""

import numpy as np
from jaxtyping import Float64

NEIGHBOURS = 5
KEPT = 0.95
"""The share of the variance that `principal_components` keep where nobody says how many they are."""
NOTHING = 1e-6
FREQUENCIES = 400
"""Frequencies at which `sine_fit` tries."""


def principal_components(
    train: Float64[np.ndarray, "train features"], rows: Float64[np.ndarray, "row features"], components: int | None
) -> Float64[np.ndarray, " row"]:
    """The mean squared error of the reconstruction from so many principal components: the best linear autoencoder's.

    Source: Baldi & Hornik (1989), Neural networks and principal component analysis, Neural Networks 2(1).
    """
    from sklearn.decomposition import PCA

    kept = KEPT if components is None else min(components, *train.shape)
    fitted = PCA(kept, svd_solver="full").fit(train)
    return ((rows - fitted.inverse_transform(fitted.transform(rows))) ** 2).mean(1)


def mahalanobis(
    train: Float64[np.ndarray, "train features"], rows: Float64[np.ndarray, "row features"]
) -> Float64[np.ndarray, " row"]:
    """The squared Mahalanobis distance from the mean: how improbable a row is if all were one Gaussian.

    Directions in which the training rows hardly vary, by less than `NOTHING` of the largest variance, are left out.
    """
    mean = train.mean(0)
    precision = np.linalg.pinv(np.cov(train.T), rcond=NOTHING, hermitian=True)
    return np.einsum("ij,jk,ik->i", rows - mean, precision, rows - mean)


def isolation_forest(
    train: Float64[np.ndarray, "train features"], rows: Float64[np.ndarray, "row features"]
) -> Float64[np.ndarray, " row"]:
    """How few random cuts set a row apart: scikit-learn's forest of 100 trees of 256 rows, its random state 0.

    Source: Liu, Ting & Zhou (2008), Isolation forest, ICDM.
    """
    from sklearn.ensemble import IsolationForest

    return -IsolationForest(random_state=0).fit(train).score_samples(rows)


def nearest_neighbours(
    train: Float64[np.ndarray, "train features"], rows: Float64[np.ndarray, "row features"]
) -> Float64[np.ndarray, " row"]:
    """The distance to the fifth-nearest training row.

    Source: Ramaswamy, Rastogi & Shim (2000), Efficient algorithms for mining outliers from large data sets, SIGMOD.
    """
    from sklearn.neighbors import NearestNeighbors

    fitted = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(train))).fit(train)
    return fitted.kneighbors(rows)[0][:, -1]


def sine_fit(windows: Float64[np.ndarray, "row time"], slowest: float, fastest: float) -> Float64[np.ndarray, " row"]:
    """The mean squared error of the sine that fits each window best, of any amplitude and phase.

    At one frequency that is what a projection on its sine and cosine leaves; the best of `FREQUENCIES` is taken. It is
    what an autoencoder with a code of three numbers would leave that knows all sines.

    Args:
        windows: What is to be fitted.
        slowest: The lowest frequency, in radians per step.
        fastest: The highest.
    """
    explained = np.zeros(len(windows))
    for frequency in np.linspace(slowest, fastest, FREQUENCIES):
        angles = frequency * np.arange(windows.shape[1])
        waves = np.linalg.qr(np.stack((np.sin(angles), np.cos(angles)), axis=1)).Q
        explained = np.maximum(explained, ((windows @ waves) ** 2).sum(1))
    return ((windows**2).sum(1) - explained) / windows.shape[1]
