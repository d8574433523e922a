"""Plain English narrative: the King James Bible from Joshua to the Second Book of Kings, one paragraph a line."""

import gzip
from functools import lru_cache
from pathlib import Path

PACKED = Path(__file__).with_name("narrative.txt.gz")
"""Written by `build_narrative`."""


@lru_cache(maxsize=1)
def packed_narrative() -> str:
    """The whole text, ASCII."""
    return gzip.decompress(PACKED.read_bytes()).decode("ascii")
