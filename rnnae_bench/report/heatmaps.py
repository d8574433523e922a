"""Pictures of gradients through sequence time: heatmaps of profiles over training, as PNG."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np

from rnnae_bench.records.history import Series
from rnnae_bench.records.profile import Profiles, effective_horizon, profiles_of, relative

PANELS = 4
"""The most states that a trial's picture shows."""

_PANEL_HEIGHT, _BAR_HEIGHT = 2.1, 0.8

DECADES = 6
"""The colours tell this many decades up and as many down apart, in every picture alike."""

_LAG = "lag (steps back from the loss)"
_SCALE = "gradient norm relative to lag 0"
_MARKS = "black line: effective horizon; hatched: not measured"
_NEEDED = "dashed green: the lag that the task needs"
NEEDED_COLOUR = "#00cc44"
"""Of the line at the lag that the task needs: neither red nor blue, as the heatmap is."""


def panels(series: Mapping[str, Series]) -> list[Profiles]:
    """The states that a trial's picture shows: the first `PANELS` of `profiles_of`."""
    return profiles_of(series)[:PANELS]


def height_of(shown: Sequence[Profiles]) -> float:
    """The inches that `draw` needs for these states."""
    return len(shown) * _PANEL_HEIGHT + _BAR_HEIGHT


def draw(figure: Any, shown: Sequence[Profiles], needed: int | None = None) -> None:
    """Draw a row for each state into a figure or subfigure of matplotlib: the heatmap, and three profiles as lines.

    The heatmap's colour is g relative to lag 0 and its line the effective horizon; the profiles are absolute: the
    first, the middle and the last, each in a band from its 10 % to its 90 % quantile over the batch. Dotted, where it
    is not 1 everywhere, is the share of the sequences whose gradient is neither zero nor not finite.

    Args:
        figure: What to draw into.
        shown: The states.
        needed: The lag that the task needs, where it says one: a dashed line.
    """
    rows = figure.subplots(len(shown), 2, squeeze=False, width_ratios=(1.25, 1))
    for (left, right), one in zip(rows, shown, strict=True):
        image = heatmap(left, one.typical, needed)
        left.set_title(one.title, fontsize="medium")
        left.set_ylabel("optimiser step")
        _lines(right, one)
        _mark(right, needed, one.middle.values.shape[1])
    for axes in rows[-1]:
        axes.set_xlabel(_LAG)
    _colour_bar(figure, image, f"{_SCALE} ({_marks(needed)})", location="bottom", aspect=60, pad=0.02)


