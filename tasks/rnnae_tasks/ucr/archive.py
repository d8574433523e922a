"""Four data sets of the UCR and UEA archives, packed beside this module: series, their classes, the official split."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

CLASSES = {
    "GunPoint": ("draws a gun", "points"),
    "ArrowHead": ("Avonlea", "Clovis", "Mix"),
    "ItalyPowerDemand": ("October to March", "April to September"),
    "JapaneseVowels": tuple(f"speaker {k}" for k in range(1, 10)),
}
"""The data sets, and what the classes of each are, in the order of the archive's labels."""


class Series(NamedTuple):
    """Labelled series of one part, in the archive's order."""

    values: Float[Tensor, "row time feature"]
    """Padded with 0 to the longest of the data set."""
    lengths: Int64[Tensor, " row"]
    labels: Int64[Tensor, " row"]
    """From 0, in the order of `CLASSES`."""


def packed(dataset: str) -> tuple[Series, Series]:
    """The official training and test part of a data set, from the file that `build_archive` wrote.

    The file has ``values`` ``float32 [steps, feature]`` of all series, one after the other, training part first,
    ``lengths`` and ``labels`` of each, and ``train``, the number of those in the training part.
    """
    with np.load(file_of(dataset)) as content:
        lengths = torch.from_numpy(content["lengths"].astype(np.int64))
        labels = torch.from_numpy(content["labels"].astype(np.int64))
        pieces = torch.from_numpy(content["values"]).split(lengths.tolist())
        train = int(content["train"])
    values = torch.nn.utils.rnn.pad_sequence([*pieces], batch_first=True)
    return (
        Series(values[:train], lengths[:train], labels[:train]),
        Series(values[train:], lengths[train:], labels[train:]),
    )


def file_of(dataset: str) -> Path:
    """Where a data set lies."""
    return Path(__file__).with_name(f"{dataset}.npz")
