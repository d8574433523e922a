"""Gradients through sequence time over training: a heatmap a row, side by side on one colour scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rnnae_bench.errors import UserError
from rnnae_bench.records.history import Series
from rnnae_bench.records.profile import READINGS, Profiles, profiles_of
from rnnae_bench.records.record import Record
from rnnae_bench.report.heatmaps import DECADES, heatmap
from rnnae_bench.report.paper.rows import DrawnRow, Histories, Panel
from rnnae_bench.report.paper.style import SMALL, PaperFigure, folded, legend, styled

_LEAST, _MOST, _LEFT = 0.62, 0.85, 0.75
"""Inches of a panel at least, and where its name is long; and of what stands left of all panels."""

_LETTER = 0.066
"""Inches of a letter in a panel's title."""

_BAR = 0.09
"""Inches across the colour bar."""

_UPRIGHT = 20
"""Letters of a line beside a panel."""

_HEIGHT, _AROUND = 1.3, 0.75

_NEEDED = (0, (2, 1.2))
"""Dashes of the line at the lag that a task needs."""


@dataclass(frozen=True)
class _Shown:
    setting: str
    row: DrawnRow
    record: Record
    profiles: Profiles
    needed: int | None


def draw(
    panels: Sequence[Panel],
    histories: Histories,
    needed: Mapping[str, int | None],
    width: float,
    height: float | None = None,
    column: str | None = None,
    seed: int | None = None,
) -> PaperFigure:
    """The figure: one trial of each row, and of it one state.

    Args:
        panels: The task settings and their rows.
        histories: Where the gradients are from.
        needed: The lag that each task setting needs; None where it is not known.
        width: In inches.
        height: The same; None: as the panels need it.
        column: A column of gradients by lag; None: the first that a trial has, its lowest layer's.
        seed: Of the trial; None: the row's median by the primary metric.

    Raises:
        UserError: no row has such gradients, or none that seed.
    """
    chosen = [(panel.standing.setting, row, _trial(row, seed)) for panel in panels for row in panel.rows]
    found = [
        _Shown(setting, row, record, profiles, needed.get(setting))
        for setting, row, record in chosen
        if record is not None and (profiles := _profiles(histories(record, _is_gradient), column)) is not None
    ]
    if not found:
        raise UserError(_absent(panels, seed, column))
    with styled():
        figure = _drawn(found, width, height)
    figure.drawn = [
        one.row.as_dict(one.setting, [one.record]) | {"column": one.profiles.name, "needed_lag": one.needed}
        for one in found
    ]
    figure.caption = _caption(found, seed)
    return figure


