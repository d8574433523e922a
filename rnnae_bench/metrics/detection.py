"""Metrics of detection: each row has a score, higher where it looks less normal, and a label, 0 where it is normal.

Any number may be a score. torchmetrics' own metrics of scores take what lies outside of [0, 1] for logits, batch by
batch, which ties large scores and reorders others.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int, Shaped
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_average_precision

from rnnae_bench.errors import UserError


class _Scores(Metric):
    """Keeps the scores and labels of all rows, for what depends on their order.

    Args:
        kind: Count rows of this label and normal ones only; None counts all, and every label but 0 as an anomaly.
    """

    full_state_update = False
    scores: Any
    anomalous: Any

    def __init__(self, kind: int | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("anomalous", [], dist_reduce_fx="cat")

    def update(self, prediction: Float[Tensor, " batch"], targets: Int[Tensor, " batch"]) -> None:
        """Add the scores of a batch and its labels."""
        if self.kind is not None:
            counted = (targets == 0) | (targets == self.kind)
            prediction, targets = prediction[counted], targets[counted]
        self.scores.append(prediction.detach())
        self.anomalous.append(targets != 0)

    def compute(self) -> Float[Tensor, ""]:
        """The metric of all rows; not a number where a score is none."""
        scores, anomalous = _whole(self.scores), _whole(self.anomalous)
        return scores.new_tensor(torch.nan) if scores.isnan().any() else self.of(scores, anomalous)

    def of(self, scores: Float[Tensor, " row"], anomalous: Bool[Tensor, " row"]) -> Float[Tensor, ""]:
        """The metric of scores, all of them numbers."""
        raise NotImplementedError


class RocAuc(_Scores):
    """Area under the ROC curve: how often an anomaly scores above a normal row; equal scores count half.

    That is the Mann-Whitney statistic divided by the number of pairs. 1/2 is chance, whatever the share of anomalies.
    """

    def of(self, scores: Float[Tensor, " row"], anomalous: Bool[Tensor, " row"]) -> Float[Tensor, ""]:
        """By counting."""
        return roc_auc_of_rows(scores, anomalous).mean()


class AveragePrecision(_Scores):
    """Precision, averaged over the recalls that the thresholds between scores reach, each weighted with its gain.

    It depends on the share of anomalies, which is what chance reaches.
    """

    def of(self, scores: Float[Tensor, " row"], anomalous: Bool[Tensor, " row"]) -> Float[Tensor, ""]:
        """By torchmetrics, from ranks in (0, 1], equal where scores are equal."""
        place = scores.unique(return_inverse=True)[1]
        return binary_average_precision((place + 1).double() / len(scores), anomalous.long())


class Detection(Metric):
    """What is found by taking every score above a threshold for an anomaly.

    Computes ``precision`` (share of the rows found that are anomalies; 0 where none is found), ``recall`` (share of the
    anomalies that are found), ``f1`` (their harmonic mean) and ``false_alarm_rate`` (share of the normal rows found).

    Args:
        threshold: The score that a normal row is not expected to exceed.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.add_state("counts", torch.zeros(2, 2, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, prediction: Float[Tensor, " batch"], targets: Int[Tensor, " batch"]) -> None:
        """Add the scores of a batch and its labels."""
        found, anomalous = prediction.double() > self.threshold, targets != 0
        self.counts += torch.bincount(2 * anomalous.long() + found.long(), minlength=4).view(2, 2)

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """The four shares; of nothing, 0."""
        (_, false), (missed, true) = self.counts.double()
        normal, anomalous = self.counts.double().sum(1)
        share = {
            "precision": (true, true + false),
            "recall": (true, anomalous),
            "f1": (2 * true, 2 * true + false + missed),
            "false_alarm_rate": (false, normal),
        }
        return {name: part / whole.clamp(min=1) for name, (part, whole) in share.items()}


class PercentileThreshold(Metric):
    """The score that a given percentage of a reference set's rows do not exceed, as ``threshold``.

    Between two scores it is interpolated, as by NumPy's ``percentile``. For `Task.calibration`.

    Args:
        percentile: Above 0 and below 100.
    """

    full_state_update = False
    scores: Any

    def __init__(self, percentile: float = 95.0) -> None:
        super().__init__()
        if not 0 < percentile < 100:
            raise UserError(f"percentile is {percentile}; it must be above 0 and below 100")
        self.percentile = percentile
        self.add_state("scores", [], dist_reduce_fx="cat")

    def update(self, prediction: Float[Tensor, " batch"], targets: Tensor) -> None:
        """Add the scores of a batch; its labels are not looked at."""
        self.scores.append(prediction.detach())

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """The threshold."""
        return {"threshold": _whole(self.scores).double().quantile(self.percentile / 100)}


def roc_auc_of_rows(scores: Float[Tensor, " row"], labels: Shaped[Tensor, " row"]) -> Float64[Tensor, " row"]:
    """Each row's part in the area A under the ROC curve: numbers whose mean is A, and whose spread is that of A.

    Of m anomalies x and n normal rows y, x counts with V(x) = how often it scores above a normal row, and y with V(y) =
    how often an anomaly scores above it. The means of both are A. A row's number is ``A + (m + n) / m * (V(x) - A)`` or
    ``A + (m + n) / n * (V(y) - A)``: the variance of their mean is then ``var V(x) / m + var V(y) / n``.

    Source: DeLong, DeLong & Clarke-Pearson (1988), Comparing the areas under two or more correlated receiver operating
    characteristic curves, Biometrics 44(3), equations 4 to 6.

    Args:
        scores: Higher where a row looks less normal.
        labels: 0, or False, where it is normal.
    """
    anomalous = labels != 0
    inside = torch.empty(len(scores), dtype=torch.float64, device=scores.device)
    for own in (anomalous, ~anomalous):
        others = scores[~own].sort().values
        below = torch.searchsorted(others, scores[own])
        up_to = torch.searchsorted(others, scores[own], right=True)
        share = (below + up_to).double() / (2 * len(others))
        inside[own] = share if own is anomalous else 1 - share
    area = inside[anomalous].mean()
    sizes = torch.where(anomalous, anomalous.sum(), (~anomalous).sum())
    return area + len(scores) / sizes * (inside - area)


def _whole(parts: Any) -> Tensor:
    """A state that devices have put together already, or one that is still in batches."""
    return parts if isinstance(parts, Tensor) else torch.cat(parts)
