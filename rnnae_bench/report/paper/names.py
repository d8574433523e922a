"""Names beside points, placed so that they cover neither each other nor what is drawn."""

from collections.abc import Sequence
from math import cos, radians, sin
from typing import Any

import numpy as np
from matplotlib.transforms import Bbox

from rnnae_bench.report.paper.style import SMALL

_DIRECTIONS = (0, 180, 90, 270, 45, 315, 135, 225)
"""Degrees, counterclockwise from the right; the most readable first."""

_DISTANCES = (5.0, 9.0, 14.0, 20.0, 28.0, 38.0)
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
    around = [Bbox.from_bounds(x - 3 * unit, y - 3 * unit, 6 * unit, 6 * unit) for x, y in pixels]
    covered = around + [box for line in lines for box in _boxes(axes.transData.transform(line), unit)]
    frame = axes.get_window_extent()
    for (x, y), point, name in sorted(zip(pixels, points, names, strict=True), key=lambda one: tuple(-one[0])):
        text = axes.annotate(name, point, (0, 0), textcoords="offset points", fontsize=SMALL, annotation_clip=False)
        text.set_in_layout(False)
        extent = text.get_window_extent()
        best = min(
            (
                (_cost(_at(x, y, extent, angle, far * unit), covered, frame), rank, angle, far)
                for rank, (far, angle) in enumerate((far, angle) for far in _DISTANCES for angle in _DIRECTIONS)
            ),
        )
        _, _, angle, far = best
        box = _at(x, y, extent, angle, far * unit)
        covered.append(box)
        text.set_position(((box.x0 - x) / unit, (box.y0 - y) / unit - (extent.y0 - y) / unit))
        if far >= _LEADER:
            nearest = np.clip((x, y), (box.x0, box.y0), (box.x1, box.y1))
            axes.plot(
                *zip(point, axes.transData.inverted().transform(nearest), strict=True), color="0.6", linewidth=0.5
            )


def _at(x: float, y: float, extent: Bbox, angle: float, far: float) -> Bbox:
    """The box of a text of this extent, in that direction and distance of a point."""
    along, up = cos(radians(angle)), sin(radians(angle))
    width, height = extent.width, extent.height
    left = x + far * along - (1 - (along > 0.1) if abs(along) > 0.1 else 0.5) * width
    low = y + far * up - (1 - (up > 0.1) if abs(up) > 0.1 else 0.5) * height
    return Bbox.from_bounds(left, low, width, height)


def _boxes(line: np.ndarray, unit: float) -> list[Bbox]:
    """Small boxes along a line of pixels."""
    found = []
    for start, end in zip(line[:-1], line[1:], strict=True):
        count = max(2, int(np.hypot(*(end - start)) / (2 * unit)))
        found += [Bbox.from_bounds(x - unit, y - unit, 2 * unit, 2 * unit) for x, y in np.linspace(start, end, count)]
    return found


def _cost(box: Bbox, covered: Sequence[Bbox], frame: Bbox) -> float:
    """The area of it that covers something or is outside the frame."""
    shared = (Bbox.intersection(box, other) for other in covered)
    inside = Bbox.intersection(box, frame)
    outside = box.width * box.height - (0 if inside is None else inside.width * inside.height)
    return round(sum(one.width * one.height for one in shared if one is not None) + 4 * outside, 3)
