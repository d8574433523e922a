"""Series: what was read, what came after or beside it, and what the model said."""

from typing import Any

import numpy as np

from rnnae_bench.report.samples.kinds import Samples, classes, is_series, names_of, steps

MOST = 4
"""Rows that are drawn."""

_READ, _TRUE, _SAID = "0.6", "black", "tab:red"


def height_of(samples: Samples) -> float:
    """Inches that `draw` needs; 0 where there is nothing to draw."""
    if not is_series(samples["inputs"]):
        return 0.0
    return 1.25 * -(-min(MOST, len(samples["rows"])) // 2) + 0.45


def draw(figure: Any, samples: Samples) -> None:
    """A panel a row: grey what was read, black the truth, red the model's answer."""
    count = min(MOST, len(samples["rows"]))
    grid = figure.subplots(-(-count // 2), 2, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place < count:
            _panel(axes, samples, place)
        else:
            axes.remove()
    handles, labels = grid.flat[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize="small")


def _panel(axes: Any, samples: Samples, row: int) -> None:
    read = samples["inputs"][row, : steps(samples, row)]
    target, said = samples["targets"][row], samples.get("output", samples["prediction"])[row]
    place = f"row {samples['rows'][row]}"
    axes.tick_params(labelsize="x-small")
    time = np.arange(len(read))
    chosen = classes(samples)
    axes.plot(time, read, color=_READ, linewidth=1, label=_only_once("read", read.shape[1]))
    if chosen is not None:
        true, likeliest, chance = (column[row] for column in chosen)
        names = names_of(samples, "outputs", samples["prediction"].shape[1])
        place += f": {names[likeliest]} ({chance:.0%}), truly {names[true]}"
    elif "output" in samples and said.shape == samples["inputs"][row].shape:
        axes.plot(time, said[: len(read)], color=_SAID, linewidth=1.2, label=_only_once("model", read.shape[1]))
        if samples["prediction"].ndim == 1:
            place += f": error {samples['prediction'][row]:.3g}"
    elif target.ndim == 2 and said.shape == target.shape:
        _beside(axes, time, target[: len(read)], said[: len(read)])
    elif target.ndim == 1 and said.shape == target.shape:
        after = len(read) + np.arange(len(target))
        _beside(axes, after, target[:, None], said[:, None])
    elif target.ndim == 1 and said.ndim == 2:
        _beside(axes, time, target[: len(read), None], said.argmax(-1)[: len(read), None])
    elif target.ndim == 0:
        place += f": model {np.ravel(said)[0]:.3g}, truth {float(target):.3g}"
    axes.set_title(place, fontsize="x-small", loc="left")


def _beside(axes: Any, time: np.ndarray, truth: np.ndarray, said: np.ndarray) -> None:
    axes.plot(time, truth, color=_TRUE, linewidth=1, label=_only_once("truth", truth.shape[1]))
    axes.plot(time, said, color=_SAID, linewidth=1.2, linestyle="--", label=_only_once("model", said.shape[1]))


def _only_once(name: str, lines: int) -> list[str]:
    """Labels of several lines, of which a legend shows the first."""
    return [name, *["_"] * (lines - 1)]
