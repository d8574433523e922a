"""What all figures of a paper share: sizes, type, colours, and files with the same bytes every time."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import rc_context

from rnnae_bench.report.figure import Picture

SMALL = 7.0
"""Points of ticks, legends and notes; all else has 8."""

GREY = "0.45"
"""Of lines that are no model's."""

_DOTS = 300

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""The palette of Okabe and Ito (2008), which people with any colour vision tell apart, without its yellow."""

_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))

_MARKERS = "osD^vPX"

_STYLE: Any = {
    "font.family": "sans-serif",
    # It comes with matplotlib, so that the same text takes the same room everywhere.
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.4,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "savefig.dpi": _DOTS,
    # Text stays text, and what matplotlib numbers at random is numbered the same every time.
    "svg.fonttype": "none",
    "svg.hashsalt": "rnnae-bench",
    "pdf.fonttype": 42,
}

_NO_DATE: dict[str, dict[str, None]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def styled() -> Any:
    """A context in which matplotlib draws in a paper's style."""
    return rc_context(_STYLE)


class PaperFigure(Picture):
    """A figure in a paper's style, with what a caption has to say; make and fill it within `styled`.

    Args:
        width: In inches.
        height: The same.
    """

    caption: str = ""
    """What is drawn, in a sentence or two."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(width, height)
        self.drawn: list[dict[str, Any]] = []
        """The rows that are drawn, as plain data: setting, row, seeds, ids."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """As matplotlib's, in a paper's style; the same figure gives the same bytes."""
        kind = f".{options['format']}" if "format" in options else Path(str(fname)).suffix
        metadata = {**_NO_DATE.get(kind, {}), **options.pop("metadata", {})}
        with styled():
            super().savefig(fname, metadata=metadata, **options)


@dataclass(frozen=True)
class Look:
    """How a row is drawn, in all figures from one folder alike."""

    colour: str
    dash: Any
    marker: str


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name: no two have both colour and dash in common, up to 28 names.

    Args:
        names: All that a folder has, drawn or not, so that a row's look does not depend on what is drawn beside it.
    """
    return {
        name: Look(_COLOURS[colour], _DASHES[(colour + turn) % len(_DASHES)], _MARKERS[(colour + turn) % len(_MARKERS)])
        for place, name in enumerate(sorted(set(names)))
        for turn, colour in [divmod(place, len(_COLOURS))]
    }


def words(name: str) -> str:
    """A metric's or column's name as text.

    >>> words("recall_accuracy")
    'recall accuracy'
    """
    return name.replace("_", " ")


def folded(name: str, letters: int) -> str:
    """A name in lines of so many letters, where its parts let it.

    >>> folded("gru[hidden_size=64,layers=2]", 20)
    'gru[hidden_size=64,\\nlayers=2]'
    """
    parts = re.split(r"(?<=[\[,:])", name)
    lines = [""]
    for part in (piece for one in parts for piece in (re.split("(?<=[_=])", one) if len(one) > letters else [one])):
        if lines[-1] and len(lines[-1]) + len(part) > letters:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def shape(panels: int, width: float, least: float) -> tuple[int, int]:
    """Rows and columns of so many panels: as many side by side as have this least width in inches, evenly filled.

    >>> shape(4, 6.75, 2.2), shape(4, 3.25, 2.2)
    ((2, 2), (4, 1))
    """
    down = -(-panels // max(1, min(panels, int(width // least))))
    return down, -(-panels // down)


def grid(figure: PaperFigure, panels: int, least: float) -> list[Any]:
    """Axes for so many panels, in the `shape` that the figure's width gives."""
    axes = figure.subplots(*shape(panels, figure.get_figwidth(), least), squeeze=False)
    for spare in axes.flat[panels:]:
        spare.remove()
    return list(axes.flat[:panels])


def legend(figure: PaperFigure, handles: list[Any], title: str, grows: bool) -> None:
    """A legend above all panels, in as many columns as there is room for.

    Args:
        figure: The figure.
        handles: What the legend names.
        title: Its first line, or empty.
        grows: Whether the figure becomes as much taller as the legend needs.
    """
    for columns in range(len(handles), 0, -1):
        made = figure.legend(
            handles=handles,
            loc="outside upper center",
            ncols=columns,
            title=title or None,
            columnspacing=1.2,
            handletextpad=0.5,
            borderaxespad=0.2,
        )
        extent = made.get_window_extent()
        if columns == 1 or extent.width <= figure.bbox.width:
            break
        made.remove()
    if grows:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + extent.height / figure.dpi)
