"""Trials trained in this process: `run`, and what the command line's ``run`` does once its options are read."""

import contextlib
import difflib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer
from rich.console import Console

from rnnae_bench.api.display import progress_console
from rnnae_bench.api.results import Result, Results
from rnnae_bench.api.training_progress import TrainingProgress
from rnnae_bench.api.wording import told_in_python
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError, require_choice, require_not_negative, require_positive
from rnnae_bench.leaderboard.trackers import require_loggers
from rnnae_bench.leaderboard.trackers.loggers import run_logged
from rnnae_bench.options.bracketed import parse_text
from rnnae_bench.options.durations import positive_seconds
from rnnae_bench.options.nested import flatten, merge, nest
from rnnae_bench.options.quantities import matched_to
from rnnae_bench.plugins.unregistered import Unregistered
from rnnae_bench.records.document import load
from rnnae_bench.records.legible import printable
from rnnae_bench.records.record import Match
from rnnae_bench.records.store import Store
from rnnae_bench.records.widths import chosen_before
from rnnae_bench.trial.added_probes import added_probes, origins
from rnnae_bench.trial.asked_probes import asked_probes
from rnnae_bench.trial.environment import require_matching_torchvision
from rnnae_bench.trial.launchers import rank
from rnnae_bench.trial.matching import match_width
from rnnae_bench.trial.outcome import Outcome
from rnnae_bench.trial.pair import TRAINER_OPTIONS, Pair, changed
from rnnae_bench.trial.trial import Trial

_PENDING = "RNNAE_BENCH_PENDING"
"""Environment variable by which the first process of a trial on several devices tells the others what to run."""


@told_in_python()
def run(
    task: str | type[Task],
    model: str | type[LightningModule],
    *,
    seeds: int | Sequence[int] = 1,
    data_seed: int | None = None,
    variant: str | None = None,
    task_options: Mapping[str, Any] | None = None,
    model_options: Mapping[str, Any] | None = None,
    trainer_options: Mapping[str, Any] | None = None,
    out: str | Path = "runs",
    overwrite: bool = False,
    probes: Sequence[str | type] = (),
    loggers: Sequence[str] = (),
    checkpoint_every: str | float | None = None,
    keep: Literal["weights"] | None = None,
    match: str | None = None,
    threads: int | None = None,
    progress: bool = True,
    **options: Any,
) -> Results:
    """Train a model on a task, under one or more seeds, and keep a record of each trial.

    ``run("copy", "gru", hidden_size=32, seeds=3)`` is ``rnnae-bench run --task copy --model gru --model.hidden_size 32
    --seeds 3``. What has a good record already is not trained again. A class need not be installed: it is named after
    itself, its record says that it is not installed, and it is trained anew each time.

    Args:
        task: ``NAME``, ``NAME:VARIANT`` or ``NAME:VARIANT[OPTION=VALUE,...]``, or a class.
        model: ``NAME`` or ``NAME[OPTION=VALUE,...]``, or a class.
        seeds: How many, counting up from 0; or which.
        data_seed: Seed of the training data where it is not to be each trial's own.
        variant: Of a task given as a class; ``standard`` by default.
        task_options: The task's options: ``{"delay": 50}``.
        model_options: The model's, for names that this function has itself, or with dots.
        trainer_options: Lightning's: ``{"precision": "bf16-mixed"}``.
        out: Folder for the records.
        overwrite: Train again what has a good record; the old one is kept.
        probes: Measure with these probes of plugins too: ``NAME`` or ``NAME[OPTION=VALUE,...]``, or classes. What has a
            good record that lacks what they measure is trained again, and that record is kept.
        loggers: Log elsewhere too: ``wandb``, ``csv``, ``tensorboard``.
        checkpoint_every: Keep each trial's state so often, in seconds or as ``10m``; a trial that was stopped goes on
            from there when it is called for again.
        keep: ``weights``: keep the trained weights beside each record, so that `Result.model` is there later, too.
        match: Choose the model's width so that it has so many weights, ``parameters=10k``, or numbers in its state,
            ``state=256``, or trains for about so long here, ``seconds=60``.
        threads: CPU threads; torch's own number by default.
        progress: Whether to show it.
        **options: The model's options.

    Returns:
        The trials, whose modules are there as `Result.model`. Empty on the helper processes of several devices.

    Raises:
        UserError: a name, an option or a value is wrong; nothing was trained then.
        KeyboardInterrupt: it was stopped; what was measured is in the folder.
    """
    given_options = {"task": task_options, "model": model_options, "trainer": trainer_options}
    pair, resolved, given = named_options(task, model, variant, given_options, options)
    require_loggers(loggers)
    asked = asked_probes(probes)
    if keep is not None:
        require_choice(("weights",), keep=keep)
    every = None if checkpoint_every is None else positive_seconds(str(checkpoint_every), "checkpoint_every")
    if threads is not None:
        require_positive(threads=threads)
    command = ["rnnae_bench.run", pair.label, pair.model_handle.name, *_written(given)]
    command += [f"probes={','.join(one.label for one in asked)}"] if asked else []
    with quiet(), _threads(threads):
        resolved, chosen = matched(pair, resolved, flatten(given["model"]), match, None if overwrite else Path(out))
        trials = ready(pair, resolved, _seeds(seeds), data_seed, Path(out), chosen, probes)
        console = progress_console(progress)
        lasting: dict[str, Any] = {"checkpoint_every": every, "keep_weights": keep == "weights"}
        results = train(trials, Path(out), overwrite, command, loggers, console, **lasting)
    if any(one.record.status == "interrupted" for one in results):
        raise KeyboardInterrupt
    return results


