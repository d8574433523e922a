"""Three real series, packed beside this module, and how each is brought to a form that can be learned."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Nature:
    """What is known of a series before it is modelled."""

    unit: str
    season: int
    """Steps after which it repeats itself, about."""
    logarithm: bool
    """Whether its swings grow with its level, so that its logarithm is learned."""
    trend: bool
    """Whether it leaves the range it was learned in, so that each window is taken from its own level."""
    positive: bool = True
    """Whether it is above 0 everywhere, so that errors may be told as shares of it."""


NATURES = {
    "airline": Nature("thousands of passengers a month", season=12, logarithm=True, trend=True),
    "co2": Nature("ppm, mean of a month", season=12, logarithm=False, trend=True),
    "sunspots": Nature("sunspot number, mean of a year", season=11, logarithm=False, trend=False, positive=False),
}
"""The series by name."""


def packed(name: str) -> Float[Tensor, " time"]:
    """A series in float64, from the file that `build_series` wrote: a line ``time<TAB>value`` for every step."""
    lines = file_of(name).read_text(encoding="utf-8").splitlines()
    return torch.tensor([float(line.split("\t")[1]) for line in lines], dtype=torch.float64)


def file_of(name: str) -> Path:
    """Where a series lies."""
    return Path(__file__).with_name(f"{name}.tsv")
