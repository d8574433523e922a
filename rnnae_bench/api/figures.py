"""Figures for a paper from records: learning curves, gradients through time, cost against score."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rnnae_bench.api.figure_rows import chosen_records, panels_of
from rnnae_bench.api.reading import load
from rnnae_bench.api.results import Results
from rnnae_bench.errors import UserError, in_a_line, require_choice
from rnnae_bench.options.quantities import Quantity
from rnnae_bench.rankings.bridging import needed_lag
from rnnae_bench.records.history import Series
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store

if TYPE_CHECKING:
    from rnnae_bench.report.paper.cost import Value
    from rnnae_bench.report.paper.curves import Band
    from rnnae_bench.report.paper.rows import Panel
    from rnnae_bench.report.paper.style import PaperFigure

KINDS: dict[str, tuple[str, ...]] = {
    "curves": ("column", "band", "log"),
    "gradients": ("column", "seed"),
    "cost": ("cost", "value"),
}
"""The kinds of figures, and the options that are only some kinds'."""

WIDTHS = {"column": 3.25, "text": 6.75}
"""Inches of a column, and of a page's text in two columns."""

_WIDEST = 40.0
"""Inches of a side at most."""


def figure(
    kind: str,
    source: "str | Path | Results" = "runs",
    *,
    ids: Sequence[str] = (),
    task: str | Sequence[str] = (),
    model: str | Sequence[str] = (),
    width: str | float = "column",
    height: float | None = None,
    column: str | None = None,
    band: "Band | None" = None,
    log: bool | None = None,
    seed: int | None = None,
    cost: "Quantity | None" = None,
    value: "Value | None" = None,
) -> "PaperFigure":
    """A figure for a paper, as a figure of matplotlib; ``savefig`` keeps its style, and text as text.

    Args:
        kind: ``curves``: the primary metric on the validation set over training, a line a row in a band over its
            seeds; ``gradients``: heatmaps of gradients through time on one colour scale; ``cost``: a point a row.
        source: A folder of records, or the results of `run`, `sweep` or `load`.
        ids: Only these records, each by its id or the id's beginning.
        task: Only of these, each ``NAME`` (all its variants) or ``NAME:VARIANT``.
        model: Only these rows, by label (``gru``, ``gru[hidden_size=64]``), in this order.
        width: ``column`` (3.25 inches), ``text`` (6.75 inches), or a number of inches.
        height: In inches; None: as the panels need it.
        column: Of ``curves`` another column of the histories (``loss``, ``gradient_norm``); of ``gradients`` one of
            gradients by lag.
        band: Of ``curves``: ``interval`` (95 % of the mean) or ``range`` (smallest to largest); None: the interval
            where all rows have five seeds or more.
        log: Of ``curves``: a logarithmic axis.
        seed: Of ``gradients``: this one; None: the median one of each row.
        cost: Of ``cost``: ``parameters`` (where it is None), ``seconds`` or ``state``.
        value: Of ``cost``: ``score`` (where it is None) or ``metric``.

    Raises:
        UserError: there is no such kind, width or option, or no record that fits.
    """
    given = {"column": column, "band": band, "log": log, "seed": seed, "cost": cost, "value": value}
    options: dict[str, Any] = {name: one for name, one in given.items() if one is not None}
    require_sound(kind, options)
    across, tall = size(width), None if height is None else size(height, "height")
    found = source if isinstance(source, Results) else load(source)
    chosen = chosen_records(found, ids, task, source)
    panels = panels_of(found, chosen, [model] if isinstance(model, str) else model)
    read = _histories(chosen)
    if kind == "curves":
        from rnnae_bench.report.paper import curves

        drawn = curves.draw(panels, read, across, tall, **options)
    elif kind == "gradients":
        from rnnae_bench.report.paper import gradients

        drawn = gradients.draw(panels, read, _needed_lags(chosen.records), across, tall, **options)
    else:
        from rnnae_bench.report.paper import cost as costs

        drawn = costs.draw(panels, across, tall, **options)
    _tell_left_out(panels, drawn)
    return drawn


def require_sound(kind: str, options: Mapping[str, Any]) -> None:
    """Refuse an unknown kind, and options that are another kind's or have unknown values; imports no matplotlib.

    Raises:
        UserError: it is one of these.
    """
    require_choice(tuple(KINDS), **{"figure KIND": kind})
    for name in options:
        if name not in KINDS[kind]:
            owners = [one for one, its in KINDS.items() if name in its]
            raise UserError(f"{name} is an option of figure {' and '.join(owners)}, and this is figure {kind}")
    for name, allowed in (
        ("band", ("interval", "range")),
        ("cost", get_args(Quantity)),
        ("value", ("score", "metric")),
    ):
        if name in options:
            require_choice(allowed, **{name: options[name]})


def size(given: str | float, what: str = "width") -> float:
    """A side in inches.

    >>> size("column"), size("text"), size("4.5")
    (3.25, 6.75, 4.5)

    Raises:
        UserError: it is neither a name nor a number of inches that a page can have.
    """
    named = WIDTHS if what == "width" else {}
    if given in named:
        return named[str(given)]
    try:
        inches = float(given)
    except ValueError:
        inches = 0.0
    if not 1 <= inches <= _WIDEST:
        raise UserError(
            f"{what} is {given!r}; it must be {', '.join([*named, ''])}a number of inches from 1 to {_WIDEST:g}"
        )
    return inches


def _histories(chosen: Results) -> "Callable[[Record, Callable[[str], bool]], Mapping[str, Series]]":
    stores = {one.record.id: Store(one.path.parent) for one in chosen}

    def read(record: Record, wanted: Callable[[str], bool]) -> Mapping[str, Series]:
        try:
            return stores[record.id].series(record, wanted)
        except (OSError, ValueError) as error:
            raise UserError(f"the histories of record {record.id} can't be read: {in_a_line(error)}") from error

    return read


def _needed_lags(records: Iterable[Record]) -> dict[str, int | None]:
    """The lag that each task setting needs."""
    found: dict[str, int | None] = {}
    for record in records:
        if found.get(record.setting) is None:
            found[record.setting] = needed_lag(record)
    return found


def _tell_left_out(panels: "Sequence[Panel]", drawn: "PaperFigure") -> None:
    there = {(one["setting"], one["row"]) for one in drawn.drawn}
    out = [
        f"{row.name} on {panel.standing.setting}"
        for panel in panels
        for row in panel.rows
        if (panel.standing.setting, row.name) not in there
    ]
    if out:
        warnings.warn(f"left out, as its records don't have what is drawn: {', '.join(out)}", stacklevel=3)
