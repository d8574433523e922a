"""``rnnae-bench sweep``: many trials, from a grid or a search to a record for each."""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from rnnae_bench.cli.logger_names import logger_names
from rnnae_bench.cli.results import read_records
from rnnae_bench.cli.sweep_view import SweepView
from rnnae_bench.cli.table import print_table
from rnnae_bench.contracts.search_space import dimension_from
from rnnae_bench.errors import UserError
from rnnae_bench.records.record import printable
from rnnae_bench.records.store import Store
from rnnae_bench.report import equivalence_tables as precision
from rnnae_bench.report import tables
from rnnae_bench.standings.equivalence import compare
from rnnae_bench.sweep import capacity
from rnnae_bench.sweep.config import SweepOptions, parse
from rnnae_bench.sweep.driver import Driver, Terms
from rnnae_bench.sweep.estimate import estimate
from rnnae_bench.sweep.executors.job import Plan, Refusal
from rnnae_bench.sweep.grid import label, settings
from rnnae_bench.sweep.leases import Leases
from rnnae_bench.sweep.queue import Candidate, Queue, candidates

LEASES = "leases"
"""Subfolder of the records where sweeps tell each other what they work on."""


def main(arguments: list[str]) -> int:
    """Run the sweep that the arguments ask for."""
    options = parse(arguments)
    store = Store(Path(options.out))
    if options.collect:
        return _collect(options, store)
    loggers = logger_names(options.logger)
    wanted = settings(options.axes)
    if not options.dry_run:
        store.require_writable()
        store.tidy()
    console = Console(stderr=True)
    command = ("rnnae-bench", "sweep", *arguments)
    with closing(_executor(options, len(wanted) * options.seeds)) as executor:
        found = _plan(executor, wanted, options, console)
        plans = [one for one in found if isinstance(one, Plan)]
        refusals = [one for one in found if isinstance(one, Refusal)]
        mistakes = [one for one in refusals if one.skipped is None]
        for one in mistakes:
            _say(console, f"not run: {label(one.setting)}: {one.reason}")
        if options.dry_run:
            _tell_vectorized(plans, options, console)
            _print_plan(candidates(plans, options.vectorize), refusals, store, options)
            return 0
        records = _record_skipped(refusals, store, command)
        terms = Terms(command, options.threads, options.time_limit, loggers, options.retries, executor.slots)
        sweep = _Sweep(executor, store, terms, options, console)
        try:
            went_well = (_search if options.search else _grid)(sweep, plans, records)
            if mistakes and not options.json:
                print_table(["not run", "why"], [[label(one.setting), one.reason] for one in mistakes])
            return 0 if went_well and not mistakes else 1
        except KeyboardInterrupt:
            _say(console, "stopped; the same command goes on with what is left")
            return 1


@dataclass(frozen=True)
class _Sweep:
    """What all that a sweep does needs."""

    executor: Any
    store: Store
    terms: Terms
    options: SweepOptions
    console: Console

    def drive(self, queue: Queue, view: SweepView, refill: Callable[[], None] = lambda: None) -> None:
        """Run what is in the queue, and what `refill` puts into it."""
        with Leases(self.store.folder / LEASES) as leases, view:
            Driver(queue, self.executor, self.store, leases, view, self.terms).run(refill)


def _grid(sweep: _Sweep, plans: Sequence[Plan], records: Sequence[dict[str, Any]]) -> bool:
    """Run the trials of all plans and show the result; whether none failed."""
    options = sweep.options
    waiting = candidates(plans, options.vectorize)
    _tell_vectorized(plans, options, sweep.console)
    queue = Queue(waiting, sweep.store, options.overwrite)
    for one in plans:
        _tell_known(one, queue, sweep.console)
    steps = {one.identity: one.plan.steps for one in queue.waiting.values()}
    sweep.drive(queue, SweepView(sweep.console, steps, [*records, *queue.done.values()]))
    done = [*records, *(queue.done[one.identity] for one in waiting)]
    _show(done, options)
    return _none_failed(done)


