"""Writes ``optical_digits.npz`` from the 1,797 digits that scikit-learn ships, in a fixed random order.

It was run once, and the file is committed; a test compares the two. The order is that of
``numpy.random.default_rng(0).permutation(1797)``, packed since numpy does not promise the same one for all time. To run
it again::

    python -m rnnae_tasks.datasets.build_optical_digits
"""

import numpy as np
from sklearn.datasets import load_digits

from rnnae_tasks.datasets.optical_digits import PACKED


def permuted_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images ``uint8 [1797, 8, 8]``, pixels 0 to 16, and labels ``uint8 [1797]``."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    return digits.images[order].astype(np.uint8), digits.target[order].astype(np.uint8)


if __name__ == "__main__":
    images, labels = permuted_digits()
    np.savez_compressed(PACKED, images=images, labels=labels)
    print(f"{PACKED}: {len(images)} digits, {PACKED.stat().st_size} bytes")