def ready(
    pair: Pair,
    options: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    data_seed: int | None = None,
    out: Path | None = None,
    match: Match | None = None,
    probes: str | Sequence[str | type] = (),
) -> list[Trial]:
    """The trials of a pair under some seeds, checked.

    Args:
        pair: The pair.
        options: All of its options.
        seeds: A trial each.
        data_seed: Seed of the training data where it is not to be each trial's own.
        out: Where records are to be left, if they are.
        match: What the width was chosen by, as from `matched`.
        probes: Those of plugins that measure too, as `asked_probes` takes them.

    Raises:
        UserError: one of them can't be run, a probe can't measure, or the folder can't be written.
    """
    added = added_probes(asked_probes(probes))
    if out is not None:
        Store(out).require_writable()
    return [Trial(pair, options, seed, data_seed, match=match, probes=added) for seed in seeds]


def matched(
    pair: Pair, options: dict[str, dict[str, Any]], given: Iterable[str], wanted: str | None, earlier: Path | None
) -> tuple[dict[str, dict[str, Any]], Match | None]:
    """All options of a pair with the width that a size was wanted for, and what came of it.

    Args:
        pair: The pair.
        options: All of its options.
        given: Names of the model's options that the user chose.
        wanted: As ``parameters=10k``; None leaves the options as they are.
        earlier: The folder of records with which the same wish, where it is for seconds, is gone on with.

    Raises:
        UserError: as of `rnnae_bench.trial.matching.match_width`.
    """
    if wanted is None:
        return options, None
    before = None
    if earlier is not None and earlier.is_dir() and matched_to(wanted)[0] == "seconds":
        changes = flatten(changed(options, pair.defaults))
        before = chosen_before(Store(earlier).read().records, pair.label, pair.model_handle.name, changes, wanted)
    width, match = before or match_width(pair, options, given, wanted)
    return pair.resolve({**options, "model": merge(options["model"], width)}), match


def label_of(trial: Trial) -> str:
    """A trial in a line."""
    return f"{trial.pair.model_handle.name} on {trial.pair.label}, seed {trial.seed}"


