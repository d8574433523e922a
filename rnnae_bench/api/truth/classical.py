"""Rows of classical methods: the tasks' baselines, and detectors on drawn data."""

import numpy as np

from rnnae_bench.plugins.registry import tasks


def airline(name: str) -> list[float]:
    """The seasonal naive forecast of three years at once."""
    task = tasks().get("forecast").load()("airline", horizon=36, validation=36, test=36)
    return [task.baseline("seasonal_naive")["mape"]]


def nearest_neighbour(name: str) -> list[float]:
    """The baseline of the data set."""
    variant = name.removeprefix("nearest-").replace("italy", "standard")
    task = tasks().get("ucr").load().from_variant(variant)
    return [task.baseline("nearest")["accuracy"]]


def mnist1d_logistic(name: str) -> list[float]:
    """The baseline of the task."""
    return [tasks().get("mnist1d").load().from_variant("standard").baseline("logistic")["accuracy"]]


def tumours(name: str) -> list[float]:
    """Benign tumours and 21 malignant ones, drawn again and again, since which PyOD's data hold is not told.

    Of each draw 60 % are for training, anomalies among them, standardised; the rest is scored.
    """
    from sklearn.datasets import load_breast_cancer
    from sklearn.decomposition import PCA
    from sklearn.ensemble import IsolationForest
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    content, found = load_breast_cancer(), []
    benign, malignant = content.data[content.target == 1], content.data[content.target == 0]
    labels = np.repeat([0, 1], [len(benign), 21])
    for draw in range(12):
        numbers = np.random.RandomState(draw)
        rows = np.concatenate((benign, malignant[numbers.choice(len(malignant), 21, replace=False)]))
        train, test, _, wanted = train_test_split(rows, labels, test_size=0.4, random_state=numbers)
        scaler = StandardScaler().fit(train)
        train, test = scaler.transform(train), scaler.transform(test)
        if name == "tumours-forest":
            scores = -IsolationForest(random_state=draw).fit(train).score_samples(test)
        else:
            # Distances to all eigenvectors, each over its share of the variance (Shyu et al. 2003), as PyOD does.
            components = PCA().fit(train)
            apart = np.linalg.norm(test[:, None] - components.components_, axis=-1)
            scores = (apart / components.explained_variance_ratio_).sum(1)
        found.append(roc_auc_score(wanted, scores))
    return [float(np.mean(found))]