def _search(sweep: _Sweep, plans: Sequence[Plan], records: Sequence[dict[str, Any]]) -> bool:
    """Search around every plan's setting, and show what was found; whether each has a best and no trial failed."""
    from rnnae_bench.sweep.search import Search, space_of, table
    from rnnae_bench.sweep.searching import Searching

    options, store = sweep.options, sweep.store
    spaces = {}
    for plan in plans:
        declared = {option: dimension_from(one, option) for option, one in plan.ranges.items()}
        spaces[plan.setting.model] = space_of(plan.setting.model, options.search_space, declared)
    storage = options.search_storage or str(store.folder / "search.journal")
    first = options.first_seed
    search = Search([plan.setting for plan in plans], spaces, options.search_trials, storage, first)
    queue = Queue([], store, options.overwrite)
    seeds = range(first, first + options.seeds)
    searching = Searching(
        search,
        queue,
        lambda setting: sweep.executor.plan(setting, seeds, options.data_seed),
        sweep.terms.jobs,
        options.vectorize,
    )
    total = len(plans) * options.search_trials * options.seeds
    steps = plans[0].steps if plans else 0
    sweep.drive(queue, SweepView(sweep.console, {}, records, total, steps), searching.refill)
    found = search.found()
    if options.json:
        print(json.dumps([one.as_dict() for one in found], indent=1))
    else:
        out = Console()
        out.print(table(found))
        for one in found:
            best = f"best of {one.study}: {one.command}" if one.command else f"{one.study}: nothing ended well"
            _say(out, best)
    return all(one.command for one in found) and _none_failed(queue.done.values())


def _none_failed(records: Iterable[dict[str, Any]]) -> bool:
    return all(record["status"] in ("ok", "skipped") for record in records)


def _executor(options: SweepOptions, trials: int) -> Any:
    store = Path(options.out)
    if options.executor == "ray":
        from rnnae_bench.sweep.executors.ray import RayExecutor

        share = 0.0 if options.accelerator == "cpu" else options.gpus_per_trial
        return RayExecutor(store, options.ray_address, options.threads, share)
    from rnnae_bench.sweep.executors.local import LocalExecutor

    gpus = () if options.accelerator == "cpu" else capacity.gpus()
    trials = max(trials, *(options.devices or [1]))
    slots = capacity.workers(options.workers, options.threads, gpus, options.gpus_per_trial, trials)
    local = LocalExecutor(store, slots, options.threads, gpus, options.gpus_per_trial)
    if not options.dry_run and len(list(store.glob("*.json"))) < trials:
        # Something is left to run.
        local.warm_up()
    return local


def _say(console: Console, line: str) -> None:
    """Print a line as it is: rich would take options in brackets for its own markup."""
    console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


def _plan(executor: Any, wanted: Sequence[Any], options: SweepOptions, console: Console) -> list[Plan | Refusal]:
    """Check every setting before any trial starts.

    Raises:
        UserError: none of them can be run, now or elsewhere.
    """
    first = options.first_seed
    seeds = range(first, first + options.seeds)
    found: list[Plan | Refusal] = []
    with console.status(f"checking {len(wanted)} settings"):
        for setting in wanted:
            found.append(_fitting(executor.plan(setting, seeds, options.data_seed), executor.slots))
    mistakes = [one for one in found if isinstance(one, Refusal) and one.skipped is None]
    if len(mistakes) == len(found):
        one, *others = mistakes
        more = f" (and {len(others)} settings more can't run)" if others else ""
        raise UserError(f"{label(one.setting)}: {one.reason}{more}" if len(wanted) > 1 else one.reason)
    return found


