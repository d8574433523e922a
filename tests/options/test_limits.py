"""Bounds on time and memory: the kernel's, and gone afterwards."""

import resource
import signal
import sys
from typing import Any

import pytest

from rnnae_bench.errors import UserError
from rnnae_bench.options.limits import TooMuch, bounded


def count_for_ever(handled: list[Exception]) -> None:
    while True:
        try:
            handled += []
        except Exception as error:
            handled.append(error)


def test_work_that_takes_too_long_is_given_up_even_where_it_catches_everything():
    handled: list[Exception] = []
    with pytest.raises(TooMuch, match=r"^counting takes more than 0\.05 s$"), bounded("counting", 2**30, 0.05):
        count_for_ever(handled)
    assert not handled
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


class Endless:
    """What is still being finalised when the time ends."""

    def __del__(self) -> None:
        while True:
            pass


class Faulty:
    """What fails in its finaliser."""

    def __del__(self) -> None:
        raise ValueError


def finalise_and_count_for_ever() -> None:
    Endless()
    Faulty()
    count_for_ever([])


def test_an_end_that_a_finaliser_swallows_comes_again_and_is_not_told_of(monkeypatch):
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda one: told.append(one.exc_type))
    hook = sys.unraisablehook
    with pytest.raises(TooMuch, match=r"^counting takes more than 0\.05 s$"), bounded("counting", 2**30, 0.05):
        finalise_and_count_for_ever()
    assert told == [ValueError]
    assert sys.unraisablehook == hook


def test_work_that_takes_too_much_memory_is_given_up():
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(UserError, match=r"^filling takes more than 0\.25 GiB of memory$"), bounded("filling", 2**28):
        # More than may be left of what the process freed before.
        bytes(2**36)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    with bounded("filling", 2**28):
        assert len(bytes(2**27)) == 2**27


def test_other_errors_are_the_works_own():
    with pytest.raises(KeyError), bounded("looking", 2**30, 10.0):
        {}["absent"]
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
