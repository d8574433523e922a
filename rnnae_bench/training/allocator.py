"""Keep freed memory in the process while a trial runs, so that a step doesn't have to ask the system for it again.

Large tensors are born and die with every step. glibc takes each from the system by ``mmap`` and gives it back on
``free``, and the kernel clears every page anew on first touch: 61,000 page faults a step for an LSTM of 128 units over
784 steps. With both thresholds out of the way freed blocks stay in the heap and are taken from there. The price: what a
process has once used, it keeps until it is told to release it.
"""

import contextlib
import ctypes
import gc
import os
import sys

SWITCH = "RNNAE_BENCH_KEEP_MEMORY"
"""Environment variable; ``0`` leaves the allocator as it is."""

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc to take large blocks from its heap and to keep what is freed there; says whether it was told.

    Does nothing, and says so, on other systems, with another allocator or C library, or where `SWITCH` is ``0``.
    """
    if os.environ.get(SWITCH) == "0" or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))


def release_freed_memory() -> None:
    """Give back to the system what this process has used and does not use any more."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
