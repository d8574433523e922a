"""Pictures of one trial: learning curve and gradient norms over training, as PNG and in the terminal."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnae_bench.records.files import write_atomically
from rnnae_bench.records.history import Series
from rnnae_bench.records.record import Record
from rnnae_bench.report.heatmaps import as_png, draw, height_of, new_figure, panels
from rnnae_bench.report.terminal_curve import terminal_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POINTS = 240

_TITLE_WIDTH = 90
"""Characters of the title in a line."""

_CURVES_HEIGHT = 6.5
"""Height of the learning curve and the gradient norms in inches."""


def thin(series: Series, points: int = _POINTS) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bins of consecutive steps: their middle, and the median, smallest and largest finite value in each.

    A line of medians inside a band from the smallest to the largest hides no peak, however many steps there are.
    """
    kept = np.isfinite(series.values)
    steps, values = series.steps[kept], series.values[kept]
    count = min(points, len(steps))
    if not count:
        return (np.empty(0),) * 4
    sizes = len(steps) // count + (np.arange(count) < len(steps) % count)
    first, last = np.cumsum(sizes) - sizes, np.cumsum(sizes) - 1
    ordered = values[np.lexsort((values, np.repeat(np.arange(count), sizes)))]
    middle = np.add.reduceat(steps, first) / sizes
    median = (ordered[(first + last) // 2] + ordered[(first + last + 1) // 2]) / 2
    low, high = ordered[first], ordered[last]
    return middle, median, low, high


def figure(record: Record, series: Mapping[str, Series]) -> "Figure":
    """Training loss and the primary metric on the validation set; below, gradient norms by layer.

    Where gradients through sequence time were measured, a row for each of `panels` stands below.
    """
    shown = panels(series)
    heights = (_CURVES_HEIGHT, height_of(shown)) if shown else (_CURVES_HEIGHT,)
    drawn: Figure = new_figure(9.0, sum(heights))
    curves, *over_time = drawn.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for place in over_time:
        draw(place, shown, record.needed_lag)
    above, below = curves.subplots(2, 1, sharex=True)
    drawn.suptitle(textwrap.fill(title(record), _TITLE_WIDTH))
    _band(above, series.get("loss"), "training loss", "tab:blue")
    above.set_ylabel("training loss")
    terms = [name for name in series if name.startswith("loss/")]
    for place, name in enumerate(terms):
        _band(above, series[name], name.partition("/")[2], f"C{place + 2}", band=False)
    if terms:
        above.legend(fontsize="small", loc="upper center", ncols=2)
    metric = record.primary.metric
    looks = series.get(f"validation/{metric}")
    if looks is not None and metric != "loss":
        right = above.twinx()
        right.plot(looks.steps, looks.values, "o-", color="tab:orange", markersize=3, label=f"validation {metric}")
        right.axhline(record.primary.floor, color="tab:orange", linestyle=":", linewidth=1, label="floor")
        right.set_ylabel(f"validation {metric}")
        right.legend(loc="center right")
    _band(below, series.get("gradient_norm"), "all weights", "black")
    layers = [name for name in series if name.startswith("gradient_norm/")]
    for place, name in enumerate(layers):
        _band(below, series[name], name.partition("/")[2], f"C{place % 10}", band=False)
    clip = record.configuration.model.get("optimization", {}).get("clip")
    if clip:
        below.axhline(clip, color="gray", linestyle="--", linewidth=1, label=f"clipped at {clip:g}")
    below.set_yscale("log")
    below.set_ylabel("gradient norm, before clipping")
    below.set_xlabel("optimiser step")
    if below.lines:
        below.legend(fontsize="small", ncols=2)
    return drawn


def picture(record: Record, series: Mapping[str, Series]) -> bytes:
    """The `figure` as a PNG."""
    return as_png(figure(record, series))


def title(record: Record) -> str:
    """What a picture shows: model and task with all that was changed of their defaults, seed, and how it ended.

    Seeds of data and trainer options are named where they are not the usual ones.
    """
    parts = [f"{record.label} on {record.setting}", f"seed {record.seed}"]
    if record.data_seed != record.seed:
        parts.append(f"data seed {record.data_seed}")
    for key, value in record.overrides.items():
        parts += [f"{key.removeprefix('trainer.')}={value}"] if key.startswith("trainer.") else []
    failed = "" if record.status == "ok" else f" ({record.status})"
    return ", ".join(parts) + failed


def write_picture(path: Path, record: Record, series: Mapping[str, Series]) -> Path | None:
    """Draw the `picture` of a record beside its file; None where nothing was measured.

    Raises:
        OSError: it can't be written.
    """
    if not series:
        return None
    target = path.with_suffix(".png")
    write_atomically(target, picture(record, series))
    return target


def _band(axes: Any, series: Series | None, label: str, color: str, band: bool = True) -> None:
    if series is None or not np.isfinite(series.values).any():
        return
    middle, median, low, high = thin(series)
    axes.plot(middle, median, color=color, linewidth=1.2, label=label)
    if band:
        axes.fill_between(middle, low, high, color=color, alpha=0.2, linewidth=0)


def terminal_picture(series: Mapping[str, Series], width: int = 52, height: int = 10) -> str:
    """The gradient norm over training drawn with braille dots, on a logarithmic scale; empty where none is known."""
    norms = series.get("gradient_norm")
    if norms is None:
        return ""
    middle, median, _, _ = thin(norms, points=2 * width)
    kept = median > 0
    if not kept.any():
        return ""
    return terminal_curve(
        middle[kept], np.log10(median[kept]), float(norms.steps[-1]), ("step", "norm"), _norm_tick, width, height
    )


def _norm_tick(exponent: float) -> str:
    return f"{10**exponent:.1e}"