def _drawn(found: Sequence[_Shown], width: float, height: float | None) -> PaperFigure:
    """The panels of a task setting stand in rows of their own, which its name begins."""
    groups = [list(group) for _, group in groupby(found, key=lambda one: one.setting)]
    letters = max(len(one.row.name) for one in found)
    least = min(max(_LEAST, letters * _LETTER + 0.1), _MOST)
    room = width - _LEFT
    across = max(1, min(max(map(len, groups)), int(room // least)))
    lines = [group[start : start + across] for group in groups for start in range(0, len(group), across)]
    titles = [[folded(one.row.name, int(room / across / _LETTER)) for one in line] for line in lines]
    tall = max(title.count("\n") for line in titles for title in line)
    figure = PaperFigure(width, height or _AROUND + (_HEIGHT + 0.13 * tall) * len(lines))
    axes = figure.subplots(len(lines), across, squeeze=False)
    for row, line, names in zip(axes, lines, titles, strict=True):
        for spare in row[len(line) :]:
            spare.remove()
        for place, (one_axes, one, name) in enumerate(zip(row, line, names, strict=False)):
            image = _panel(one_axes, one)
            one_axes.set_title(name)
            if place and np.array_equal(one.profiles.typical.steps, line[place - 1].profiles.typical.steps):
                one_axes.tick_params(labelleft=False)
        begins = any(line[0] is group[0] for group in groups)
        setting = f"{folded(line[0].setting, _UPRIGHT)}\n" if begins else ""
        row[0].set_ylabel(f"{setting}optimiser step")
    for one_axes in axes[-1][: len(lines[-1])]:
        one_axes.set_xlabel("lag")
    _colour_bar(figure, image)
    legend(figure, _handles(found), "", height is None)
    return figure


def _panel(axes: Any, one: _Shown) -> Any:
    image = heatmap(axes, one.profiles.typical)
    axes.patches[-1].set_linewidth(0.8)
    axes.spines[:].set_visible(True)
    if one.needed is not None:
        axes.axvline(one.needed, color="black", linewidth=1.1, linestyle=_NEEDED)
        axes.set_xlim(right=max(axes.get_xlim()[1], one.needed + 0.5))
    axes.locator_params(axis="x", nbins=3)
    return image


def _trial(row: DrawnRow, seed: int | None) -> Record | None:
    """The record of that seed; without one, of the row's median by the primary metric (of two, the lower seed's)."""
    if seed is None:
        values = row.entry.values
        if not values:
            return None
        seed = sorted(values, key=lambda one: (values[one], one))[(len(values) - 1) // 2]
    return next((record for record in row.records if record.seed == seed), None)


def _is_gradient(name: str) -> bool:
    return name.count("/") >= 3 and not name.endswith(("/q10", "/q90"))


def _profiles(series: Mapping[str, Series], column: str | None) -> Profiles | None:
    if column is None:
        return next(iter(profiles_of(series)), None)
    parts = column.split("/")
    if column not in series or len(parts) != 4 or parts[1] not in READINGS or series[column].values.ndim != 2:
        return None
    return Profiles(column, series[column], None, None, series.get(f"{column}/alive"), series.get(f"{column}/dead"))


def _absent(panels: Sequence[Panel], seed: int | None, column: str | None) -> str:
    seeds = sorted({record.seed for panel in panels for row in panel.rows for record in row.records})
    if seed is not None and seed not in seeds:
        return f"no record that was chosen has seed {seed}; seeds: {', '.join(map(str, seeds))}"
    what = f"gradients {column}" if column else "gradients through time"
    return f"no record that was chosen has {what}; the probe gradient_flow measures them"


def _colour_bar(figure: PaperFigure, image: Any) -> None:
    width, height = figure.get_size_inches()
    shape = {"shrink": 0.8, "aspect": 0.8 * width / _BAR, "pad": _BAR / height}
    bar = figure.colorbar(image, ax=figure.axes, extend="both", extendfrac=0.03, location="bottom", **shape)
    ticks = range(-DECADES, DECADES + 1, 3)
    bar.set_ticks(list(ticks), labels=[f"$10^{{{tick}}}$" for tick in ticks])
    bar.set_label("gradient norm relative to lag 0", fontsize=SMALL)


def _handles(found: Sequence[_Shown]) -> list[Any]:
    handles: list[Any] = [Line2D([], [], color="black", linewidth=1, label="effective horizon")]
    lags = sorted({one.needed for one in found if one.needed is not None})
    if lags:
        which = f" ({lags[0]})" if len(lags) == 1 else ""
        handles.append(
            Line2D([], [], color="black", linewidth=1.1, linestyle=_NEEDED, label=f"lag that the task needs{which}")
        )
    if any((one.profiles.typical.values != one.profiles.typical.values).any() for one in found):
        handles.append(Patch(facecolor="white", edgecolor="0.6", hatch="////", linewidth=0, label="not measured"))
    return handles


def _caption(found: Sequence[_Shown], seed: int | None) -> str:
    named: dict[str, list[str]] = {}
    for one in found:
        named.setdefault(one.profiles.title, []).append(one.row.name)
    states = "; ".join(f"{', '.join(dict.fromkeys(names))}: {title}" for title, names in named.items())
    which = f"seed {seed}" if seed is not None else "the median seed of each row by the primary metric"
    return (
        f"Gradient norm by lag (steps back from the loss) and optimiser step, relative to lag 0, of {which} "
        f"({states}). Solid line: effective horizon, the largest lag with a thousandth of the gradient at lag 0."
    )
