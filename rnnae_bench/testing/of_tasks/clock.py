"""Another time of day, for what asks the clock."""

import datetime
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

LATER = datetime.timedelta(days=400, hours=7, minutes=13, seconds=21)
"""Another year, month, day and hour."""
_ELAPSED = ("time", "monotonic", "perf_counter")
_BROKEN_DOWN = ("localtime", "gmtime", "ctime")


@contextmanager
def another_time(*classes: type) -> Iterator[None]:
    """Within, it is `LATER` by the clock of Python's ``time``, and of ``datetime`` in the modules of some classes.

    Args:
        classes: Whose modules, and those of their bases, are told another ``datetime`` and ``date``.
    """
    seconds = LATER.total_seconds()
    told: dict[Any, Any] = {}
    for name in _ELAPSED:
        told[getattr(time, name)] = _later(getattr(time, name), seconds)
        told[getattr(time, f"{name}_ns")] = _later(getattr(time, f"{name}_ns"), int(seconds) * 10**9)
    for name in _BROKEN_DOWN:
        told[getattr(time, name)] = _at(getattr(time, name), time.time, seconds)
    told |= {datetime.datetime: _Datetime, datetime.date: _Date}
    replaced = {id(real): another for real, another in told.items()}
    modules = {sys.modules[one.__module__] for each in classes for one in each.__mro__ if one.__module__ in sys.modules}
    with ExitStack() as stack:
        for place in (time, datetime, *(one for one in modules if one.__name__ != "builtins")):
            for name, value in [*vars(place).items()]:
                if id(value) in replaced:
                    stack.enter_context(patch.object(place, name, replaced[id(value)]))
        yield


def _later(now: Any, more: float | int) -> Any:
    return lambda: now() + more


def _at(broken_down: Any, now: Any, more: float) -> Any:
    return lambda *seconds: broken_down(*(seconds or (now() + more,)))


_REAL_DATETIME, _REAL_DATE = datetime.datetime, datetime.date


class _Datetime(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _REAL_DATETIME.now(tz) + LATER

    @classmethod
    def utcnow(cls) -> Any:
        return _REAL_DATETIME.now(datetime.UTC).replace(tzinfo=None) + LATER

    @classmethod
    def today(cls) -> Any:
        return _REAL_DATETIME.now() + LATER


class _Date(datetime.date):
    @classmethod
    def today(cls) -> Any:
        return (_REAL_DATETIME.now() + LATER).date()
