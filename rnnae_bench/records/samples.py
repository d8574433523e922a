"""What a model made of the test set: a few rows with its answers, and what is drawn of all rows, in one file.

The arrays of rows have one entry a row: ``rows`` (numbers in the test set), ``inputs``, ``targets`` and ``prediction``;
``lengths``, ``mask`` and ``target_lengths`` where a batch has them; ``output``, what the model itself gave where the
task makes its answer of that; ``continuation``, the symbols with which it goes on after the row, where it predicts the
next one. Arrays with a slash in their name are about more than these rows:

- ``names/inputs``, ``names/outputs``: what symbols and classes are called;
- ``test/confusion`` ``[true predicted]``: how often, over the test set;
- ``test/codes`` ``[row number]`` and ``test/code_labels`` ``[row]``: an autoencoder's codes of some rows;
- ``test/scores`` ``[row]``, ``test/kinds`` ``[row]`` and ``test/threshold`` ``[1]``: what the task found unusual.
"""

import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np

from rnnae_bench.errors import in_a_line

LARGEST = 2**20
"""Bytes that the samples of a trial take at most, on disk; fewer rows are kept where all are too many."""

_LARGEST_READ = 2**26
"""Bytes that they take at most when they are read."""

_NEEDED = ("rows", "inputs", "targets", "prediction")


def of_rows(samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays with one entry a row."""
    return {name: values for name, values in samples.items() if "/" not in name}


def encode(samples: Mapping[str, np.ndarray]) -> bytes | None:
    """Samples as a compressed NumPy archive; as many of the first rows as fit into `LARGEST`, None where not one does.

    Args:
        samples: Arrays of rows, and others with a slash in their name, which are left out where nothing fits with them.
    """
    rows = of_rows(samples)
    for others in ({name: values for name, values in samples.items() if name not in rows}, {}):
        count = len(rows["rows"])
        while count:
            buffer = BytesIO()
            kept = {name: values[:count] for name, values in rows.items()}
            np.savez_compressed(buffer, **kept, **others)  # type: ignore[arg-type]
            if buffer.tell() <= LARGEST:
                return buffer.getvalue()
            count //= 2
    return None


def read(path: Path) -> dict[str, np.ndarray]:
    """The samples in a file, which may be another's: nothing in it is run, and no more is unpacked than it should hold.

    Raises:
        OSError: there is no such file.
        ValueError: it holds no samples, or too many.
    """
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path.name} is larger than {LARGEST:,} bytes")
    try:
        return decode(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"the samples in {path.name} can't be read: {in_a_line(error)}") from error


def decode(content: bytes) -> dict[str, np.ndarray]:
    """The samples that `encode` wrote.

    Raises:
        ValueError: these are none, or too many.
    """
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST_READ:
                raise ValueError(f"it takes more than {_LARGEST_READ:,} bytes when read")
        with np.load(BytesIO(content), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ValueError(in_a_line(error)) from error
    rows = of_rows(found)
    if not all(name in rows for name in _NEEDED) or len({values.shape[:1] for values in rows.values()}) != 1:
        raise ValueError(f"it does not hold {', '.join(_NEEDED)} with one entry a row each")
    return found
