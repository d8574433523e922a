"""The 1,797 optical digits of 8 x 8 pixels that scikit-learn ships: small pictures for small models.

Alpaydin & Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, CC BY 4.0
(https://doi.org/10.24432/C50P49); scikit-learn has its test set.
"""

from pathlib import Path

import numpy as np
import torch

from rnnae_tasks.datasets.digits import Digits, Labels

PACKED = Path(__file__).with_name("optical_digits.npz")
"""Images ``uint8 [1797, 8, 8]``, pixels 0 to 16, and labels ``uint8 [1797]``, written by `build_optical_digits`."""

_ENDS = (1293, 1437)
"""Where training and validation rows end; the other 360 are the test."""


def optical_digits() -> Digits:
    """Images ``uint8 [image 1 8 8]``, pixels 0 to 16, in the packed order: 1,293 train, 144 validate, 360 test."""
    with np.load(PACKED) as content:
        return Digits(*torch.from_numpy(content["images"]).unsqueeze(1).tensor_split(_ENDS))


def optical_labels() -> Labels:
    """The labels of `optical_digits`, in the order of its rows."""
    with np.load(PACKED) as content:
        return Labels(*torch.from_numpy(content["labels"].astype(np.int64)).tensor_split(_ENDS))
