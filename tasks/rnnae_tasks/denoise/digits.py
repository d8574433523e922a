"""The clean digits: 5,000 of MNIST packed beside this module, or all of MNIST from its published files."""

import gzip
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from rnnae_bench.errors import UserError

PACKED = Path(__file__).with_name("digits.npz")
"""Images ``uint8 [5000, 28, 28]`` and labels ``uint8 [5000]``, written by `build_digits`."""


class Digits(NamedTuple):
    """Clean images, pixels 0 to 255, in three disjoint sets."""

    train: UInt8[Tensor, "train 1 28 28"]
    validation: UInt8[Tensor, "validation 1 28 28"]
    test: UInt8[Tensor, "test 1 28 28"]


def packed_digits() -> Digits:
    """The packed digits: of each class's 500 images the first 350 train, 50 validate, the last 100 test."""
    with np.load(PACKED) as content:
        images, labels = torch.from_numpy(content["images"]).unsqueeze(1), content["labels"]
    place = np.empty(len(labels), dtype=int)
    for digit in range(10):
        rows = labels == digit
        place[rows] = np.arange(rows.sum())
    return Digits(images[place < 350], images[(place >= 350) & (place < 400)], images[place >= 400])


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
    from torchvision.datasets import MNIST

    raw = folder / "MNIST" / "raw"
    sums = dict(MNIST.resources)
    train_file, test_file = (f"{part}-images-idx3-ubyte.gz" for part in ("train", "t10k"))
    if not ((raw / train_file).exists() and (raw / test_file).exists()):
        try:
            MNIST(folder, download=True)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"MNIST is not in {raw} and could not be downloaded ({str(error).splitlines()[0]}); "
                f"put {train_file} and {test_file} there, or use source 'embedded'"
            ) from error
    train, test = (_read_images(raw / name, sums[name]) for name in (train_file, test_file))
    return Digits(train[:-5000], train[-5000:], test)


def _read_images(path: Path, published_md5: str) -> UInt8[Tensor, "image 1 28 28"]:
    """The images of a compressed IDX file: a header of 16 bytes, then the pixels row by row."""
    if not path.is_file():
        raise UserError(f"{path.name} is not in {path.parent}, only what was unpacked from it; add it, to be checked")
    content = path.read_bytes()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != published_md5:
        raise UserError(
            f"{path} is not MNIST as published: its MD5 sum is {md5}, not {published_md5}; "
            f"delete {path.parent} to download it again"
        )
    pixels = np.frombuffer(gzip.decompress(content), dtype=np.uint8, offset=16)
    return torch.from_numpy(pixels.copy()).reshape(-1, 1, 28, 28)
