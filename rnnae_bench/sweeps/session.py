"""A sweep from beginning to end: what is wanted is checked, run or searched, and each trial leaves a record.

It shows nothing: whoever wants to see it gives a `rnnae_bench.sweeps.driver.Watcher`.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from rnnae_bench.contracts.search_space import dimension_from
from rnnae_bench.errors import UserError
from rnnae_bench.options.nested import flatten, merge
from rnnae_bench.records.document import load
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store
from rnnae_bench.records.widths import chosen_before
from rnnae_bench.sweeps import capacity
from rnnae_bench.sweeps.config import SweepOptions
from rnnae_bench.sweeps.driver import Driver, Terms, Watcher
from rnnae_bench.sweeps.estimate import estimate
from rnnae_bench.sweeps.executors.job import Plan, Refusal, Setting
from rnnae_bench.sweeps.grid import label, settings
from rnnae_bench.sweeps.horizon import Bounds, Bracket, Reaching, lag_of, trials_expected
from rnnae_bench.sweeps.leases import Leases
from rnnae_bench.sweeps.queue import Queue, candidates
from rnnae_bench.sweeps.search import Search, Searching, space_of
from rnnae_bench.sweeps.study import Found
from rnnae_bench.trial.asked_probes import asked_probes

LEASES = "leases"
"""Subfolder of the records where sweeps tell each other what they work on."""


@dataclass(frozen=True)
class Swept:
    """What a sweep left behind."""

    records: Sequence[Record]
    """Those of all its trials, in order; of those that had one before, too."""
    refused: Sequence[Refusal]
    """Settings that are a mistake; they have no trials."""
    found: Sequence[Found] | None = None
    """What each study found, in a search."""


@dataclass(frozen=True)
class Reached:
    """The longest lags that were solved."""

    setting: Setting
    """What was tried, the lag as it was to begin with."""
    option: str
    """The task's option that sets the lag."""
    steps: int
    """Optimiser steps of each trial."""
    brackets: Sequence[Bracket]
    """One a seed."""
    records: Sequence[Record]
    """Of all that was tried; of what had one before, too."""
    seconds: float
    """Of training, of all of them."""


