"""A picture of several trials: the primary metric on the validation set and the gradient norm over training."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rnnae_bench.rankings.rows import summarize
from rnnae_bench.records.history import Series
from rnnae_bench.records.record import Record
from rnnae_bench.report.heatmaps import new_figure
from rnnae_bench.report.trial_picture import thin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 8
"""Names that a legend lists at most."""


def figure(trials: Sequence[tuple[Record, Mapping[str, Series]]]) -> "Figure":
    """A row of two panels for each task setting: a thin line a trial, one colour a row of the table.

    Args:
        trials: Records with their histories.
    """
    settings: dict[str, dict[str, list[tuple[Record, Mapping[str, Series]]]]] = {}
    for record, series in trials:
        row = summarize([record])[0]
        settings.setdefault(row.setting, {}).setdefault(row.label, []).append((record, series))
    drawn: Figure = new_figure(10.0, 0.4 + 3.2 * max(1, len(settings)))
    if not settings:
        return drawn
    panels = drawn.subplots(len(settings), 2, squeeze=False)
    for (left, right), (setting, rows) in zip(panels, settings.items(), strict=True):
        for place, (name, members) in enumerate(rows.items()):
            colour, label = f"C{place % 10}", name if place < _SHOWN else None
            for record, series in members:
                metric = record.primary.metric
                looks, norms = series.get(f"validation/{metric}"), series.get("gradient_norm")
                left.set_ylabel(f"validation {metric}")
                if looks is not None:
                    left.plot(looks.steps, looks.values, ".-", color=colour, linewidth=1, markersize=3, label=label)
                if norms is not None:
                    middle, median, _, _ = thin(norms)
                    right.plot(middle, median, color=colour, linewidth=0.8, alpha=0.8)
                left.axhline(record.primary.floor, color="gray", linestyle=":", linewidth=1)
                label = None
        left.set_title(setting, fontsize="medium", loc="left")
        right.set_yscale("log")
        right.set_ylabel("gradient norm")
        for axes in (left, right):
            axes.set_xlabel("optimiser step")
        if left.get_legend_handles_labels()[0]:
            left.legend(fontsize="small")
    return drawn
