"""The form in which all data of the task come: rows, each with a label that says which kind of anomaly it is."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Rows(NamedTuple):
    """Rows and their labels."""

    values: Float[Tensor, "row *axes"]
    """Windows ``[row time 1]``, images ``[row 1 28 28]`` or vectors ``[row features]``."""
    kinds: Int64[Tensor, " row"]
    """0 where a row is normal, else the number of its kind of anomaly."""


class Data(NamedTuple):
    """What is trained on, and the two sets to find anomalies in."""

    train: Rows
    validation: Rows
    test: Rows


def joined(*parts: Rows) -> Rows:
    """Rows one after another."""
    values, kinds = zip(*parts, strict=True)
    return Rows(torch.cat(values), torch.cat(kinds))


def of_kind(values: Float[Tensor, "row *axes"], kind: int) -> Rows:
    """Rows that are all of one kind."""
    return Rows(values, torch.full((len(values),), kind))


def mixed_in(contamination: float, normal: int) -> int:
    """How many anomalies go with `normal` normal rows so that the given share of all are anomalies."""
    return round(contamination / (1 - contamination) * normal)
