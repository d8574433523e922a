"""Distances between series: Euclidean, of series brought to one length, and by dynamic time warping."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from rnnae_tasks.ucr.archive import Series

EXACT = "donot_use_mm_for_euclid_dist"
"""How PyTorch computes distances without the rounding of its faster way."""


def resampled(series: Series) -> Float[Tensor, "row number"]:
    """Every series stretched to the longest by linear interpolation between its steps, as one vector, in float64.

    Both ends stay where they are. A series that is the longest is not changed.
    """
    rows, steps, features = series.values.shape
    values = series.values.double().clone()
    for row, length in enumerate(series.lengths.tolist()):
        if length < steps:
            short = values[row, :length].T.unsqueeze(0)
            values[row] = interpolate(short, size=steps, mode="linear", align_corners=True)[0].T
    return values.reshape(rows, steps * features)


def euclidean(rows: Series, others: Series) -> Float[Tensor, "row other"]:
    """The Euclidean distance of each series from each of the others, all `resampled`."""
    return torch.cdist(resampled(rows), resampled(others), compute_mode=EXACT)


def warping(rows: Series, others: Series) -> Float[Tensor, "row other"]:
    """The squared distance of each series from each of the others by dynamic time warping.

    It is the least sum, over all ways to go through both series together, of the squared Euclidean distances of the
    steps that meet: ``D[i, j] = |x_i - y_j|**2 + min(D[i-1, j-1], D[i-1, j], D[i, j-1])``. The path is free (no band),
    features warp together, and lengths may differ.

    Source: Sakoe & Chiba (1978), Dynamic programming algorithm optimization for spoken word recognition, IEEE
    Transactions on Acoustics, Speech, and Signal Processing 26(1), 43-49.
    """
    x, y = rows.values.double(), others.values.double()
    start, beyond = torch.zeros(len(x), len(y)).double(), torch.full((len(x), len(y)), torch.inf).double()
    distance, column = torch.empty_like(start), torch.arange(len(y))
    above = [start] + [beyond] * y.shape[1]
    for i in range(x.shape[1]):
        row = [beyond]
        for j in range(y.shape[1]):
            meeting = torch.cdist(x[:, i], y[:, j], compute_mode=EXACT).square()
            row.append(meeting + torch.minimum(torch.minimum(above[j], above[j + 1]), row[j]))
        above = row
        for ended in (rows.lengths == i + 1).nonzero().flatten().tolist():
            distance[ended] = torch.stack([cell[ended] for cell in row])[others.lengths, column]
    return distance
