"""Writes the ``.npz`` files from the data sets that come with the aeon package (BSD-3-Clause).

It was run once, and the files are committed; a test compares where the package is installed. To run it again::

    pip install --no-deps aeon==1.6.0
    python -m rnnae_tasks.ucr.build_archive
"""

from importlib.metadata import distribution
from pathlib import Path

import numpy as np

from rnnae_tasks.ucr.archive import CLASSES, file_of

AEON_VERSION = "1.6.0"
"""The release that the committed files were made with."""


def read_ts(path: Path) -> tuple[list[np.ndarray], list[str]]:
    """Series ``float64 [time feature]`` and labels of a file in the archive's text form.

    A line is one series: its features are separated by colons, their values by commas, and the label comes last.
    Lines that begin with ``#`` or ``@`` are comments and the header.
    """
    series, labels = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "#@":
            *features, label = line.strip().split(":")
            series.append(np.array([np.fromstring(feature, sep=",") for feature in features]).T)
            labels.append(label)
    return series, labels


def aeon_dataset(dataset: str) -> dict[str, np.ndarray]:
    """What stands in a packed file, by its names there; see `archive.packed`."""
    folder = Path(str(distribution("aeon").locate_file(f"aeon/datasets/data/{dataset}")))
    train, train_labels = read_ts(folder / f"{dataset}_TRAIN.ts")
    test, test_labels = read_ts(folder / f"{dataset}_TEST.ts")
    return {
        "values": np.concatenate(train + test).astype(np.float32),
        "lengths": np.array([len(one) for one in train + test], dtype=np.int16),
        "labels": np.unique(train_labels + test_labels, return_inverse=True)[1].astype(np.uint8),
        "train": np.array(len(train)),
    }


if __name__ == "__main__":
    for name in CLASSES:
        np.savez_compressed(file_of(name), **aeon_dataset(name))  # type: ignore[arg-type]
        print(f"{file_of(name)}: {file_of(name).stat().st_size} bytes")