def is_helper(trials: Sequence[Trial]) -> bool:
    """Whether this process only computes for another one, which shows and writes everything."""
    return trials[0].layout["devices"] > 1 and rank() > 0


def train(
    trials: Sequence[Trial],
    out: Path,
    overwrite: bool,
    command: Sequence[str],
    loggers: Sequence[str],
    console: Console,
    ended: Callable[[Trial, Path, Outcome | None], None] = lambda trial, path, outcome: None,
    checkpoint_every: float | None = None,
    keep_weights: bool = False,
) -> Results:
    """Train what has no good record yet, one after the other, until all are done or one is interrupted.

    Args:
        trials: Of one pair, as `ready` gives them.
        out: Folder of the records.
        overwrite: Train also what has a good one.
        command: How it was asked for, for the records.
        loggers: Names of loggers.
        console: For the progress.
        ended: Is told of each trial and its record's file, with None where it was measured before.
        checkpoint_every: Seconds between two checkpoints of each; None keeps none.
        keep_weights: Whether the trained weights are kept beside each record.
    """
    store = Store(out)
    store.tidy()
    pending = _pending(trials, store, overwrite)
    helper = is_helper(trials)
    results: list[Result] = []
    for trial in trials:
        if trial.identity in pending:
            shown = TrainingProgress(console, label_of(trial), trial.pair.variant.primary.metric)
            kept = _KeepModel()

            def tell(line: str, label: str = label_of(trial)) -> None:
                console.print(printable(f"{label}: {line}"), markup=False, highlight=False, soft_wrap=True)

            if not helper and not overwrite and (without := _unmeasured(trial, store)):
                tell(f"measured before without {', '.join(without)}: it is trained again, and that record is kept")
            names = () if helper else tuple(loggers)
            lasting: dict[str, Any] = {"checkpoint_every": checkpoint_every, "keep_weights": keep_weights, "tell": tell}
            outcome = run_logged(trial, store, command, [shown, kept], names, **lasting)
            if outcome is None:
                continue
            results.append(Result(load(outcome.path), outcome.path, kept.model, trial.task))
            ended(trial, outcome.path, outcome)
            if outcome.record.status == "interrupted":
                break
        elif not helper and (record := store.find(trial.identity)):
            path = store.path(trial.identity)
            ended(trial, path, None)
            results.append(Result(record, path))
    return Results(results)


class _KeepModel(Callback):
    """Has the model when the trial is over."""

    def __init__(self) -> None:
        self._model: LightningModule | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note it."""
        self._model = pl_module

    @property
    def model(self) -> LightningModule | None:
        """The module, ready to be used without a trainer; None where there was none."""
        if self._model is None:
            return None
        self._model.trainer = None
        return self._model.cpu().eval()


def named_options(
    task: str | type[Task],
    model: str | type[LightningModule],
    variant: str | None,
    sections: Mapping[str, Mapping[str, Any] | None],
    options: Mapping[str, Any],
) -> tuple[Pair, dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The pair that a call names, all its options, and those that were given, in brackets or beside them.

    Args:
        task: The call's.
        model: The call's.
        variant: The call's.
        sections: Its ``task_options``, ``model_options`` and ``trainer_options``.
        options: Its further keywords, the model's.

    Raises:
        UserError: a name, a bracket or an option is wrong, or an option is given twice.
    """
    given = {part: _nested(part, section) for part, section in sections.items()}
    _refuse_twice("model_options and as a keyword", given["model"], options)
    given["model"] = merge(given["model"], _nested("model", options))
    names: dict[str, Any] = {"task": task, "model": model}
    for part, named in list(names.items()):
        if isinstance(named, str):
            names[part], written = parse_text(named)
            _refuse_twice(f"{named} and beside it", given[part], written)
            given[part] = merge(given[part], nest(written))
    if isinstance(names["task"], str) and variant is not None:
        if ":" in names["task"]:
            raise UserError(f"task {task} names its variant, and variant={variant!r} another; leave one out")
        names["task"] = f"{names['task']}:{variant}"
    require_matching_torchvision()
    pair = Pair(names["task"], names["model"], variant or "standard")
    return pair, _resolve(pair, given), given


