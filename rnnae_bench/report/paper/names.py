"""Names beside points, placed so that they cover neither each other nor what is drawn."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import cos, radians, sin
from typing import Any

import numpy as np
from jaxtyping import Float

from rnnae_bench.report.paper.style import SMALL

_DIRECTIONS = (0, 180, 90, 270, 45, 315, 135, 225, 22, 338, 158, 202, 67, 113, 247, 293)
"""Degrees, counterclockwise from the right; the most readable first."""

_DISTANCES = (5.0, 7.0, 10.0, 14.0, 19.0, 25.0, 32.0, 40.0, 50.0, 62.0)
"""Points between a point and its name."""

_LEADER = 12.0
"""From this distance on a thin line leads from the name to its point."""


def place(axes: Any, points: Sequence[tuple[float, float]], names: Sequence[str], lines: Sequence[Any] = ()) -> None:
    """Write each name near its point: in the first place that is free, or else in that which covers the least.

    The figure must have its final layout: places are found in its pixels.

    Args:
        axes: Axes of matplotlib.
        points: In the axes' data.
        names: One a point.
        lines: What else is not to be covered: ``[n 2]`` points of lines in the axes' data.
    """
    unit = axes.figure.dpi / 72
    pixels = axes.transData.transform(points)
    drawn = [(centre, 3 * unit) for centre in pixels]
    drawn += [(centre, unit) for line in lines for centre in _along(axes.transData.transform(line), 2 * unit)]
    covered = np.array([[*(centre - reach), *(centre + reach)] for centre, reach in drawn])
    frame = axes.get_window_extent().extents
    places = [(far * unit, radians(angle)) for far in _DISTANCES for angle in _DIRECTIONS]
    for centre, point, name in sorted(zip(pixels, points, names, strict=True), key=lambda one: (*-one[0], one[2])):
        text = axes.annotate(
            name, point, (0, 0), textcoords="offset points", fontsize=SMALL, annotation_clip=False, linespacing=1
        )
        text.set_in_layout(False)
        extent = text.get_window_extent()
        boxes = np.array([_at(centre, extent.size, far, angle) for far, angle in places])
        best = int(np.argmin(_costs(boxes, covered, frame)))
        box = boxes[best]
        covered = np.vstack([covered, box])
        text.set_position((box[:2] - extent.p0) / unit)
        if places[best][0] >= _LEADER * unit:
            end = axes.transData.inverted().transform(np.clip(centre, box[:2], box[2:]))
            axes.plot(*zip(point, end, strict=True), color="0.7", linewidth=0.4, scalex=False, scaley=False)


def _at(centre: np.ndarray, size: np.ndarray, far: float, angle: float) -> list[float]:
    """The box of a text of this size, in that direction and distance of a point."""
    way = np.array([cos(angle), sin(angle)])
    # Towards the right it begins there, towards the left it ends there, straight up and down it is centred.
    low = centre + far * way - size * (1 - np.sign(way.round(3))) / 2
    return [*low, *(low + size)]


def _along(line: np.ndarray, apart: float) -> Iterator[np.ndarray]:
    """Points along a line of pixels, so far apart."""
    for start, end in pairwise(line):
        yield from np.linspace(start, end, max(2, int(np.hypot(*(end - start)) / apart)))


def _costs(
    boxes: Float[np.ndarray, "box 4"], covered: Float[np.ndarray, "other 4"], frame: Float[np.ndarray, "4"]
) -> Float[np.ndarray, " box"]:
    """The area of each box that covers something, and four times that which is outside the frame."""

    def shared(others: np.ndarray) -> np.ndarray:
        low = np.maximum(boxes[:, None, :2], others[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
        return (high - low).clip(min=0).prod(axis=-1).sum(axis=-1)

    outside = (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1) - shared(frame[None])
    # Rounded, so that the first of equal ones is taken.
    return (shared(covered) + 4 * outside).round(3)
