"""Bounds on the time and memory that a piece of work may take, where what is worked on may be another's."""

import resource
import signal
import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType

from rnnae_bench.errors import UserError


class TooMuch(UserError):
    """Work took more time or memory than it may."""


class _Late(BaseException):
    """The time is over. No Exception, so that no handler of the work's takes it for its own."""


class bounded:
    """A context that gives up the work within it where that takes too much, and raises `TooMuch`.

    The limits are the kernel's: on the address space of this process, and a signal in its main thread. Elsewhere
    (other threads, systems without these limits) the work goes on without them.

    Args:
        what: The work, as the error names it.
        memory: Bytes that it may take beside what the process has already.
        seconds: Of wall time that it may take; None for any.
    """

    def __init__(self, what: str, memory: int, seconds: float | None = None) -> None:
        self._what, self._memory, self._seconds = what, memory, seconds
        self._is_timed = seconds is not None and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> None:
        self._limits = resource.getrlimit(resource.RLIMIT_AS)
        taken = _address_space()
        if taken is not None:
            known = [one for one in (taken + self._memory, *self._limits) if one != resource.RLIM_INFINITY]
            resource.setrlimit(resource.RLIMIT_AS, (min(known), self._limits[1]))
        if self._is_timed:
            self._handler = signal.signal(signal.SIGALRM, _late)
            self._unraisable, sys.unraisablehook = sys.unraisablehook, self._swallowed
            # Again and again, for work that catches everything, and for finalisers, out of which nothing is raised.
            signal.setitimer(signal.ITIMER_REAL, self._seconds or 0, 1.0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # First of all, since whatever follows takes memory and time too.
        resource.setrlimit(resource.RLIMIT_AS, self._limits)
        if self._is_timed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._handler)
            sys.unraisablehook = self._unraisable
        if isinstance(error, _Late):
            raise TooMuch(f"{self._what} takes more than {self._seconds:g} s") from None
        if isinstance(error, MemoryError):
            raise TooMuch(f"{self._what} takes more than {self._memory / 2**30:g} GiB of memory") from None

    def _swallowed(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Tell of what a finaliser raised, but not that the time was over in one."""
        if unraisable.exc_type is not _Late:
            self._unraisable(unraisable)


def _address_space() -> int | None:
    """Bytes of this process's address space; None where the system doesn't say."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    except OSError:
        return None
    return int(pages) * resource.getpagesize()


def _late(signal: int, frame: FrameType | None) -> None:
    raise _Late
