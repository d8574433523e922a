"""Files that are written whole or not at all, by one process at a time."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: to a temporary name beside it, forced to disk, then renamed."""
    temporary = _temporary(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    force_names(path.parent)


def copy_atomically(source: Path, target: Path) -> None:
    """Give a file a second name, in place of what has that name; its content a second time where links can't be."""
    temporary = _temporary(target)
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(target)
        # A rename between two names of one file does nothing.
        temporary.unlink(missing_ok=True)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def force_names(folder: Path) -> None:
    """Force the names in a folder to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Wait until no other process or thread is in this context for that folder, and keep them out.

    The lock is the kernel's, on the folder itself, and gone with the process that held it. Gives whether there is one:
    some network file systems lock no folders.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def discard_temporaries(folder: Path, name: str = "") -> None:
    """Remove the temporary files of writes that were killed; of writes that are going on, too.

    Args:
        folder: Where they lie; it need not exist.
        name: Only those of files whose names begin so.
    """
    for piece in folder.glob(f".{name}*.tmp"):
        piece.unlink(missing_ok=True)