def _fitting(planned: Plan | Refusal, slots: int) -> Plan | Refusal:
    """What was planned, refused where it wants more devices than there are."""
    if isinstance(planned, Refusal) or planned.devices <= slots:
        return planned
    kinds = "cores or devices" if planned.accelerator == "cpu" else "devices"
    reason = (
        f"{planned.setting.model} on {planned.setting.task} wants {planned.devices} devices, and there are {slots} "
        f"{kinds} for it; choose fewer --devices"
    )
    return Refusal(planned.setting, reason)


def _record_skipped(refusals: Sequence[Refusal], store: Store, command: Sequence[str]) -> list[dict[str, Any]]:
    """A record for every trial that can't run here."""
    records = []
    for refusal in refusals:
        for member in refusal.trials:
            record = store.find(member.identity)
            if record is None:
                own = {"id": member.identity, "seed": member.seed, "data_seed": member.data_seed}
                store.write({**(refusal.skipped or {}), **own, "command": list(command)}, {})
                record = store.find(member.identity)
            assert record is not None
            records.append(record)
    return records


def _tell_vectorized(plans: Sequence[Plan], options: SweepOptions, console: Console) -> None:
    """Which settings train their seeds as one, and why the others don't."""
    if options.vectorize == "off":
        return
    apart: dict[str, list[str]] = {}
    for plan in plans:
        if len(plan.trials) == 1:
            continue
        if plan.apart:
            apart.setdefault(plan.apart, []).append(label(plan.setting))
        elif options.vectorize == "auto" and plan.together > 1:
            _say(console, f"{label(plan.setting)}: up to {plan.together} trials as one")
    for reason, labels in apart.items():
        more = f" and {len(labels) - 3} more" if len(labels) > 3 else ""
        _say(console, f"{', '.join(labels[:3])}{more}: each trial by itself: {reason}")


def _tell_known(plan: Plan, queue: Queue, console: Console) -> None:
    known = sum(one.identity in queue.done for one in plan.trials)
    if known:
        _say(console, f"{label(plan.setting)}: {known} of {len(plan.trials)} measured before")


def _print_plan(waiting: Sequence[Candidate], refusals: Sequence[Refusal], store: Store, options: SweepOptions) -> None:
    """The trials, their ids, and what they are likely to cost; a setting that is a mistake has no ids."""
    past = store.read().records if store.folder.is_dir() else []
    pending = Queue(waiting, store, options.overwrite).waiting
    rows: list[dict[str, Any]] = []
    for one in waiting:
        cost = estimate(one.plan, past)
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
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    shown = [head for head in rows[0] if head not in ("apart", "basis")]
    print_table(shown, [[_cell(row[head]) for head in shown] for row in rows])
    to_run = [row for row in rows if row["state"] == "to run"]
    known = [float(row["seconds"]) for row in to_run if isinstance(row["seconds"], float)]
    unknown = f", and {len(to_run) - len(known)} that nothing is known of" if len(known) < len(to_run) else ""
    print(f"{len(to_run)} of {len(rows)} trials to run; about {sum(known):.0f} s of training{unknown}")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return tables.number(value) if isinstance(value, float) else str(value)


def _collect(options: SweepOptions, store: Store) -> int:
    """The tables of what there is, while a sweep runs or after it."""
    found = read_records(store)
    running = []
    for identity in store.drafts.identities():
        draft = store.drafts.read(identity)
        if draft is not None and store.find(identity) is None:
            running.append(draft[0])
    _show(found, options)
    if not options.json:
        for record in running:
            steps = record["measures"]["steps"]
            what = f"{record['model']} on {record['task']}:{record['variant']}, seed {record['seed']}"
            print(
                f"begun: {printable(what)}, step {steps} of {record['configuration']['task']['protocol']['max_steps']}"
            )
    return 0


def _show(records: Sequence[dict[str, Any]], options: SweepOptions) -> None:
    if options.json:
        print(json.dumps(records, indent=1))
        return
    out = Console()
    for table in tables.terminal(records, out):
        out.print(table)
    for table in precision.terminal(compare(records)):
        out.print(table)
