"""The data of MNIST-1D, drawn anew by the published procedure: the same numbers, from NumPy's frozen legacy stream.

Source: Greydanus & Kobak (2024), Scaling down deep learning with MNIST-1D, ICML, section 2; and their package mnist1d
0.0.2.post1 (Apache-2.0), whose order of random draws is kept.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

TEMPLATES = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)
"""Twelve points of the outline of each digit."""

SEED = 42
ROWS, TRAINING_ROWS = 5000, 4000
STEPS, LONG_STEPS = 40, 72
SHORTEST_PADDING, LONGEST_PADDING = 36, 60
TRANSLATIONS = 48
SCALE, SHEAR = 0.4, 0.75
CORRELATED_NOISE, SMOOTHING, NOISE = 0.25, 2.0, 0.02


class Series(NamedTuple):
    """Rows of 40 numbers and the digit of each."""

    rows: Float64[Tensor, "row 40"]
    digits: Int64[Tensor, " row"]


def outlines() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The templates with mean 0 and standard deviation 1, then from 0 on, divided by 6: ``[digit, 12]``."""
    centred = TEMPLATES - TEMPLATES.mean(1, keepdims=True)
    scaled = centred / centred.std(1, keepdims=True)
    return (scaled - scaled[:, :1]) / 6


def published_series() -> tuple[Series, Series]:
    """The 4,000 rows for training and the 1,000 for the test, standardised over all numbers of both.

    Of each digit 500 are drawn, and all rows are then shuffled.
    """
    random = np.random.RandomState(SEED)
    drawn = np.stack([_row(outline, random) for outline in outlines() for _ in range(ROWS // len(TEMPLATES))])
    order = random.permutation(ROWS)
    drawn = drawn[order]
    rows = torch.from_numpy((drawn - drawn.mean()) / drawn.std())
    digits = torch.from_numpy(order // (ROWS // len(TEMPLATES)))
    return Series(rows[:TRAINING_ROWS], digits[:TRAINING_ROWS]), Series(rows[TRAINING_ROWS:], digits[TRAINING_ROWS:])


def _row(outline: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """One row: padded, stretched, scaled, moved, under noise, sheared, and read at 40 points."""
    from scipy.ndimage import gaussian_filter

    padding = SHORTEST_PADDING + int(random.rand() * (LONGEST_PADDING - SHORTEST_PADDING + 1))
    # A little above 0, so that only the padding is 0, where the correlated noise goes.
    figure = _stretched(np.concatenate([outline + 1e-8, np.zeros(padding)]), LONG_STEPS)
    figure *= 1 + SCALE * (random.rand() - 0.5)
    figure = np.roll(figure, random.choice(TRANSLATIONS))
    background = gaussian_filter(CORRELATED_NOISE * random.randn(LONG_STEPS), SMOOTHING)
    series = np.where(figure != 0, figure, background) + NOISE * random.randn(LONG_STEPS)
    series -= SHEAR * (random.rand() - 0.5) * np.linspace(-0.5, 0.5, LONG_STEPS)
    return _stretched(series, STEPS)


def _stretched(series: np.ndarray, steps: int) -> np.ndarray:
    """The same series at another number of points, straight between its own."""
    return np.interp(np.linspace(0, 1, steps), np.linspace(0, 1, len(series)), series)
