"""What codes that were learned without labels know of the labels: by a linear probe, and by their clusters."""

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor
from torchmetrics import Metric


def linear_probe(
    codes: Float[ndarray, "labelled code"], labels: Int[ndarray, " labelled"], others: Float[ndarray, "other code"]
) -> Int[ndarray, " other"]:
    """The labels that a multinomial logistic regression on labelled codes gives other codes.

    Each number of the codes is brought to mean 0 and variance 1 on the labelled rows, so that their scale does not
    count (one that is constant there becomes 0); the penalty is half the square of the weights to a loss that is the
    sum over rows (C = 1).

    Source: Alain & Bengio (2016), Understanding intermediate layers using linear classifier probes, arXiv 1610.01644.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(labels)) == 1:
        return np.full(len(others), labels[0])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, tol=1e-6, max_iter=2000))
    return probe.fit(codes, labels).predict(others)


def clustering_accuracy(clusters: Int[ndarray, " row"], labels: Int[ndarray, " row"]) -> float:
    """The share of rows whose cluster stands for their label, under the best one-to-one assignment of the two.

    Sources: Kuhn (1955), The Hungarian method for the assignment problem; Xie, Girshick & Farhadi (2016), Unsupervised
    deep embedding for clustering analysis, ICML, equation 10.
    """
    from scipy.optimize import linear_sum_assignment

    together = np.zeros((clusters.max() + 1, labels.max() + 1))
    np.add.at(together, (clusters, labels), 1)
    return float(together[linear_sum_assignment(together, maximize=True)].sum() / len(labels))


class CodeKnowledge(Metric):
    """What the codes of a set know of its labels, by name.

    ``probe_accuracy``: of `linear_probe`, fitted to the rows that are labelled, on those that are scored.
    ``cluster_accuracy``: `clustering_accuracy` of as many clusters of the scored rows as there are labels, by k-means
    of the codes as they are (the best of ten beginnings, of a fixed seed). ``cluster_information``: the normalised
    mutual information of these clusters and the labels. Rows may come in any order. Of codes that are not finite all
    three are no number.

    The targets are three numbers a row: its label, from 0 on; 1 where the row is scored, 0 where it is labelled; and
    its number in the set, so that the clusters do not begin elsewhere where devices give the rows in another order.
    """

    full_state_update = False
    codes: list[Tensor]
    targets: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("codes", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, prediction: Float[Tensor, "batch code"], targets: Int[Tensor, "batch 3"]) -> None:
        """Add the codes of a batch."""
        self.codes.append(prediction)
        self.targets.append(targets)

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """All three."""
        codes, targets = (
            torch.cat([*each]).cpu().numpy() if isinstance(each, list) else each.cpu().numpy()
            for each in (self.codes, self.targets)
        )
        order = np.argsort(targets[:, 2])
        found = _knowledge(codes[order].astype(np.float64), targets[order, 0], targets[order, 1] == 1)
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}


def _knowledge(codes: Float[ndarray, "row code"], labels: Int[ndarray, " row"], scored: ndarray) -> dict[str, float]:
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score

    if not np.isfinite(codes).all():
        return dict.fromkeys(("probe_accuracy", "cluster_accuracy", "cluster_information"), float("nan"))
    truth = labels[scored]
    count = min(labels.max() + 1, len(np.unique(codes[scored], axis=0)))
    clusters = KMeans(count, n_init=10, random_state=0).fit_predict(codes[scored])
    return {
        "probe_accuracy": float((linear_probe(codes[~scored], labels[~scored], codes[scored]) == truth).mean()),
        "cluster_accuracy": clustering_accuracy(clusters, truth),
        "cluster_information": float(normalized_mutual_info_score(truth, clusters)),
    }
