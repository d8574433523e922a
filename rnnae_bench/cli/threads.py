"""How many threads a trial computes with, where nobody has said.

Threads of one computation wait for each other many times a step. Where one of them has to share its core, all others
wait for it, and spin while they do: beside one busy process two threads are several times slower than one
(`benchmarks/threads`).
"""

import os
import time
from pathlib import Path

_SHORTEST = 0.5
"""Seconds; over less, the system's hundredths tell too little."""


class Load:
    """How many cores others keep busy, on average since this was made; made before the imports, it costs no time."""

    def __init__(self) -> None:
        self._busy, self._own, self._since = _busy_seconds(), time.process_time(), time.monotonic()

    def of_others(self) -> float:
        """Cores, of those that this process may use; 0 where the system does not tell, or had no time to."""
        busy, own, elapsed = _busy_seconds(), time.process_time(), time.monotonic() - self._since
        if busy is None or self._busy is None or elapsed < _SHORTEST:
            return 0.0
        return max(0.0, (busy - self._busy - (own - self._own)) / elapsed)


def threads_beside(others: float, threads: int) -> int:
    """How many of so many threads, one a core, to use where others keep so many cores busy; one at least.

    >>> threads_beside(0.2, 2), threads_beside(1.0, 2), threads_beside(1.0, 8), threads_beside(5.0, 2)
    (2, 1, 7, 1)
    """
    return max(1, threads - round(others))


def busy_seconds(stat: str, cores: set[int]) -> float:
    """Seconds that some cores were not idle since the system started, by ``/proc/stat``.

    >>> busy_seconds("cpu  9 9 9 9 9 9 9 9 0 0\\ncpu0 100 0 50 700 3 0 0 50 0 0\\ncpu1 1 1 1 1 1 1 1 1 0 0", {0})
    2.0
    """
    ticks = 0
    for name, *numbers in map(str.split, stat.splitlines()):
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            user, nice, system, _idle, _waiting, *others = map(int, numbers[:8])
            ticks += user + nice + system + sum(others)
    return ticks / os.sysconf("SC_CLK_TCK")


def _busy_seconds() -> float | None:
    stat = Path("/proc/stat")
    return busy_seconds(stat.read_text(), os.sched_getaffinity(0)) if stat.exists() else None
