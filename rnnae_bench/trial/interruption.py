"""Signals that ask a process to stop: it does, once what was measured is written."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Ctrl-C; what schedulers, containers and ``kill`` send; what the end of a terminal or a connection sends; SLURM's
warning that the job's time will be up (``--signal=USR1@60``)."""

ONCE_SECONDS = 2.0
"""Signals so close after one that was obeyed are the same wish: a wrapper passes on what the terminal sent to all."""


class Interruption(KeyboardInterrupt):
    """A signal asked this process to stop.

    Args:
        number: Which.
    """

    def __init__(self, number: int) -> None:
        name = signal.Signals(number).name
        self.name = "Ctrl-C" if number == signal.SIGINT else name
        super().__init__(f"stopped by {self.name}")


class Interruptions:
    """A context in which the signals that ask to stop are held back, but for the parts that they may end.

    What is held back takes effect at the next such part, or when the context is left. A signal that was being ignored
    (under ``nohup``, say) stays so. In threads other than the main one, which get no signals, it does nothing.
    """

    _depth = 0
    """How many such contexts within each other the process is in."""
    _obeyed = 0.0
    """When it last obeyed a signal in them, by the monotonic clock."""

    patient = False
    """Whether what a signal may end has asked for the time to come to a good place first: it looks after `held` there.
    A second signal ends it all the same."""

    def __init__(self) -> None:
        self._may_raise = False
        self._held: int | None = None
        self._held_since = -ONCE_SECONDS
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruptions":
        if threading.current_thread() is threading.main_thread():
            if not Interruptions._depth:
                Interruptions._obeyed = time.monotonic() - ONCE_SECONDS
            Interruptions._depth += 1
            for number in SIGNALS:
                before = signal.getsignal(number)
                if before not in (None, signal.SIG_IGN):
                    self._before[number] = before
                    signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if threading.current_thread() is threading.main_thread():
            Interruptions._depth -= 1
        for number, before in self._before.items():
            signal.signal(number, before)
        if self._held is not None:
            signal.raise_signal(self._held)

    def wait(self) -> None:
        """Be `patient` from now on, and let nobody else, as Lightning does, act on the signals."""
        self.patient = True
        for number in self._before:
            signal.signal(number, self._on_signal)

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """A part that a signal may end, by an `Interruption` in the midst of it."""
        try:
            self._may_raise = True
            self.obey()
            yield
        finally:
            self._may_raise = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - max(Interruptions._obeyed, self._held_since) < ONCE_SECONDS:
            return
        if self._may_raise and (self._held is not None or not self.patient):
            self._held = None
            self._raise(number)
        self._held, self._held_since = number, now

    @property
    def held(self) -> float | None:
        """For how many seconds a signal has been waiting; None where there is none."""
        return None if self._held is None else time.monotonic() - self._held_since

    def obey(self) -> None:
        """End, by an `Interruption`, what a signal that is `held` asked to end."""
        if self._held is not None:
            number, self._held = self._held, None
            self._raise(number)

    def _raise(self, number: int) -> None:
        Interruptions._obeyed = time.monotonic()
        raise Interruption(number)


def interruption_in(error: BaseException | None) -> KeyboardInterrupt | None:
    """The wish to stop that led to an error, itself included; None where there was none."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None
