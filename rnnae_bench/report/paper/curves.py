"""Learning curves: a line a row, the mean over its seeds, in a band; a panel a task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from rnnae_bench.errors import UserError
from rnnae_bench.rankings.standing import MINIMUM_SEEDS, within
from rnnae_bench.records.history import Series
from rnnae_bench.records.record import Primary, Record
from rnnae_bench.report.binned import binned
from rnnae_bench.report.paper.rows import DrawnRow, Histories, Panel, counted_seeds
from rnnae_bench.report.paper.style import GREY, SMALL, PaperFigure, grid, legend, shape, styled, words
from rnnae_bench.report.tables import number
from rnnae_bench.statistics import estimates

Band = Literal["interval", "range"]

BANDS: dict[str, str] = {"interval": "95 % interval", "range": "smallest to largest"}
"""What a band over seeds may be, in words."""

POINTS = 120
"""The most points of a curve; more steps than these are taken together in bins."""

_FAR = 0.8
"""A floor or threshold is drawn where it is not farther from the curves than this multiple of what they span."""

_LEAST_WIDTH, _HEIGHT, _AROUND = 2.2, 1.75, 0.2


@dataclass(frozen=True)
class Curve:
    """The mean over seeds and its band, at some optimiser steps."""

    steps: np.ndarray
    middle: Float[np.ndarray, " steps"]
    low: Float[np.ndarray, " steps"]
    high: Float[np.ndarray, " steps"]


def over_seeds(trials: Sequence[Series], band: Band, primary: Primary | None = None, log: bool = False) -> Curve:
    """The curve of a row; a trial that ended early counts as long as it lasted.

    Args:
        trials: The same column of each of its trials.
        band: What the band is; where there is a single value, there is none.
        primary: Where the values are of this metric: an interval doesn't go beyond its ceiling.
        log: Of the logarithms, as is right for a logarithmic axis: the mean is then the geometric one. What is not
            above zero is left out.
    """
    steps, table = binned(trials, POINTS)
    if log:
        table = np.log10(table, out=np.full_like(table, np.nan), where=table > 0)
    kept = np.isfinite(table).any(axis=0)
    found = [_spread(column[np.isfinite(column)], band, primary) for column in table[:, kept].T]
    middle, low, high = np.array(found).T
    return Curve(steps[kept], *((10**part if log else part) for part in (middle, low, high)))


def _spread(values: Float[np.ndarray, " seeds"], band: Band, primary: Primary | None) -> tuple[float, float, float]:
    if band == "range" or len(values) < 2:
        return float(values.mean()), float(values.min()), float(values.max())
    found = estimates.mean(values.tolist())
    found = found if primary is None else within(found, values.tolist(), primary)
    low, high = (found.value if end is None else end for end in (found.low, found.high))
    return found.value, low, high


def draw(
    panels: Sequence[Panel],
    histories: Histories,
    width: float,
    height: float | None = None,
    column: str | None = None,
    band: Band | None = None,
    log: bool = False,
) -> PaperFigure:
    """The figure.

    Args:
        panels: The task settings and their rows.
        histories: Where the curves are from.
        width: In inches.
        height: The same; None: as the panels need it.
        column: A column of numbers of the histories; None: the primary metric on the validation set.
        band: None: the interval where all rows have five seeds or more, else the range.
        log: A logarithmic axis for the values; gradient norms always have one.

    Raises:
        UserError: no row has such a column.
    """
    read = [
        (panel, name, [(row, *_trials(row, name, histories)) for row in panel.rows])
        for panel in panels
        for name in [column or f"validation/{panel.standing.metric}"]
    ]
    read = [(panel, name, kept) for panel, name, rows in read if (kept := [one for one in rows if one[1]])]
    if not read:
        raise UserError(_absent(panels, column, histories))
    numbers = [len(records) for _, _, rows in read for _, records, _ in rows]
    band = band or ("interval" if min(numbers) >= MINIMUM_SEEDS else "range")
    with styled():
        down, _ = shape(len(read), width, _LEAST_WIDTH)
        figure = PaperFigure(width, height or _AROUND + _HEIGHT * down)
        handles: dict[str, Any] = {}
        for axes, (panel, name, rows) in zip(grid(figure, len(read), _LEAST_WIDTH), read, strict=True):
            is_log = log or name.startswith("gradient_norm")
            is_primary = name == f"validation/{panel.standing.metric}"
            for row, records, trials in rows:
                curve = over_seeds(trials, band, records[0].primary if is_primary and not is_log else None, is_log)
                handles.setdefault(row.name, _line(axes, row, curve))
                figure.drawn.append(row.as_dict(panel.standing.setting, records) | {"column": name})
            _scale(axes, is_log)
            axes.set_title(panel.standing.setting, loc="left")
            axes.set_ylabel(words(name.replace("/", "\n", 1)))
            if is_primary:
                _references(axes, panel.standing.floor, panel.standing.solved_at)
        figure.supxlabel("optimiser step", fontsize=8)
        spread = "" if max(numbers) == 1 else f", band: {BANDS[band]}"
        mean = "geometric mean" if is_log else "mean"
        legend(figure, [*handles.values()], f"line: {mean}{spread}, {counted_seeds(numbers)}", height is None)
    figure.caption = _caption(read, band, numbers, mean)
    return figure


def _trials(row: DrawnRow, column: str, histories: Histories) -> tuple[list[Record], list[Series]]:
    """The row's records that have numbers in the column, and these."""
    found = [(record, histories(record, lambda name: name == column).get(column)) for record in row.records]
    kept = [
        (record, one)
        for record, one in found
        if one is not None and one.values.ndim == 1 and np.isfinite(one.values).any()
    ]
    return [record for record, _ in kept], [one for _, one in kept]