def gallery(named: Mapping[str, Series], needed: int | None = None) -> bytes:
    """A PNG of several heatmaps side by side, by name, all on one colour scale; five in a row.

    Args:
        named: Profiles ``[profiles lags]``, log10 g, of each.
        needed: The lag that the task needs, where it says one: a dashed line.

    Raises:
        ValueError: there is nothing to show.
    """
    if not named:
        raise ValueError("a gallery needs at least one series of profiles")
    across = min(5, len(named))
    down = -(-len(named) // across)
    figure = new_figure(max(5.0, 0.7 + 1.8 * across), 1.1 + 2.1 * down)
    grid = figure.subplots(down, across, squeeze=False)
    for axes, (name, one) in zip(grid.flat, named.items(), strict=False):
        image = heatmap(axes, one, needed)
        axes.set_title(name, fontsize="medium")
    for axes in grid.flat[len(named) :]:
        axes.remove()
    figure.supxlabel(f"{_LAG}\n{_marks(needed)}", fontsize="medium")
    figure.supylabel("optimiser step", fontsize="medium")
    _colour_bar(figure, image, _SCALE, location="right")
    return as_png(figure)


def new_figure(width: float, height: float) -> Any:
    """An empty figure of matplotlib, its sizes in inches, that needs no display."""
    from rnnae_bench.report.figure import Picture

    return Picture(width, height)


def as_png(figure: Any) -> bytes:
    """The figure as a PNG file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _marks(needed: int | None) -> str:
    return _MARKS if needed is None else f"{_MARKS}; {_NEEDED}"


def _mark(axes: Any, needed: int | None, lags: int) -> None:
    """A line at the lag that the task needs, where the profiles reach it."""
    if needed is not None and needed < lags:
        axes.axvline(needed, color=NEEDED_COLOUR, linestyle="--", linewidth=1.4)


def heatmap(axes: Any, one: Series, needed: int | None = None) -> Any:
    """Draw profiles into axes: one row a profile, the first lowest, however many steps lie between two.

    Args:
        axes: Axes of matplotlib.
        one: log10 g: ``[profiles lags]``.
        needed: The lag that the task needs, where it says one: a dashed line.

    Returns:
        The image, for a colour bar.
    """
    count, lags = one.values.shape
    axes.patch.set(hatch="////", facecolor="white", edgecolor="0.8")
    values = relative(one.values)
    image = axes.imshow(
        # What is infinite is left out of a picture: zero is drawn as the least that the colours tell apart.
        np.where(values == -np.inf, -2.0 * DECADES, values),
        cmap="coolwarm",
        vmin=-DECADES,
        vmax=DECADES,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, lags - 0.5, -0.5, count - 0.5),
    )
    horizon = [effective_horizon(profile) for profile in one.values]
    edge = np.array([np.nan if lag is None else lag + 0.5 for lag in horizon])
    axes.stairs(edge, np.arange(count + 1) - 0.5, orientation="horizontal", baseline=None, color="black", linewidth=1)
    places = np.unique(np.linspace(0, count - 1, min(count, 6)).round().astype(int))
    axes.set_yticks(places, [f"{one.steps[place]:,}" for place in places])
    _mark(axes, needed, lags)
    _lag_axis(axes, lags)
    return image


def _lag_axis(axes: Any, lags: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(-0.5, lags - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))


def _colour_bar(figure: Any, image: Any, label: str, **place: Any) -> None:
    bar = figure.colorbar(image, ax=figure.axes, extend="both", **place)
    ticks = range(-DECADES, DECADES + 1, 3)
    bar.set_ticks(list(ticks), labels=[_power(tick) for tick in ticks])
    bar.set_label(label, fontsize="medium")


def _power(exponent: float | int, _: object = None) -> str:
    return f"$10^{{{exponent:g}}}$"


def _lines(axes: Any, one: Profiles) -> None:
    from matplotlib.ticker import MaxNLocator

    lags = np.arange(one.middle.values.shape[1])
    measured = np.flatnonzero(np.isfinite(one.middle.values).any(axis=1))
    places = dict.fromkeys((measured[0], measured[len(measured) // 2], measured[-1]))
    for place, color in zip(places, ("C0", "C1", "C2"), strict=False):
        axes.plot(lags, one.middle.values[place], color=color, linewidth=1.2, label=f"step {one.middle.steps[place]:,}")
        if one.low is not None and one.high is not None:
            band = one.low.values[place], one.high.values[place]
            axes.fill_between(lags, *band, color=color, alpha=0.2, linewidth=0)
    if one.alive is not None and (one.alive.values[list(places)] < 1).any():
        shares = axes.twinx()
        for place, color in zip(places, ("C0", "C1", "C2"), strict=False):
            shares.plot(lags, one.alive.values[place], color=color, linewidth=1, linestyle=":")
        shares.set_ylim(-0.05, 1.05)
        shares.set_ylabel("share of sequences alive (dotted)", fontsize="small")
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_formatter(_power)
    low, high = axes.get_ylim()
    axes.set_ylim(np.floor(low), np.ceil(high))
    _lag_axis(axes, len(lags))
    norm = rf"$\Vert\partial L/\partial {one.state}_t\Vert_2$"
    axes.set_title(f"{norm}: geometric mean, 10-90 % of the batch", fontsize="medium")
    axes.legend(fontsize="small")
