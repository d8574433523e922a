"""What a model made of a few rows of the test set: input, target and prediction, in one file beside the record."""

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


def encode(samples: Mapping[str, np.ndarray]) -> bytes | None:
    """Samples as a compressed NumPy archive; as many of the first rows as fit into `LARGEST`, None where not one does.

    Args:
        samples: Arrays with one entry a row, ``rows`` (numbers in the test set), ``inputs``, ``targets`` and
            ``prediction`` among them, and ``lengths`` where rows have them.
    """
    count = len(samples["rows"])
    while count:
        buffer = BytesIO()
        np.savez_compressed(buffer, **{name: values[:count] for name, values in samples.items()})  # type: ignore[arg-type]
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
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _LARGEST_READ:
                raise ValueError(f"it takes more than {_LARGEST_READ:,} bytes when read")
        with np.load(path, allow_pickle=False) as content:
            found = {name: content[name] for name in content.files}
    except (zipfile.BadZipFile, ValueError, EOFError, KeyError) as error:
        raise ValueError(f"the samples in {path.name} can't be read: {in_a_line(error)}") from error
    if not all(name in found for name in _NEEDED) or len({values.shape[:1] for values in found.values()}) != 1:
        raise ValueError(f"{path.name} does not hold {', '.join(_NEEDED)} with one entry a row each")
    return found
