"""Which trials are still to be run, and which of them go into one job."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from types import MappingProxyType
from typing import Any, Literal

from rnnae_bench.options.nested import flatten, nest
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store
from rnnae_bench.sweeps.executors.job import Job, Member, Plan, Setting
from rnnae_bench.sweeps.grid import key_of

Overwrite = Literal["never", "failed", "always"]
"""Which trials that have a record are run again: none, those that failed, or all. Interrupted ones always are."""

_RATE = "model.optimization.learning_rate"
"""The one option, beside the seeds, in which trials that are trained as one may differ."""


@dataclass(frozen=True)
class Candidate:
    """One trial that may have to be run."""

    plan: Plan
    member: Member
    together: int
    """How many trials like it may be trained as one."""

    @property
    def identity(self) -> str:
        """Its id."""
        return self.member.identity

    @cached_property
    def group(self) -> str:
        """What trials have in common that can be trained as one."""
        return key_of(_without_rate(self.plan.setting))


def candidates(plans: Iterable[Plan], vectorize: str | int) -> list[Candidate]:
    """The trials of all plans, each once, in order.

    Args:
        plans: What was planned.
        vectorize: ``auto`` (as each plan says), ``off``, or how many at most.
    """
    found: dict[str, Candidate] = {}
    for plan in plans:
        together = 1 if plan.apart or vectorize == "off" else plan.together if vectorize == "auto" else int(vectorize)
        for member in plan.trials:
            found.setdefault(member.identity, Candidate(plan, member, together))
    return list(found.values())


def is_done(record: Record | None, overwrite: Overwrite, probes: Mapping[str, str] = MappingProxyType({})) -> bool:
    """Whether a trial that has this record (or none) is not to be run again; not for ``always``.

    Args:
        record: The record.
        overwrite: What to run again.
        probes: Those of plugins that are to have measured it, by label with distribution and version.
    """
    if record is None or record.status == "interrupted" or record.lacks(probes):
        return False
    return overwrite == "never" or record.status in ("ok", "skipped")


class Queue:
    """The trials that wait, in order.

    Args:
        waiting: All that may have to be run.
        store: Where their records lie, or will.
        overwrite: Which to run again.
    """

    def __init__(self, waiting: Sequence[Candidate], store: Store, overwrite: Overwrite) -> None:
        self._store, self._overwrite = store, overwrite
        self._before: dict[str, str | None] = {}
        self.waiting: dict[str, Candidate] = {}
        """What waits, by id, in order."""
        self.done: dict[str, Record] = {}
        """Records of the trials that need not be run (any more), by id."""
        self.add(waiting)

    def add(self, waiting: Sequence[Candidate]) -> None:
        """More that may have to be run."""
        for one in waiting:
            if one.identity not in self.done:
                record = self._store.find(one.identity)
                self._before[one.identity] = _stamp(record)
                self.waiting[one.identity] = one
                self._look(one.identity, record)

    def look(self, candidate: Candidate) -> bool:
        """Whether the trial is done by now, here or elsewhere; then it waits no longer."""
        return self._look(candidate.identity, self._store.find(candidate.identity))

    def _look(self, identity: str, record: Record | None) -> bool:
        probes = self.waiting[identity].plan.setting.probes
        if self._overwrite == "always":
            done = _stamp(record) != self._before[identity] and is_done(record, "never", probes)
        else:
            done = is_done(record, self._overwrite, probes)
        if done and record is not None:
            self.settle(identity, record)
        return done

    def again(self) -> list[Candidate]:
        """Those that wait although they have a good record, since it lacks what a probe of a plugin measures."""
        records = ((one, self._store.find(one.identity)) for one in self.waiting.values() if one.plan.setting.probes)
        return [one for one, record in records if is_done(record, "failed") and self._overwrite != "always"]

    def settle(self, identity: str, record: Record) -> None:
        """A trial has its record."""
        self.done[identity] = record
        self.waiting.pop(identity, None)

    def alike(self, candidate: Candidate, idle: int) -> list[Candidate]:
        """The waiting trials to train as one with this one, itself included and first.

        All that waits is spread over the idle workers, so that none is left without. Beyond that, groups are cut in
        two while they stay at least half as large as they may be: then whoever is done early can help out.

        Args:
            candidate: One that waits.
            idle: How many more jobs can be run now, this one included.
        """
        if candidate.together == 1:
            return [candidate]
        group = candidate.group
        same = [one for one in self.waiting.values() if one is candidate or one.group == group]
        share = idle * len(same) / len(self.waiting)
        needed = max(ceil(len(same) / candidate.together), ceil(share))
        large_enough = len(same) // ceil(candidate.together / 2)
        size = ceil(len(same) / max(needed, min(ceil(2 * share), large_enough)))
        others = [one for one in same if one is not candidate]
        return [candidate, *others[: size - 1]]

    def take(self, chosen: Sequence[Candidate]) -> None:
        """These wait no longer: they are being run."""
        for one in chosen:
            self.waiting.pop(one.identity, None)

    def put_back(self, chosen: Sequence[Candidate]) -> None:
        """These wait again, before all others."""
        self.waiting = {one.identity: one for one in chosen} | self.waiting


def job_of(chosen: Sequence[Candidate], **options: Any) -> Job:
    """The job of some trials that can be trained as one; `options` are the job's other fields."""
    plan = chosen[0].plan
    setting, members = plan.setting, [one.member for one in chosen]
    rates = [flatten(one.plan.setting.overrides).get(_RATE) for one in chosen]
    if any(rate != rates[0] for rate in rates):
        setting = _without_rate(setting)
        members = [
            member if rate is None else replace(member, overrides=nest({_RATE: rate}))
            for member, rate in zip(members, rates, strict=True)
        ]
    return Job(setting=setting, trials=tuple(members), draft=plan.draft, devices=plan.devices, **options)


def _without_rate(setting: Setting) -> Setting:
    options = flatten(setting.overrides)
    return replace(setting, overrides=nest({name: value for name, value in options.items() if name != _RATE}))


def _stamp(record: Record | None) -> str | None:
    """What tells a record from one of the same trial that was made later."""
    return None if record is None else f"{record.finished} {record.history.sha256}"
