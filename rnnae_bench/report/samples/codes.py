"""Where the codes of an autoencoder lie, in a plane: by principal components, and by t-SNE."""

from typing import Any

import numpy as np
from jaxtyping import Float

from rnnae_bench.report.samples.kinds import Samples

_HEIGHT = 3.4
_FEWEST = 10
"""Codes below which nothing is drawn."""


def height_of(samples: Samples) -> float:
    """Inches that `draw` needs; 0 where there is nothing to draw."""
    codes = samples.get("test/codes")
    drawn = codes is not None and len(codes) >= _FEWEST and codes.shape[1] > 1 and np.isfinite(codes).all()
    return _HEIGHT if drawn else 0.0


def draw(figure: Any, samples: Samples) -> None:
    """The codes as points, coloured by what the rows show; of two numbers as they are."""
    codes, labels = samples["test/codes"].astype(np.float64), samples.get("test/code_labels")
    if codes.shape[1] == 2:
        planes = {"the code's two numbers": codes}
    else:
        planes = {_title(codes): principal_plane(codes), "t-SNE (distances are not to scale)": neighbour_plane(codes)}
    places = figure.subplots(1, len(planes), squeeze=False)[0]
    kinds = np.unique(labels) if labels is not None else np.array([0])
    for axes, (title, plane) in zip(places, planes.items(), strict=True):
        for place, kind in enumerate(kinds):
            mine = plane if labels is None else plane[labels == kind]
            axes.scatter(*mine.T, s=8, color=f"C{place % 10}", label=str(kind), linewidths=0)
        axes.set_title(f"codes of {len(codes)} test rows: {title}", fontsize="x-small")
        axes.tick_params(labelsize="x-small")
    if labels is not None and len(kinds) <= 12:
        figure.legend(*places[0].get_legend_handles_labels(), loc="outside right center", fontsize="x-small")


def principal_plane(codes: Float[np.ndarray, "row number"]) -> Float[np.ndarray, "row 2"]:
    """The codes along their two directions of largest variance."""
    centred = codes - codes.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    # The sign of a direction is free: the largest part is made positive.
    two = directions[:2]
    two = two * np.sign(two[np.arange(2), np.abs(two).argmax(axis=1)])[:, None]
    plane: np.ndarray = centred @ two.T
    return plane


def _title(codes: Float[np.ndarray, "row number"]) -> str:
    spread = np.linalg.svd(codes - codes.mean(axis=0), compute_uv=False) ** 2
    return f"principal components ({spread[:2].sum() / max(spread.sum(), 1e-300):.0%} of the variance)"


def neighbour_plane(codes: Float[np.ndarray, "row number"]) -> Float[np.ndarray, "row 2"]:
    """The codes by t-SNE (van der Maaten & Hinton 2008), the same at every call."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(codes) - 1) / 3)
    plane: np.ndarray = TSNE(2, perplexity=perplexity, init="pca", random_state=0, max_iter=500).fit_transform(codes)
    return plane
