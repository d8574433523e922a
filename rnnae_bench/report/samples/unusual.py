"""How unusual rows were found, by what they are, and the threshold."""

from typing import Any

import numpy as np

from rnnae_bench.report.samples.kinds import Samples

_HEIGHT = 2.6
_BINS = 40


def height_of(samples: Samples) -> float:
    """Inches that `draw` needs; 0 where there is nothing to draw."""
    scores = samples.get("test/scores")
    return _HEIGHT if scores is not None and np.isfinite(scores).any() else 0.0


def draw(figure: Any, samples: Samples) -> None:
    """Histograms of the scores, normal rows and unusual ones, on a logarithmic axis where all are above zero."""
    scores, kinds = samples["test/scores"], samples["test/kinds"]
    known = np.isfinite(scores)
    scores, kinds = scores[known], kinds[known]
    axes = figure.subplots()
    logarithmic = bool((scores > 0).all() and scores.max() > 20 * scores.min())
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
        logarithmic = False
    edges = np.geomspace(low, high, _BINS) if logarithmic else np.linspace(low, high, _BINS)
    for place, (name, mine) in enumerate({"normal": kinds == 0, "unusual": kinds != 0}.items()):
        label = f"{name} ({mine.sum():,})"
        axes.hist(scores[mine], bins=edges, density=True, color=f"C{place}", alpha=0.6, label=label)
    threshold = samples.get("test/threshold")
    if threshold is not None:
        caught = (scores[kinds != 0] > threshold[0]).mean() if (kinds != 0).any() else np.nan
        false = (scores[kinds == 0] > threshold[0]).mean() if (kinds == 0).any() else np.nan
        label = f"threshold {threshold[0]:.3g}: {caught:.0%} of the unusual above, {false:.0%} of the normal"
        axes.axvline(threshold[0], color="black", linestyle="--", linewidth=1, label=label)
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xlabel("score of a test row: the larger, the more unusual", fontsize="small")
    axes.set_ylabel("density", fontsize="small")
    axes.legend(fontsize="x-small")
