"""Bounds on the time and memory that a piece of work may take, where what is worked on may be another's."""

import contextlib
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rnnae_bench.errors import UserError


class _Late(BaseException):
    """The time is over. No Exception, so that no handler of the work's takes it for its own."""


@contextmanager
def bounded(what: str, memory: int, seconds: float | None = None) -> Iterator[None]:
    """Give up the work within the block where it takes too much.

    The limits are the kernel's: on the address space of this process, and a signal in its main thread. Elsewhere
    (other threads, systems without these limits) the block runs without them.

    Args:
        what: The work, as the error names it.
        memory: Bytes that it may take beside what the process has already.
        seconds: Of wall time that it may take; None for any.

    Raises:
        UserError: it took more.
    """
    with _limited_memory(memory), _limited_time(seconds):
        try:
            yield
        except _Late:
            raise UserError(f"{what} takes more than {seconds:g} s") from None
        except MemoryError as error:
            raise UserError(f"{what} takes more than {memory / 2**30:g} GiB of memory") from error


@contextmanager
def _limited_memory(memory: int) -> Iterator[None]:
    taken = _address_space()
    if taken is None:
        yield
        return
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [one for one in (taken + memory, before, hard) if one != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))


def _address_space() -> int | None:
    """Bytes of this process's address space; None where the system doesn't say."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    return None


@contextmanager
def _limited_time(seconds: float | None) -> Iterator[None]:
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: Any) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, late)
    # Again and again, for work that catches everything.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
