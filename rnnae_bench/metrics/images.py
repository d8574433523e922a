"""How alike two images are."""

from jaxtyping import Float
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from rnnae_bench.metrics.mean import Mean

WINDOW_RADIUS = 5
"""Pixels from the middle of the window of `structural_similarity` to its border: it has 11 x 11."""


def structural_similarity(
    prediction: Float[Tensor, "batch channel height width"], clean: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, " batch"]:
    """The structural similarity of each image, of pixels in [0, 1], averaged over the windows that lie within it.

    The Gaussian window has a standard deviation of 1.5 pixels and 11 x 11 of them, K1 = 0.01 and K2 = 0.03. Where the
    window would reach beyond the image, there is no value to average: neither the authors' program nor scikit-image
    takes one there, and torchmetrics, which mirrors the image, gives them beside the others.

    Source: Wang, Bovik, Sheikh & Simoncelli (2004), Image quality assessment: from error visibility to structural
    similarity, IEEE Transactions on Image Processing 13(4).
    """
    _, everywhere = structural_similarity_index_measure(
        prediction, clean, sigma=1.5, data_range=1.0, k1=0.01, k2=0.03, reduction="none", return_full_image=True
    )
    within = slice(WINDOW_RADIUS, -WINDOW_RADIUS)
    return everywhere[..., within, within].mean((1, 2, 3))


class StructuralSimilarity(Mean):
    """The mean of `structural_similarity` over images."""

    def update(
        self,
        prediction: Float[Tensor, "batch channel height width"],
        targets: Float[Tensor, "batch channel height width"],
    ) -> None:
        """Add a batch of predicted and clean images."""
        self.add(structural_similarity(prediction, targets).double(), None)
