"""The small pictures of digits by name, pixels in [0, 1]: ``digits`` of 8 x 8, ``mnist`` of 28 x 28."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from rnnae_tasks.datasets.digits import Labels, packed_digits, packed_labels
from rnnae_tasks.datasets.optical_digits import optical_digits, optical_labels

Source = Literal["digits", "mnist"]

SIDE = {"digits": 8, "mnist": 28}
"""Pixels from left to right, and from top to bottom."""


def pictures(source: str) -> tuple[Float[Tensor, "image 1 side side"], ...]:
    """Those that train, validate and test."""
    digits, brightest = (optical_digits(), 16) if source == "digits" else (packed_digits(), 255)
    return digits.train / brightest, digits.validation / brightest, digits.test / brightest


def picture_labels(source: str) -> Labels:
    """Which digit each of `pictures` shows."""
    return optical_labels() if source == "digits" else packed_labels()
