"""Cost against score: a point a row, with its interval over seeds, and the Pareto front; a panel a task."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.lines import Line2D

from rnnae_bench.errors import UserError
from rnnae_bench.options.quantities import Quantity
from rnnae_bench.rankings.rows import Row
from rnnae_bench.rankings.standing import Entry
from rnnae_bench.report.paper.names import place
from rnnae_bench.report.paper.rows import DrawnRow, Panel, counted_seeds
from rnnae_bench.report.paper.style import GREY, PaperFigure, folded, grid, legend, shape, styled, words
from rnnae_bench.statistics.estimates import Estimate

Value = Literal["score", "metric"]

COSTS: dict[Quantity, tuple[str, Callable[[Row], float | int | None]]] = {
    "parameters": ("parameters", lambda row: row.parameters),
    "seconds": ("training seconds", lambda row: row.training_seconds),
    "state": ("state size (numbers)", lambda row: row.state_size),
}
"""What a row may cost, in words, and where it is read."""

_LEAST_WIDTH, _HEIGHT, _AROUND = 2.2, 1.85, 0.2

_LETTERS = 18
"""Of a line of a name."""


def draw(
    panels: Sequence[Panel],
    width: float,
    height: float | None = None,
    cost: Quantity = "parameters",
    value: Value = "score",
) -> PaperFigure:
    """The figure.

    Args:
        panels: The task settings and their rows.
        width: In inches.
        height: The same; None: as the panels need it.
        cost: What is on the horizontal axis, which is logarithmic.
        value: What is on the vertical one: the score, or the primary metric as it is.

    Raises:
        UserError: no row has both.
    """
    known = [(panel, [row for row in panel.rows if _point(row, cost, value) is not None]) for panel in panels]
    known = [(panel, rows) for panel, rows in known if rows]
    label, _ = COSTS[cost]
    if not known:
        raise UserError(f"no row that was chosen has both {label} and a {value}; choose others, or another --cost")
    with styled():
        down, _ = shape(len(known), width, _LEAST_WIDTH)
        figure = PaperFigure(width, height or _AROUND + _HEIGHT * down)
        placed = [
            (axes, _panel(axes, panel, rows, cost, value))
            for axes, (panel, rows) in zip(grid(figure, len(known), _LEAST_WIDTH), known, strict=True)
        ]
        figure.supxlabel(label, fontsize=8)
        legend(figure, _handles(known), "", height is None)
        figure.draw_without_rendering()
        for axes, (points, names, lines) in placed:
            place(axes, points, names, lines)
    for panel, rows in known:
        figure.drawn += [row.as_dict(panel.standing.setting, row.records) for row in rows]
    figure.caption = _caption(known, label, value)
    return figure


def front(points: Sequence[tuple[float, float]], rising: bool) -> list[int]:
    """The places of those points that no other one beats, being no dearer and better, or cheaper and as good.

    >>> front([(1.0, 0.5), (2.0, 0.9), (3.0, 0.7), (2.0, 0.8)], rising=True)
    [0, 1]

    Args:
        points: Cost and value of each.
        rising: Whether more is better.

    Returns:
        The cheapest first.
    """
    sign = -1 if rising else 1
    order = sorted(range(len(points)), key=lambda one: (points[one][0], sign * points[one][1]))
    found: list[int] = []
    for one in order:
        if not found or sign * points[one][1] < sign * points[found[-1]][1]:
            found.append(one)
    return found


def _point(row: DrawnRow, cost: Quantity, value: Value) -> tuple[float, Estimate] | None:
    spent, reached = COSTS[cost][1](row.entry.row), _value(row.entry, value)
    return None if not spent or reached is None else (float(spent), reached)


def _value(entry: Entry, value: Value) -> Estimate | None:
    return entry.score if value == "score" else entry.mean


def _panel(
    axes: Any, panel: Panel, rows: Sequence[DrawnRow], cost: Quantity, value: Value
) -> tuple[list[tuple[float, float]], list[str], list[Any]]:
    """Draw a panel; returns its points, their names, and the lines that names should not cover."""
    standing = panel.standing
    found = [point for row in rows if (point := _point(row, cost, value)) is not None]
    points = [(spent, reached.value) for spent, reached in found]
    best = front(points, rising=value == "score" or standing.direction == "maximize")
    lines = []
    for place_, (row, (spent, reached)) in enumerate(zip(rows, found, strict=True)):
        if reached.low is not None and reached.high is not None:
            axes.plot([spent] * 2, [reached.low, reached.high], color=row.look.colour, linewidth=0.9, zorder=2)
            lines.append([(spent, reached.low), (spent, reached.high)])
        axes.plot(
            spent,
            reached.value,
            row.look.marker,
            color=row.look.colour,
            markersize=4.5,
            markerfacecolor=row.look.colour if place_ in best else "white",
            zorder=3,
        )
    _logarithmic(axes, [spent for spent, _ in points])
    if len(best) > 1:
        stairs = _stairs([points[one] for one in best])
        axes.plot(*np.transpose(stairs), color=GREY, linewidth=0.7, zorder=1)
        lines.append(stairs)
    better = "higher" if value == "score" or standing.direction == "maximize" else "lower"
    axes.set_ylabel("score" if value == "score" else f"{words(standing.metric)}\n({better} is better)")
    axes.set_title(standing.setting, loc="left")
    axes.margins(y=0.15)
    return points, [folded(row.name, _LETTERS) for row in rows], lines


def _logarithmic(axes: Any, costs: Sequence[float]) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(min(costs) / 2, max(costs) * 2)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(costs) < 50 * min(costs) else (1,)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _handles(known: Sequence[tuple[Panel, Sequence[DrawnRow]]]) -> list[Any]:
    seeds = counted_seeds([len(row.entry.values) for _, rows in known for row in rows])
    return [
        Line2D([], [], color=GREY, linewidth=0.7, marker="o", markersize=4.5, label="Pareto front"),
        Line2D([], [], color=GREY, linewidth=0, marker="|", markersize=8, label=f"95 % interval, {seeds}"),
    ]


def _stairs(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The front as steps: what can be had for a cost at most."""
    found = [points[0]]
    for spent, reached in points[1:]:
        found += [(spent, found[-1][1]), (spent, reached)]
    return found


def _caption(known: Sequence[tuple[Panel, Sequence[DrawnRow]]], label: str, value: Value) -> str:
    seeds = counted_seeds([len(row.entry.values) for _, rows in known for row in rows])
    settings = ", ".join(panel.standing.setting for panel, _ in known)
    what = "score of the mean (0 = floor, 1 = ceiling)" if value == "score" else "mean of the primary metric"
    return (
        f"{what[0].upper()}{what[1:]} against {label} on {settings}; bars: 95 % confidence over {seeds}; filled and "
        "joined by the line: the Pareto front of the means (no other row is as cheap and as good)."
    )
