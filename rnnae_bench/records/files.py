"""Files that are written whole or not at all, by one process at a time."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rnnae_bench.errors import UserError


def require_writable(folder: Path, what: str) -> None:
    """Raise `UserError` where no file could be written to a folder; tries it, and leaves no trace.

    Args:
        folder: Where something is to be written; it and those around it are made for the trial.
        what: What is to be written, in the plural.
    """
    place, missing, made = folder.absolute(), [], []
    while not os.path.lexists(place):
        missing.append(place)
        place = place.parent
    try:
        if not place.is_dir():
            kind = f"a link to {place.readlink()}, which is not there" if place.is_symlink() else "a file"
            raise UserError(f"cannot write {what} to {folder}: {place} is {kind}; choose another --out")
        for one in reversed(missing):
            with contextlib.suppress(FileExistsError):
                one.mkdir()
                made.append(one)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = error.strerror if isinstance(error, OSError) else str(error)
        where = f" in {place}" if missing else ""
        raise UserError(f"cannot write {what} to {folder}: {reason}{where}; choose another --out") from error
    finally:
        for one in reversed(made):
            # Another process may have begun to use it.
            with contextlib.suppress(OSError):
                one.rmdir()


def require_writable_file(path: Path, what: str) -> None:
    """Raise `UserError` where a file could not be written, new or in place of an old one.

    Args:
        path: The file, in a folder that exists.
        what: What is to be written, as ``the page``.
    """
    reason = None
    try:
        mode = path.lstat().st_mode
        if path.is_symlink() and not path.exists():
            reason = f"it is a link to {path.readlink()}, which is not there"
        elif path.is_dir():
            reason = "it is a folder"
        elif not os.access(path, os.W_OK):
            reason = f"it is read-only ({mode & 0o777:o})"
    except FileNotFoundError:
        if not os.access(path.parent, os.W_OK):
            reason = f"{path.parent} is {'read-only' if path.parent.is_dir() else 'no folder'}"
    except OSError as error:
        reason = str(error.strerror)
    except ValueError as error:
        reason = str(error)
    if reason:
        raise UserError(f"cannot write {what} {path}: {reason}; choose another file")


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
