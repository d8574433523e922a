"""The clean digits and what they show: 5,000 of MNIST packed beside this module, or all of MNIST as published."""

import gzip
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from rnnae_bench.errors import UserError

PACKED = Path(__file__).with_name("digits.npz")
"""Images ``uint8 [5000, 28, 28]`` and labels ``uint8 [5000]``, written by `build_digits`."""

IMAGES = ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz")
LABELS = ("train-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
"""The published files of MNIST, for training and for the test."""


class Digits(NamedTuple):
    """Clean images in three disjoint sets; pixels 0 to 255 of MNIST."""

    train: UInt8[Tensor, "train 1 height width"]
    validation: UInt8[Tensor, "validation 1 height width"]
    test: UInt8[Tensor, "test 1 height width"]


class Labels(NamedTuple):
    """Which digit each image of the three sets shows, 0 to 9."""

    train: Int64[Tensor, " train"]
    validation: Int64[Tensor, " validation"]
    test: Int64[Tensor, " test"]


def packed_digits() -> Digits:
    """The packed digits: of each class's 500 images the first 350 train, 50 validate, the last 100 test."""
    images, _, place = _packed()
    return Digits(images[place < 350], images[(place >= 350) & (place < 400)], images[place >= 400])


def packed_labels() -> Labels:
    """The labels of `packed_digits`, in the order of its rows."""
    _, labels, place = _packed()
    return Labels(labels[place < 350], labels[(place >= 350) & (place < 400)], labels[place >= 400])


def _packed() -> tuple[UInt8[Tensor, "image 1 28 28"], Int64[Tensor, " image"], np.ndarray]:
    """All packed images, their labels, and the place of each among the images of its class."""
    with np.load(PACKED) as content:
        images, labels = torch.from_numpy(content["images"]).unsqueeze(1), content["labels"].astype(np.int64)
    place = np.empty(len(labels), dtype=int)
    for digit in range(10):
        rows = labels == digit
        place[rows] = np.arange(rows.sum())
    return images, torch.from_numpy(labels), place


def published_digits(folder: Path) -> Digits:
    """All of MNIST: the last 5,000 of the 60,000 training images validate, the 10,000 test images test.

    The images are read from the compressed files as published, in the place where torchvision keeps them
    (``folder/MNIST/raw``), after their MD5 sums were compared with torchvision's. Where the files are absent,
    torchvision downloads them.

    Args:
        folder: What torchvision calls the root.

    Raises:
        UserError: the files are absent and can't be downloaded, or are not those that were published.
    """
    train, test = (torch.from_numpy(_read(folder, name, header=16)).reshape(-1, 1, 28, 28) for name in IMAGES)
    return Digits(train[:-5000], train[-5000:], test)


def published_labels(folder: Path) -> Labels:
    """The labels of `published_digits`, in the order of its rows, from the two files of labels beside the images.

    Args:
        folder: What torchvision calls the root.

    Raises:
        UserError: as of `published_digits`.
    """
    train, test = (torch.from_numpy(_read(folder, name, header=8)).long() for name in LABELS)
    return Labels(train[:-5000], train[-5000:], test)


def _read(folder: Path, name: str, header: int) -> np.ndarray:
    """The bytes of a compressed IDX file after its header; the file is downloaded where it is absent, and verified."""
    from torchvision.datasets import MNIST

    raw = folder / "MNIST" / "raw"
    if not (raw / name).exists():
        try:
            MNIST(folder, download=True)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"MNIST is not in {raw} and could not be downloaded ({str(error).splitlines()[0]}); "
                f"put {' and '.join(IMAGES)} there, or use source 'embedded'"
            ) from error
    return _content(raw / name, dict(MNIST.resources)[name])[header:]


def _content(path: Path, published_md5: str) -> np.ndarray:
    """What a compressed file unpacks to, byte by byte."""
    if not path.is_file():
        raise UserError(f"{path.name} is not in {path.parent}, only what was unpacked from it; add it, to be checked")
    content = path.read_bytes()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != published_md5:
        raise UserError(
            f"{path} is not MNIST as published: its MD5 sum is {md5}, not {published_md5}; "
            f"delete {path.parent} to download it again"
        )
    return np.frombuffer(gzip.decompress(content), dtype=np.uint8).copy()
