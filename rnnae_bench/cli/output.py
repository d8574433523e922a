"""Standard output: what a command answers, whole, and nothing else."""

import contextlib
import ctypes
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def plugins_aside() -> Iterator[None]:
    """Have what is printed in the block go to standard error: by Python, by C, and by processes started there."""
    sys.stdout.flush()
    kept = None
    with contextlib.suppress(OSError):
        kept = os.dup(1)
        os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stderr.flush()
        # C keeps what it prints in a buffer of its own.
        ctypes.CDLL(None).fflush(None)
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


class Lost(Exception):
    """Standard output can't take what was printed: a full disk, say. No OSError, which argparse would overlook."""


class _Descriptor(io.FileIO):
    """Standard output's file descriptor."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Lost(error.strerror) from error


def prepare() -> None:
    """Have standard output raise `Lost`, and write out the characters that the terminal's encoding lacks."""
    raw = _Descriptor(1, "wb", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw), sys.stdout.encoding, errors="backslashreplace", line_buffering=raw.isatty()
    )


def discard() -> None:
    """Drop what standard output can't take, so that Python does not complain of it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