def _refuse_twice(where: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    twice = flatten(first).keys() & flatten(second).keys()
    if twice:
        raise UserError(f"{', '.join(sorted(twice))} is given in {where}; leave one out")


def _nested(part: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    if options is not None and not isinstance(options, Mapping):
        raise UserError(f"{part}_options is a mapping of options, got {options!r:.80}")
    try:
        return nest(flatten(options or {}))
    except ValueError as error:
        raise UserError(
            f"{part} option '{error}' is given twice, as an option and as the section of another"
        ) from error


def _resolve(pair: Pair, given: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """All options; `UserError` for one that there is not, with where it may belong, or a wrong value."""
    for option in given["model"]:
        if f"model.{option}" not in pair.hints:
            _refuse(pair, option)
    return pair.resolve(given)


def _refuse(pair: Pair, option: str) -> None:
    """Raise `UserError` for an option that the model does not have, with where it may belong."""
    what = f"{option} is not an option of {pair.model_handle.name} on {pair.label}"
    if f"task.{option}" in pair.hints:
        raise UserError(f"{what}, but of the task: task_options={{{option!r}: ...}}")
    if option in TRAINER_OPTIONS:
        raise UserError(f"{what}, but of the trainer: trainer_options={{{option!r}: ...}}")
    own = [name.removeprefix("model.") for name in pair.hints if name.startswith("model.") and name.count(".") == 1]
    arguments = [name for name in run.__annotations__ if name not in ("return", "options")]
    near = difflib.get_close_matches(option, [*own, *arguments], n=1, cutoff=0.6)
    if near:
        raise UserError(f"{what}; did you mean {near[0]}?")
    raise UserError(f"{what}; its options are {', '.join(sorted(set(own) - {'name'}))}")


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, int):
        require_positive(seeds=seeds)
        return list(range(seeds))
    found = list(seeds)
    if not found or not all(isinstance(one, int) for one in found):
        raise UserError(f"seeds is how many, or a list of whole numbers, got {seeds!r:.80}")
    for one in found:
        require_not_negative(seeds=one)
    return list(dict.fromkeys(found))


def _written(given: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [f"{option}={value}" for option, value in flatten(given).items() if value != {}]


def _pending(trials: Sequence[Trial], store: Store, overwrite: bool) -> set[str]:
    """The trials to run; decided once, by the first process, for all the processes of a trial on several devices."""
    if _PENDING in os.environ:
        return set(os.environ[_PENDING].split())
    handles = (trials[0].pair.task_handle, trials[0].pair.model_handle)
    # What a class of this process uses of others may have changed since.
    overwrite = overwrite or any(isinstance(one, Unregistered) for one in handles)
    overwrite = overwrite or not all(one.asked.is_installed for one in trials[0].probes)
    pending = {
        trial.identity
        for trial in trials
        if overwrite
        or (record := store.find(trial.identity)) is None
        or record.status != "ok"
        or record.lacks(origins(trial.probes))
    }
    if any(trial.layout["devices"] > 1 for trial in trials):
        os.environ[_PENDING] = " ".join(sorted(pending))
    return pending


def _unmeasured(trial: Trial, store: Store) -> list[str]:
    """The trial's probes, by label, with which its good record was not measured; none where it has no such record."""
    record = store.find(trial.identity)
    return record.lacks(origins(trial.probes)) if record is not None and record.status == "ok" else []


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep all but errors of Lightning's log from whoever called; it may be used for other work as well."""
    logs = [logging.getLogger(name) for name in ("lightning.fabric", "lightning.pytorch")]
    before = [one.level for one in logs]
    for one in logs:
        one.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for one, level in zip(logs, before, strict=True):
            one.setLevel(level)


@contextlib.contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
