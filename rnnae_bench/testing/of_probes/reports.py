"""Whether what a probe says can be recorded: names, histories, measures; and the same from every trial."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rnnae_bench.probes.base import Probe
from rnnae_bench.probes.reporting import as_measure, as_series, is_own
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import require
from rnnae_bench.testing.of_probes.candidate import ProbeCandidate, Ran
from rnnae_bench.trial.added_probes import AddedProbe
from rnnae_bench.trial.asked_probes import AskedProbe


def construction(candidate: ProbeCandidate) -> str:
    """Is it a Probe with a subject of its own, which can be made without arguments?"""
    added = candidate.added
    if candidate.asked.options:
        AddedProbe(AskedProbe(candidate.asked.handle, {}))
    record = candidate.plain.record
    why = record.failure.message if record.failure else ""
    require(record.status == "ok", f"there is no trial to measure: without the probe it ends as {record.status}: {why}")
    return f"{added.probe_class.__name__} measures {added.probe_class.subject}"


def hooks(candidate: ProbeCandidate) -> str:
    """Does it go through a whole trial without an error of its own?"""
    return told(candidate.probed)


def told(ran: Ran) -> str:
    """What a probe measured; `AssertionError` where something was raised in it."""
    assert ran.probe is not None
    require(not ran.probe.errors, "; ".join(dict.fromkeys(ran.probe.errors)))
    reasons = [f"{name}: {why}" for name, why in ran.record.absent.items() if is_own(ran.probe, name)]
    own = ", ".join(ran.own) or "no history"
    return f"{own}; {'; '.join(reasons)}" if reasons else own


def instances(candidate: ProbeCandidate) -> str:
    """Does each trial have a probe of its own: are a second one's histories as long as the first's?"""
    first, second = candidate.probed.own, candidate.again.own
    for name, one in first.items():
        require(
            name in second and np.array_equal(one.steps, second[name].steps),
            f"{name} has values at {len(one.steps)} steps in one trial and at {_count(second, name)} in the next: make "
            "lists and buffers in __init__, not in the class",
        )
    return "the same steps in two trials"


def _count(series: Mapping[str, Any], name: str) -> int:
    return len(series[name].steps) if name in series else 0


def names(candidate: ProbeCandidate) -> str:
    """Are the names of all that it measures, or can't, its subject, or begin with it and a slash?"""
    probe = _probe(candidate)
    given = [*probe.series(), *probe.measures(), *probe.absent]
    others = [str(name) for name in given if not is_own(probe, name)]
    require(
        not others,
        f"{', '.join(map(repr, others))} would not be recorded: call it {probe.subject}, or {probe.subject}/ and more",
    )
    return ", ".join(dict.fromkeys(given)) or "nothing to name"


def series(candidate: ProbeCandidate) -> str:
    """Are its histories numbers, or lists of one length, at rising optimiser steps, and finite?"""
    probe = _probe(candidate)
    found = _formed(probe.series(), as_series)
    for name, one in found.items():
        infinite = one.steps[~np.isfinite(one.values.reshape(len(one.steps), -1)).all(axis=1)]
        require(
            not len(infinite),
            f"{name} is not finite at the steps {infinite.tolist()}: leave out those with nothing to measure",
        )
        last = int(one.steps.max(initial=0))
        require(last <= candidate.probed.record.measures.steps, f"{name} has a step {last}, which the trial had not")
    return f"{len(found)} histories"


def measures(candidate: ProbeCandidate) -> str:
    """Are its measures numbers, texts or None?"""
    found = _formed(_probe(candidate).measures(), as_measure)
    return ", ".join(f"{name} {_short(value)}" for name, value in found.items()) or "none"


def _formed(given: Mapping[str, Any], checked: Callable[[Any], Any]) -> dict[str, Any]:
    found = {}
    for name, value in given.items():
        try:
            found[name] = checked(value)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"{name}: {error}") from error
    return found


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:40]


def _probe(candidate: ProbeCandidate) -> Probe:
    probe = candidate.again.probe
    if probe is None:
        raise NotAsked("the trial never began")
    return probe