def _absent(panels: Sequence[Panel], column: str | None, histories: Histories) -> str:
    first = panels[0].rows[0].records[0]
    known = [name for name, one in histories(first, lambda _: True).items() if one.values.ndim == 1]
    wanted = column or f"validation/{panels[0].standing.metric}"
    return f"no record that was chosen has a curve of {wanted}; columns of {first.trial}: {', '.join(known) or 'none'}"


def _line(axes: Any, row: DrawnRow, curve: Curve) -> Any:
    axes.fill_between(curve.steps, curve.low, curve.high, color=row.look.colour, alpha=0.18, linewidth=0)
    few = len(curve.steps) <= 2
    (line,) = axes.plot(
        curve.steps,
        curve.middle,
        color=row.look.colour,
        linestyle=row.look.dash,
        marker=row.look.marker if few else None,
        markersize=3,
        label=row.name,
    )
    return line


def _scale(axes: Any, log: bool) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if log:
        axes.set_yscale("log")


def _references(axes: Any, floor: float, solved: float) -> None:
    """The floor and the solved threshold as lines, named at the right outside; what is far off is only named."""
    transform = axes.transScale.transform
    low, high = axes.get_ylim()
    bottom, top = (transform((1, end))[1] for end in (low, high))
    span, shown = top - bottom, []
    for value, name in sorted([(floor, "floor"), (solved, "solved")]):
        place = transform((1, value))[1]
        if bottom - _FAR * span <= place <= top + _FAR * span:
            axes.axhline(value, color=GREY, linewidth=0.7, linestyle=(0, (2, 2)), zorder=0.5)
            shown.append((place, value, name))
        else:
            arrow, end, upright = ("↑", 1.0, "top") if place > top else ("↓", 0.0, "bottom")
            _note(axes, f"{name} {arrow}\n{number(value)}", (1.0, end), upright)
    close = len(shown) == 2 and shown[1][0] - shown[0][0] < 0.09 * span
    for (_, value, name), apart in zip(shown, ("top", "bottom"), strict=False):
        _note(axes, name, (1.0, float(value)), apart if close else "center", ("axes fraction", "data"))


def _note(axes: Any, text: str, place: tuple[float, float], upright: str, within: Any = "axes fraction") -> None:
    axes.annotate(
        text,
        place,
        xycoords=within,
        xytext=(2, 0),
        textcoords="offset points",
        va=upright,
        fontsize=SMALL,
        color=GREY,
        annotation_clip=False,
    )


def _caption(read: Sequence[Any], band: Band, numbers: Sequence[int], mean: str) -> str:
    names = list(dict.fromkeys(name for _, name, _ in read))
    settings = ", ".join(panel.standing.setting for panel, _, _ in read)
    said = f"{', '.join(names)} over training on {settings}: {mean} over {counted_seeds(numbers)}"
    said += "" if max(numbers) == 1 else f", band: {BANDS[band]}"
    ended = sum(record.status != "ok" for _, _, rows in read for _, records, _ in rows for record in records)
    said += f"; {ended} trials did not end ok, and count as long as they lasted" if ended else ""
    return f"{said}."
