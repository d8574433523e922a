"""Which classes were mistaken for which, over the test set."""

from typing import Any

import numpy as np

from rnnae_bench.report.samples.kinds import Samples, names_of

_NUMBERED = 12
"""Classes up to which every cell shows its count."""


def height_of(samples: Samples) -> float:
    """Inches that `draw` needs; 0 where there is nothing to draw."""
    matrix = samples.get("test/confusion")
    return 0.0 if matrix is None else min(4.6, 1.6 + 0.2 * len(matrix))


def draw(figure: Any, samples: Samples) -> None:
    """A row a true class, coloured by the share of its examples that each class was given."""
    matrix = samples["test/confusion"]
    names = names_of(samples, "outputs", len(matrix))
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, fontsize="x-small", rotation=0 if max(map(len, names)) < 4 else 90)
    axes.set_yticks(ticks, names, fontsize="x-small")
    axes.set_xlabel("class given by the model", fontsize="small")
    axes.set_ylabel("true class", fontsize="small")
    right = matrix.trace() / max(1, matrix.sum())
    axes.set_title(f"Confusion over {matrix.sum():,} test rows: {right:.1%} right", fontsize="small")
    if len(matrix) <= _NUMBERED:
        for (true, said), count in np.ndenumerate(matrix):
            colour = "white" if share[true, said] > 0.5 else "black"
            axes.text(said, true, f"{count:,}", ha="center", va="center", fontsize="x-small", color=colour)
    figure.colorbar(image, ax=axes, label="share of the true class")
