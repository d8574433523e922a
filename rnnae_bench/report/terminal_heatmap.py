"""Gradients through sequence time in the terminal: a heatmap of characters, and what its last profile says in words."""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

import numpy as np
from jaxtyping import Float

from rnnae_bench.records.history import Series
from rnnae_bench.records.legible import printable
from rnnae_bench.records.profile import FADED, Profiles, decay_rate, effective_horizon, profiles_of, relative
from rnnae_bench.report.text import Text

SHADES = {
    3.0: ("W", "1e3"),
    1.5: ("X", "30"),
    0.5: ("^", "3"),
    -0.5: ("@", ".3"),
    -1.0: ("%", ".1"),
    -1.5: ("#", ".03"),
    -2.0: ("*", ".01"),
    -2.5: ("+", ".003"),
    -3.0: ("=", ".001"),
    -3.5: ("-", "3e-4"),
    -4.0: (":", "1e-4"),
}
"""By power of ten, relative to lag 0: the character for values above it, and that power as the legend writes it."""

FAINT, UNKNOWN = ".", " "
"""The characters for what is below all `SHADES`, and for what was not measured."""

_GROWN, _LOST = "bold red", "dim"
"""Styles of what is above every value near lag 0, and of what counts as lost (`FADED`)."""

_LEGEND_WIDTH = 78


def terminal_heatmap(
    series: Mapping[str, Series], needed_lag: int | None = None, width: int = 60, height: int = 12
) -> str:
    """The first state of `profiles_of` as a heatmap of characters, relative to lag 0; empty where there is none.

    Half a decade lies between two characters, so that .3 and .1 can be told apart on any terminal, without colour. The
    first profile is lowest. Below stand the lag that the task needs, and the measures of the last profile in words.

    Args:
        series: Histories of a trial.
        needed_lag: The steps that a gradient has to bridge on the task; None where it says nothing of them.
        width: Characters in a line of the heatmap, the labels of the optimiser steps included.
        height: Lines of the heatmap; a title comes above, its axis, its legend and the words below.
    """
    return "\n".join(line for shown in profiles_of(series)[:1] for line in _lines(shown, needed_lag, width, height))


def coloured(drawn: str) -> Text:
    """The same with colours for where the terminal has them: what has grown is red, what is lost is dim."""
    text = Text()
    for line in drawn.split("\n"):
        gutter, axis, cells = line.partition("│")
        text.append(printable(f"{gutter}{axis}"))
        for character, alike in groupby(cells):
            text.append("".join(alike), style=_STYLES.get(character, ""))
        text.append("\n")
    text.right_crop(1)
    return text


def _style(power: float) -> str:
    if power > 0:
        return _GROWN
    return "" if power >= math.log10(FADED) else _LOST


_STYLES = {FAINT: _LOST, **{shade: _style(power) for power, (shade, _) in SHADES.items()}}


def _lines(shown: Profiles, needed_lag: int | None, width: int, height: int) -> Iterator[str]:
    one = shown.typical
    count, lags = one.values.shape
    gutter = max(len("step"), len(f"{one.steps[-1]:,}"))
    room = width - gutter - 2
    rows = np.array_split(np.arange(count), min(height, count))
    columns = np.array_split(np.arange(lags), min(room, lags))
    wide = room // len(columns)
    values = relative(one.values)
    yield f"gradient norm by lag: {shown.title}"
    yield f"{'step':>{gutter}}"
    cells = [[_shade(values[np.ix_(row, column)]) for column in columns] for row in rows]
    for place, row in reversed(list(enumerate(rows))):
        edge = row[-1] if place == len(rows) - 1 else row[0]
        label = f"{one.steps[edge]:,}" if place in (0, len(rows) // 2, len(rows) - 1) else ""
        line = "".join(character * wide for character in cells[place])
        yield f"{label:>{gutter}} │{line}".rstrip()
    drawn = wide * len(columns)
    yield f"{'':>{gutter}} └{'─' * drawn}"
    yield f"{'lag':>{gutter}}  0{lags - 1:>{drawn - 1}}"
    if needed_lag is not None:
        yield f"{'':>{gutter}}  {_needed(needed_lag, columns, wide)}"
    yield from _legend({character for line in cells for character in line})
    yield from _words(one, needed_lag)
    yield from _fewest_alive(shown)


def _shade(block: Float[np.ndarray, "profiles lags"]) -> str:
    """The character for the median of what was measured in a block; a gradient of zero is below everything."""
    known = block[~np.isnan(block)]
    if not len(known):
        return UNKNOWN
    middle = np.median(known)
    return next((shade for power, (shade, _) in SHADES.items() if middle > power), FAINT)


def _needed(lag: int, columns: list[np.ndarray], wide: int) -> str:
    """The mark under the axis, its label on the side that has the room."""
    width = wide * len(columns)
    if lag > columns[-1][-1]:
        return f"{f'needed {lag} >':>{width}}"
    place = next(number for number, column in enumerate(columns) if lag <= column[-1]) * wide + (wide - 1) // 2
    label = f"needed {lag}"
    if place + 2 + len(label) <= width or place < len(label) + 1:
        return f"{'':>{place}}^ {label}"
    return f"{label:>{place - 1}} ^"


def _legend(characters: Iterable[str]) -> Iterator[str]:
    """What the characters that occur stand for; in two lines where one has no room for it."""
    occurring = set(characters)
    parts = [f"{shade} >{bound}" for shade, bound in SHADES.values() if shade in occurring]
    parts += [f"{FAINT} <1e-4"] if FAINT in occurring else []
    line = "times lag 0:"
    for part in parts:
        if len(line) + len(part) + 2 > _LEGEND_WIDTH:
            yield line
            line = " " * len("times lag 0:")
        line += f"  {part}"
    yield line


def _words(one: Series, needed_lag: int | None) -> Iterator[str]:
    """Decay and effective horizon of the last profile in which something was measured."""
    measured = np.flatnonzero(~np.isnan(one.values).all(axis=1))
    profile = one.values[measured[-1]]
    rate, horizon = decay_rate(profile), effective_horizon(profile)
    decay = "no decay that could be measured" if rate is None else f"{rate / math.log(10):+.3f} log10 per lag"
    yield f"last profile, step {one.steps[measured[-1]]:,}: {decay}"
    if horizon is None:
        return
    least = "at least " if horizon == np.flatnonzero(~np.isnan(profile))[-1] else ""
    needed = "" if needed_lag is None else f"; the task needs {needed_lag}"
    yield f"effective horizon (above {FADED:g} of lag 0): {least}{horizon} lags{needed}"


def _fewest_alive(shown: Profiles) -> Iterator[str]:
    alive, dead = shown.alive, shown.dead
    if alive is None or dead is None or not (alive.values < 1).any():
        return
    place, lag = divmod(int(np.nanargmin(alive.values)), alive.values.shape[1])
    living, zero = float(alive.values[place, lag]), float(dead.values[place, lag])
    yield (
        f"fewest alive: {living:.0%} of the sequences at step {alive.steps[place]:,}, lag {lag}; "
        f"{zero:.0%} zero, {max(0.0, 1 - living - zero):.0%} not finite"
    )
