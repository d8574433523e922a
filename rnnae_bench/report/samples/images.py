"""Images: what went in, what came out, and what was to come out."""

from typing import Any

import numpy as np

from rnnae_bench.report.samples.kinds import Samples, is_image

MOST = 8
"""Images side by side."""


def rows_of(samples: Samples) -> dict[str, np.ndarray]:
    """The rows of images by what they are called, each ``[row channel height width]``; empty where there are none."""
    if not is_image(samples["inputs"]):
        return {}
    output = samples.get("output", samples["prediction"])
    found = {"input": samples["inputs"]}
    if output.shape == samples["inputs"].shape:
        found["output"] = output
    targets = samples["targets"]
    if is_image(targets) and not np.array_equal(targets, samples["inputs"]):
        found["target"] = targets
    return found


def height_of(samples: Samples) -> float:
    """Inches that `draw` needs; 0 where there is nothing to draw."""
    return 0.95 * len(rows_of(samples)) + 0.25 if rows_of(samples) else 0.0


def draw(figure: Any, samples: Samples) -> None:
    """A row of images for the inputs, the outputs and, where they are not the inputs, the targets."""
    rows = rows_of(samples)
    count = min(MOST, len(samples["rows"]))
    grid = figure.subplots(len(rows), MOST, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for places, (name, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(places, images[:count], strict=False):
            shown = image.mean(axis=0) if len(image) != 3 else image.transpose(1, 2, 0).clip(0, 1)
            axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        places[0].text(
            -0.15, 0.5, name, transform=places[0].transAxes, rotation=90, ha="right", va="center", fontsize="small"
        )
    if "output" in rows and "output" in samples and samples["prediction"].ndim == 1:
        for axes, score in zip(grid[-1], samples["prediction"][:count], strict=False):
            axes.set_title(f"error {score:.3g}", fontsize="x-small", y=-0.3)
