"""The lock of a search's journal: gone with the process that held it, however that ended."""

import fcntl
import os
from pathlib import Path


class JournalLock:
    """A lock for ``optuna.storages.journal.JournalFileBackend``, held by one process at a time.

    It is the kernel's (``flock``), so that a killed process leaves none behind; Optuna's own are files, and waited for
    half a minute. Whoever gets it removes the line that a process killed in the midst of writing may have left
    unfinished: the next line would be glued to it, and the journal could not be read again.

    Args:
        journal: The journal's path; the lock is a file beside it.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock and take it."""
        self._handle = os.open(self._journal.with_name(f"{self._journal.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        self._mend()
        return True

    def release(self) -> None:
        """Give it back."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _mend(self) -> None:
        if not self._journal.exists():
            return
        with self._journal.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            if not size:
                return
            file.seek(size - 1)
            if file.read(1) == b"\n":
                return
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
