"""Sweeps: `sweep`, and what the command line's ``sweep`` does once its options are read."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from rnnae_bench.api.display import progress_console
from rnnae_bench.api.results import Result, Results
from rnnae_bench.api.sweep_progress import SweepProgress
from rnnae_bench.api.wording import told_in_python
from rnnae_bench.errors import UserError
from rnnae_bench.leaderboard.trackers import require_loggers
from rnnae_bench.options.durations import seconds
from rnnae_bench.sweeps.config import DURATIONS, SweepOptions, options_from
from rnnae_bench.sweeps.driver import Watcher
from rnnae_bench.sweeps.grid import Named, label, with_options
from rnnae_bench.sweeps.session import Session
from rnnae_bench.sweeps.study import Found

_OWN = {one.name for one in fields(SweepOptions)} - {"task", "model", "dry_run", "collect", "json", "logger"}


class SweepResults(Results):
    """The trials of a sweep.

    Args:
        results: Those that have a record, in order; of those that had one before, too.
        refused: Settings that can't be run, which have no trials, and why.
        found: What each study of a search found; None in a grid.
    """

    def __init__(
        self, results: Iterable[Result], refused: Mapping[str, str] | None = None, found: Sequence[Found] | None = None
    ) -> None:
        super().__init__(results)
        self.refused, self.found = dict(refused or {}), found

    @property
    def went_well(self) -> bool:
        """Whether nothing was refused or failed, and every study has a best."""
        ended_well = all(record.status in ("ok", "skipped") for record in self.records)
        return ended_well and not self.refused and all(one.command for one in self.found or ())


@told_in_python()
def sweep(
    task: str | Sequence[Named],
    model: str | Sequence[Named],
    *,
    seeds: int = 1,
    out: str | Path = "runs",
    loggers: Sequence[str] = (),
    progress: bool = True,
    **options: Any,
) -> SweepResults:
    """Run many trials in worker processes: every task with every model and every combination of options.

    ``sweep("copy", ["gru", "lstm"], hidden_size=[32, 64], seeds=5)`` are twenty trials. What has a record already is
    not run again, so that a sweep that was stopped goes on where it was.

    Args:
        task: A name as for `run`, or several.
        model: The same. Lists in brackets multiply too: ``gru[hidden_size=[32,64]]``.
        seeds: How many, counting up.
        out: Folder for the records.
        loggers: Log elsewhere too: ``wandb``, ``csv``, ``tensorboard``.
        progress: Whether to show it.
        **options: What ``rnnae-bench sweep --help`` lists, under the same names (``precision``, ``executor``,
            ``workers``, ``vectorize``, ``probes``, ``time_limit``, ``search``, ...); every other is an option of the
            models, and a list of values multiplies. One that is itself a list is written as a list in a list.

    Returns:
        The trials of the grid, or those that the search tried.

    Raises:
        UserError: a name, an option or a value is wrong, or none of the settings can be run.
        KeyboardInterrupt: it was stopped; the same call goes on with what is left.
    """
    require_loggers(loggers)
    tasks = [task] if isinstance(task, str | Mapping) else list(task)
    models = [model] if isinstance(model, str | Mapping) else list(model)
    chosen = chosen_options(tasks, models, {"seeds": seeds, "out": str(out), **options})
    with meant(options), SweepProgress(progress_console(progress)) as shown:
        return run_sweep(chosen, shown, ("rnnae_bench.sweep",), loggers)


def chosen_options(tasks: Sequence[Named], models: Sequence[Named], options: Mapping[str, Any]) -> SweepOptions:
    """The options of a sweep from the keywords of a call: those that are none of its own are the models'.

    Args:
        tasks: The tasks.
        models: The models.
        options: By name.

    Raises:
        UserError: a task or model is no name, or a value is wrong.
    """
    probes = options.get("probes") or ()
    for named in (*tasks, *models, *((probes,) if isinstance(probes, str | type) else probes)):
        if not isinstance(named, str | Mapping):
            raise UserError(
                f"a sweep trains in processes of its own, where only what is installed is known; got {named!r:.80}: "
                "name it, or train the class here with rnnae_bench.run"
            )
    grid = {name: value for name, value in options.items() if name not in _OWN}
    asked = options_from({name: value for name, value in options.items() if name in _OWN})
    asked |= {name: seconds(asked[name]) for name in DURATIONS if name in asked}
    return SweepOptions(**{**asked, "task": tasks, "model": [with_options("model", one, grid) for one in models]})


@contextmanager
def meant(options: Iterable[str]) -> Iterator[None]:
    """Have a mistake found in the block say which option of a sweep a model's may have been meant for."""
    try:
        yield
    except UserError as error:
        others = [name for name in options if name not in _OWN]
        near = [known for name in others for known in difflib.get_close_matches(name, _OWN, n=1, cutoff=0.8)]
        raise UserError(f"{error}; or did you mean {near[0]}?" if near else str(error)) from error


def run_sweep(
    options: SweepOptions, watcher: Watcher, command: Sequence[str], loggers: Sequence[str] = ()
) -> SweepResults:
    """Run all trials, each unless it has a record.

    Args:
        options: What is wanted.
        watcher: Is told everything.
        command: How it was asked for, for the records.
        loggers: Names of loggers.

    Raises:
        UserError: a name or an option is wrong, none of the settings can be run, or the folder can't be written.
        KeyboardInterrupt: it was stopped.
    """
    with Session(options, watcher, command, loggers) as session:
        swept = session.run()
    results = [Result(record, session.store.path(record.id)) for record in swept.records]
    return SweepResults(results, {label(one.setting): one.reason for one in swept.refused}, swept.found)


def forecast(options: SweepOptions, watcher: Watcher) -> list[dict[str, Any]]:
    """What `run_sweep` would run, as `rnnae_bench.sweeps.session.Session.forecast` tells it; runs nothing."""
    with Session(options, watcher) as session:
        return session.forecast()