class Session:
    """One sweep. Use it as a context: its workers go when it is left.

    Args:
        options: What is wanted.
        watcher: Is told everything.
        command: The command line, for the records.
        loggers: Names of loggers.

    Raises:
        UserError: a name is unknown, an option is malformed, or the folder for the records can't be written.
    """

    def __init__(
        self, options: SweepOptions, watcher: Watcher, command: Sequence[str] = (), loggers: Sequence[str] = ()
    ) -> None:
        self.options, self.watcher = options, watcher
        self.store = Store(Path(options.out))
        self._command, self._loggers = tuple(command), tuple(loggers)
        # A checkpoint is of one trial.
        self._vectorize = options.vectorize if options.checkpoint_every is None else "off"
        probes = {one.label: one.origin for one in asked_probes(options.probes)}
        self._wanted = [dataclasses.replace(one, match=options.match, probes=probes) for one in settings(options.axes)]
        if not options.dry_run:
            self.store.require_writable()
            self.store.tidy()
        self._executor = _executor(options, len(self._wanted) * options.seeds)
        self._planned: list[Plan | Refusal] | None = None

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.close()

    def check(self) -> None:
        """Check every setting before any trial starts; `run` and `forecast` do it first.

        Raises:
            UserError: none of them can be run, now or elsewhere.
        """
        if self._planned is not None:
            return
        found: list[Plan | Refusal] = []
        for count, setting in enumerate(self._wanted):
            self.watcher.checks(count, len(self._wanted))
            found.append(self._plan(self._as_before(setting)))
        self.watcher.checks(len(self._wanted), len(self._wanted))
        mistakes = [one for one in found if isinstance(one, Refusal) and one.skipped is None]
        if len(mistakes) == len(found):
            one, *others = mistakes
            more = f" (and {len(others)} settings more can't run)" if others else ""
            raise UserError(f"{label(one.setting)}: {one.reason}{more}" if len(found) > 1 else one.reason)
        for one in mistakes:
            self.watcher.notes(f"not run: {label(one.setting)}: {one.reason}")
        self._planned = found

    def _as_before(self, setting: Setting) -> Setting:
        """The setting with the width that was chosen for it when the sweep was begun, if it was."""
        if not isinstance(setting.match, str) or self.options.overwrite == "always":
            return setting
        before = chosen_before(self._past, setting.task, setting.model, flatten(setting.overrides), setting.match)
        if before is None:
            return setting
        options, match = before
        return dataclasses.replace(setting, overrides=merge(setting.overrides, {"model": options}), match=match)

    @cached_property
    def _past(self) -> list[Record]:
        return self.store.read().records if self.store.folder.is_dir() else []

    def forecast(self) -> list[dict[str, Any]]:
        """The trials, their ids, and what they are likely to cost; a setting that is a mistake has no ids."""
        plans, refusals = self._checked()
        self._note_apart(plans)
        waiting = candidates(plans, self._vectorize)
        pending = Queue(waiting, self.store, self.options.overwrite).waiting
        rows: list[dict[str, Any]] = []
        for one in waiting:
            cost = estimate(one.plan, self._past)
            rows.append(
                {
                    "id": one.identity,
                    "trial": f"{label(one.plan.setting)}, seed {one.member.seed}",
                    "state": "to run" if one.identity in pending else "measured before",
                    "as one": one.together,
                    "apart": one.plan.apart,
                    "seconds": cost.seconds,
                    "basis": cost.basis,
                }
            )
        for refusal in refusals:
            rest = {"as one": 1, "apart": None, "seconds": 0.0, "basis": refusal.reason}
            if refusal.skipped is None:
                rows.append({"id": None, "trial": label(refusal.setting), "state": "refused", **rest})
            for member in refusal.trials:
                trial = f"{label(refusal.setting)}, seed {member.seed}"
                rows.append({"id": member.identity, "trial": trial, "state": "skipped", **rest})
        return rows

    def run(self) -> Swept:
        """Run or search all, each trial unless it has a record. On Ctrl-C what runs is recorded as interrupted."""
        plans, refusals = self._checked()
        skipped = self._record_skipped(refusals)
        mistakes = [one for one in refusals if one.skipped is None]
        if self.options.search:
            return self._search(plans, skipped, mistakes)
        self._note_apart(plans)
        waiting = candidates(plans, self._vectorize)
        queue = Queue(waiting, self.store, self.options.overwrite)
        for one in plans:
            known = sum(trial.identity in queue.done for trial in one.trials)
            if known:
                self.watcher.notes(f"{label(one.setting)}: {known} of {len(one.trials)} measured before")
        again = queue.again()
        if again:
            self.watcher.notes(
                f"{len(again)} of {len(waiting)} measured before without {self.options.probes}: "
                "trained again, and those records are kept"
            )
        steps = {one.identity: one.plan.steps for one in queue.waiting.values()}
        self.watcher.expects(steps, [*skipped, *queue.done.values()])
        self._drive(queue)
        return Swept([*skipped, *(queue.done[one.identity] for one in waiting)], mistakes)

    def _search(self, plans: Sequence[Plan], skipped: Sequence[Record], mistakes: Sequence[Refusal]) -> Swept:
        """Search around every plan's setting."""
        options, spaces = self.options, {}
        for plan in plans:
            declared = {option: dimension_from(one, option) for option, one in plan.ranges.items()}
            spaces[plan.setting.model] = space_of(plan.setting.model, options.search_space, declared)
        storage = options.search_storage or str(self.store.folder / "search.journal")
        studies = [plan.setting for plan in plans]
        search = Search(studies, spaces, options.search_trials, storage, options.first_seed)
        queue = Queue([], self.store, options.overwrite)
        searching = Searching(search, queue, self._replan, self._executor.slots, self._vectorize)
        total = len(plans) * options.search_trials * options.seeds
        self.watcher.expects({}, skipped, total, plans[0].steps if plans else 0)
        self._drive(queue, searching.refill)
        return Swept([*skipped, *queue.done.values()], mistakes, search.found())

    def reach(self, bounds: Bounds) -> Reached:
        """Find the longest lag that the one setting solves, under each seed by itself.

        Raises:
            UserError: the setting can't be run here, or its task has no option that sets the lag.
        """
        if len(self._wanted) != 1:
            raise UserError(f"a horizon is of one task and one model, and {len(self._wanted)} settings are given")
        plans, refusals = self._checked()
        if refusals:
            raise UserError(refusals[0].reason)
        (plan,), (wanted,) = plans, self._wanted
        option, first = lag_of(plan)
        brackets = [Bracket(member.seed, first, bounds) for member in plan.trials]
        queue = Queue([], self.store, self.options.overwrite)
        reaching = Reaching(wanted, option, brackets, queue, self._planned_under, self._vectorize)
        self.watcher.expects({}, [], len(brackets) * trials_expected(bounds), plan.steps)
        self._drive(queue, reaching.refill)
        return Reached(plan.setting, option, plan.steps, brackets, list(reaching.records.values()), reaching.spent)

    def _drive(self, queue: Queue, refill: Callable[[], None] = lambda: None) -> None:
        """Run what is in the queue, and what `refill` puts into it."""
        options = self.options
        terms = Terms(
            command=self._command,
            threads=options.threads,
            time_limit=options.time_limit,
            loggers=self._loggers,
            retries=options.retries,
            jobs=self._executor.slots,
            checkpoint_every=options.checkpoint_every,
            keep_weights=options.keep == "weights",
        )
        with Leases(self.store.folder / LEASES) as leases:
            Driver(queue, self._executor, self.store, leases, self.watcher, terms).run(refill)

    def _checked(self) -> tuple[list[Plan], list[Refusal]]:
        self.check()
        planned: Iterable[Plan | Refusal] = self._planned or ()
        plans = [one for one in planned if isinstance(one, Plan)]
        return plans, [one for one in planned if isinstance(one, Refusal)]

    def _plan(self, setting: Setting) -> Plan | Refusal:
        """What a setting's trials would be; refused where it wants more devices than there are."""
        planned, slots = self._replan(setting), self._executor.slots
        if isinstance(planned, Refusal) or planned.devices <= slots:
            return planned
        kinds = "cores or devices" if planned.accelerator == "cpu" else "devices"
        reason = (
            f"{setting.model} on {setting.task} wants {planned.devices} devices, and there are {slots} {kinds} for it; "
            "choose fewer --devices"
        )
        return Refusal(planned.setting, reason)

    def _replan(self, setting: Setting) -> Plan | Refusal:
        first = self.options.first_seed
        return self._planned_under(setting, range(first, first + self.options.seeds))

    def _planned_under(self, setting: Setting, seeds: Sequence[int]) -> Plan | Refusal:
        found: Plan | Refusal = self._executor.plan(setting, seeds, self.options.data_seed)
        return found

    def _record_skipped(self, refusals: Sequence[Refusal]) -> list[Record]:
        """A record for every trial that can't run here."""
        records = []
        for refusal in refusals:
            for member in refusal.trials:
                record = self.store.find(member.identity)
                if record is None and refusal.skipped is not None:
                    command, seed, of_data = list(self._command), member.seed, member.data_seed
                    own = replace(refusal.skipped, id=member.identity, seed=seed, data_seed=of_data, command=command)
                    record = load(self.store.write(own, {}))
                assert record is not None
                records.append(record)
        return records

    def _note_apart(self, plans: Sequence[Plan]) -> None:
        """Which settings train their seeds as one, and why the others don't."""
        if self._vectorize == "off":
            return
        apart: dict[str, list[str]] = {}
        for plan in plans:
            if len(plan.trials) == 1:
                continue
            if plan.apart:
                apart.setdefault(plan.apart, []).append(label(plan.setting))
            elif self._vectorize == "auto" and plan.together > 1:
                self.watcher.notes(f"{label(plan.setting)}: up to {plan.together} trials as one")
        for reason, labels in apart.items():
            more = f" and {len(labels) - 3} more" if len(labels) > 3 else ""
            self.watcher.notes(f"{', '.join(labels[:3])}{more}: each trial by itself: {reason}")


def _executor(options: SweepOptions, trials: int) -> Any:
    store = Path(options.out)
    if options.executor == "ray":
        from rnnae_bench.sweeps.executors.ray import RayExecutor

        share = 0.0 if options.accelerator == "cpu" else options.gpus_per_trial
        return RayExecutor(store, options.ray_address, options.threads, share)
    from rnnae_bench.sweeps.executors.local import LocalExecutor

    gpus = () if options.accelerator == "cpu" else capacity.gpus()
    trials = max(trials, *(options.devices or [1]))
    slots = capacity.workers(options.workers, options.threads, gpus, options.gpus_per_trial, trials)
    local = LocalExecutor(store, slots, options.threads, gpus, options.gpus_per_trial)
    if not options.dry_run and len(list(store.glob("*.json"))) < trials:
        # Something is left to run.
        local.warm_up()
    return local
