"""Whether the card's baselines are what the task's own data give."""

import math
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import torch

from rnnae_bench.contracts.card import Card, Variant
from rnnae_bench.errors import UserError
from rnnae_bench.testing.candidates import TaskCandidate
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import require, same

FROZEN_TOLERANCE = 5e-4
"""Relative: a card's frozen values must stand to four significant digits."""
SECONDS_A_VARIANT = 15.0
"""That the baselines of another variant may compute; of longer ones, no more is asked."""


def _compared(card: Card, variant: Variant, found: Mapping[str, Mapping[str, float]]) -> int:
    """How many values of the card are those found."""
    count = 0
    for name, baseline in variant.baselines.items():
        for metric, frozen in baseline.values.items():
            if metric in card.retired:
                continue
            require(
                metric in found[name],
                f"the card has a {metric} of the baseline '{name}' of '{variant.name}', which baseline() does not give",
            )
            require(
                math.isclose(frozen, found[name][metric], rel_tol=FROZEN_TOLERANCE, abs_tol=1e-12),
                f"the card of '{variant.name}' says that the baseline '{name}' has {metric} {frozen}, and the task's "
                "data "
                f"give {found[name][metric]!r}; a scored variant is never altered, it gets a successor",
            )
            count += 1
    return count


def baselines(candidate: TaskCandidate) -> str:
    """Are the baselines of this variant what the task's data give, in metrics that it has?"""
    task, batch, before = candidate.task, candidate.few("test"), candidate.rows("test").map(torch.clone)
    found = candidate.baseline_values
    require(same(before, candidate.rows("test")), "baseline() changes the test set in place; it must leave it as it is")
    measured = candidate.measured(candidate.predicted(batch), batch)
    known = {*measured, *task.over_sets(dict.fromkeys(task.evaluation_sets[1:], measured))}
    for name, values in found.items():
        require(
            values.keys() <= known, f"the baseline '{name}' gives {sorted(values.keys() - known)}, which no metric is"
        )
    count = _compared(candidate.card, candidate.variant, found)
    return f"{', '.join(found)}: {count} values"


def baseline_answers(candidate: TaskCandidate) -> str:
    """Does the answer of a baseline have the score that the baseline has?"""
    task, metric, batch, told = candidate.task, candidate.variant.primary.metric, candidate.rows("test"), []
    for name, values in candidate.baseline_values.items():
        answer = None if task.streams else task.baseline_answer(name)
        if answer is None or metric not in values:
            continue
        found, wanted = candidate.primary(answer, batch), values[metric]
        # A closed form is of all rows that may be drawn, and not of those that were.
        scores = task.example_scores(metric, answer, batch)
        chance = 0.0 if scores is None else 5 * scores.double().std().item() / math.sqrt(len(scores))
        require(
            math.isclose(found, wanted, rel_tol=FROZEN_TOLERANCE, abs_tol=max(1e-6, chance)),
            f"baseline('{name}') has a {metric} of {wanted:g}, and baseline_answer('{name}') one of {found:g} by "
            "the task's metrics on the test set, further off than by chance",
        )
        told.append(f"{name} {found:.4g}")
    if not told:
        raise NotAsked("no baseline tells its answers to the test set")
    return f"{metric}: {', '.join(told)}"


def baselines_of_other_variants(candidate: TaskCandidate) -> str:
    """Are the baselines of all other variants what their data give?"""
    others = [variant for name, variant in candidate.card.variants.items() if name != candidate.variant.name]
    if not others:
        raise NotAsked("there is no other variant")
    told, late, absent = [], [], []
    for variant in others:
        try:
            with _at_most(SECONDS_A_VARIANT):
                task = candidate.task_class.from_variant(variant.name)
                try:
                    task.train_batch(0)
                except UserError:  # its data are not on this machine, and can't be had
                    absent.append(variant.name)
                    continue
                found = {name: task.baseline(name) for name in variant.baselines}
        except _Late:
            late.append(variant.name)
            continue
        told.append(f"{variant.name} {_compared(candidate.card, variant, found)}")
    left = [f"not within {SECONDS_A_VARIANT:g} s: {', '.join(late)}"] * bool(late)
    left += [f"without data here: {', '.join(absent)}"] * bool(absent)
    if not told:
        raise NotAsked("; ".join(left))
    return "; ".join([f"values that agree: {', '.join(told)}", *left])


class _Late(BaseException):
    """The time is over. No Exception, so that no handler of the task's takes it for its own."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Late


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Within, `_Late` is raised after so many seconds of computing; not in other threads than the main one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Of time that the process computes, beside the wall time that the whole check may take.
    before = signal.signal(signal.SIGPROF, _stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
