"""Signals that ask to stop: one wish, however many signals say it, and never in the midst of writing."""

import signal
import threading

import pytest
from lightning import Callback

from rnnae_bench.records.record import Failure
from rnnae_bench.records.store import Store
from rnnae_bench.trial.interruption import Interruption, Interruptions
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_part_once(number):
    before = signal.getsignal(number)
    with Interruptions() as interruptions:
        with pytest.raises(Interruption) as caught, interruptions.raised():
            signal.raise_signal(number)
        with interruptions.raised():
            signal.raise_signal(number)
            signal.raise_signal(signal.SIGINT)
    assert caught.value.name == ("Ctrl-C" if number == signal.SIGINT else number.name)
    assert signal.getsignal(number) is before


def held_back(done, then_raised):
    with Interruptions() as interruptions:
        signal.raise_signal(signal.SIGTERM)
        done.append("left in peace")
        if then_raised:
            with interruptions.raised():
                done.append("never reached")


@pytest.mark.parametrize("then_raised", [True, False])
def test_what_is_held_back_takes_effect_later(then_raised):
    done = []
    with Interruptions() as outer, pytest.raises(Interruption, match="SIGTERM"), outer.raised():
        held_back(done, then_raised)
    assert done == ["left in peace"]


def test_contexts_within_each_other_take_two_signals_for_one_wish():
    with Interruptions() as outer, outer.raised():
        with Interruptions() as inner, pytest.raises(Interruption), inner.raised():
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruptions() as interruptions, interruptions.raised():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_are_left_alone():
    found = []

    def run():
        with Interruptions() as interruptions, interruptions.raised():
            found.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [before]


class Signals(Callback):
    """Two signals at once in one of Lightning's hooks."""

    def __init__(self, hook: str, number: signal.Signals) -> None:
        def twice(*arguments, **options):
            # In the midst of Lightning's way down, when the first has been obeyed.
            self.on_exception = lambda *_: signal.raise_signal(number)
            signal.raise_signal(number)

        setattr(self, hook, twice)


@pytest.fixture(scope="module")
def trial() -> Trial:
    pair = Pair("copy:smoke", "gru")
    small = {"task": {"protocol": {"max_steps": 6, "evaluate_every": 3}}, "model": {"hidden_size": 4}}
    return Trial(pair, pair.resolve(small), 0)


@pytest.mark.parametrize(
    ("hook", "number", "step"),
    [
        ("setup", signal.SIGTERM, 0),
        ("on_train_start", signal.SIGHUP, 0),
        ("on_train_batch_end", signal.SIGINT, 3),
        ("on_test_start", signal.SIGTERM, 6),
    ],
)
def test_two_signals_in_any_phase_leave_one_record(hook, number, step, trial, tmp_path):
    trial.run(Store(tmp_path), ["x"], [Signals(hook, number)])
    (record,) = Store(tmp_path).read().records
    name = "Ctrl-C" if number == signal.SIGINT else number.name
    assert record.status == "interrupted"
    assert record.failure == Failure(message=f"stopped by {name} at step {step}", step=step, traceback=None)
    assert Store(tmp_path).superseded() == {}


class Interrupted(Store):
    """Is written to when the signals come."""

    def write(self, *parts):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return super().write(*parts)


def test_signals_while_the_record_is_written_count_after_that(trial, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trial.run(Interrupted(tmp_path), ["x"])
    (record,) = Store(tmp_path).read().records
    assert record.status == "ok"
