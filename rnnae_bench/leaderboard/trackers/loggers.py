"""Experiment loggers beside the record: W&B, CSV, TensorBoard. Without any, the record is complete all the same.

What a trial's run on W&B holds is written down in `rnnae_bench.leaderboard.trackers.wandb_run`.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from torch import Tensor

from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.leaderboard.trackers import wandb_run
from rnnae_bench.leaderboard.trackers.wandb_client import has_key, require_reachable
from rnnae_bench.leaderboard.trackers.wandb_run import Rows
from rnnae_bench.probes import OptimizerSteps, Probe
from rnnae_bench.probes.reporting import series_of
from rnnae_bench.records import samples
from rnnae_bench.records.history import Series
from rnnae_bench.records.store import Store
from rnnae_bench.report.samples import picture as samples_picture
from rnnae_bench.report.trial_picture import title
from rnnae_bench.trial.outcome import Outcome
from rnnae_bench.trial.trial import Trial


def make_logger(name: str, trial: Trial, folder: Path, running: bool = True) -> Logger:
    """A Lightning logger for one trial (``wandb``, ``csv`` or ``tensorboard``), its files under ``folder/logs``.

    W&B works offline where no key is configured and ``WANDB_MODE`` doesn't say otherwise; ``wandb sync`` sends the
    run later.

    Args:
        name: Which.
        trial: The trial.
        folder: Where records go.
        running: Whether the trial is about to run here; else its record is finished.

    Raises:
        UserError: the logger can't start: an online W&B run without a key or a network, a folder that can't be written.
    """
    try:
        return _started(name, trial, folder / "logs", running)
    except Exception as error:
        raise UserError(f"the logger '{name}' can't start: {in_a_line(error)}") from error


def _started(name: str, trial: Trial, root: Path, running: bool) -> Logger:
    if name == "wandb":
        return _wandb(trial, root, running)
    if name == "csv":
        logger: Logger = CSVLogger(root, name="csv", version=trial.identity)
    else:
        logger = TensorBoardLogger(root, name="tensorboard", version=trial.identity, default_hp_metric=False)
    configuration = {**trial.options, "seed": trial.seed, "data_seed": trial.data_seed, "trial": trial.identity}
    logger.log_hyperparams({**configuration, "task_name": trial.pair.label, "model_name": trial.pair.model_handle.name})
    return logger


def _wandb(trial: Trial, root: Path, running: bool) -> Logger:
    asked = os.environ.get("WANDB_MODE")
    if asked == "disabled":
        return WandbLogger(mode="disabled", save_dir=root)
    online = asked in ("online", "run") if asked else has_key()
    if online:
        require_reachable()
    place = wandb_run.Place(root, "online" if online else "offline")
    draft = trial.unmeasured("interrupted", "")
    return WandbLogger(experiment=wandb_run.begin(draft, place, watch_machine=running))


class StreamToLoggers(OptimizerSteps):
    """Passes the probes' histories of single numbers on to the trainer's loggers, some steps at a time.

    A logger that fails is given up, with a line on standard error; the trial goes on.

    Args:
        loggers: Where they go; what is given up is taken out of this list.
        every: Optimiser steps between two deliveries; each waits for the device once.
    """

    def __init__(self, loggers: list[Logger], every: int = 100) -> None:
        self.loggers = loggers
        self.every = every
        self._rows = Rows()
        self._delivered = 0

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor | None, batch: Any
    ) -> None:
        """Deliver what has gathered, every so often."""
        if step - self._delivered >= self.every:
            # What is measured at this step may not be complete: an evaluation follows it.
            self._deliver(trainer, step)
            self._delivered = step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Deliver the rest."""
        self._deliver(trainer, None)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Deliver what was measured before it."""
        self._deliver(trainer, None)

    def _deliver(self, trainer: Trainer, until: int | None) -> None:
        series: dict[str, Series] = {}
        for probe in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(probe, Probe):
                series.update(series_of(probe))
        log_rows(self.loggers, self._rows, series, until)


def log_rows(loggers: list[Logger], rows: Rows, series: Mapping[str, Series], until: int | None = None) -> None:
    """Log what is new among histories before a step (None: all); a logger that fails is taken out of the list."""
    for step, row in rows.until(until, series):
        for logger in list(loggers):
            try:
                logger.log_metrics(row, step)
            except Exception as error:
                loggers.remove(logger)
                _give_up(logger, error)


def run_logged(
    trial: Trial,
    store: Store,
    command: Sequence[str],
    callbacks: Sequence[Callback],
    names: Sequence[str],
    **options: Any,
) -> Outcome | None:
    """`Trial.run` with loggers of these names, and further options of its.

    Raises:
        UserError: a logger can't start.
    """
    if not names:
        return trial.run(store, command, callbacks, **options)
    loggers = [make_logger(name, trial, store.folder) for name in names]
    stream = StreamToLoggers(list(loggers))
    outcome = trial.run(store, command, [*callbacks, stream], loggers, **options)
    if outcome is not None:
        finish(stream.loggers, outcome)
    return outcome


def log_finished(trial: Trial, store: Store, outcome: Outcome, names: Sequence[str]) -> None:
    """Give loggers of these names what a trial left behind that could not stream to them: one trained with others.

    A logger that can't start, or fails, is passed over with a line on standard error.
    """
    for name in names:
        try:
            loggers = [make_logger(name, trial, store.folder, running=False)]
        except UserError as error:
            print(f"rnnae-bench: {error}", file=sys.stderr)
            continue
        log_rows(loggers, Rows(), outcome.series)
        finish(loggers, outcome)


def finish(loggers: Sequence[Logger], outcome: Outcome) -> None:
    """Send the result to the loggers and close them; one that fails is passed over with a line on standard error."""
    record = outcome.record
    result = {f"test/{name}": value for name, value in record.metrics["test"].items() if value is not None}
    numbers = {name: value for name, value in record.measures.by_name.items() if isinstance(value, int | float)}
    if record.primary.score is not None:
        numbers["score"] = record.primary.score
    for logger in loggers:
        try:
            if isinstance(logger, WandbLogger):
                wandb_run.complete(logger.experiment, outcome.path, outcome.series)
            else:
                logger.log_metrics({**result, **numbers}, record.measures.steps)
                if isinstance(logger, TensorBoardLogger) and outcome.kept is not None:
                    drawn = samples_picture.figure(samples.decode(outcome.kept), title(record))
                    if drawn is not None:
                        logger.experiment.add_figure("samples", drawn, record.measures.steps)
                logger.save()
                logger.finalize("success" if record.status == "ok" else "failed")
        except Exception as error:
            _give_up(logger, error)


def _give_up(logger: Logger, error: Exception) -> None:
    name = type(logger).__name__
    later = "; 'rnnae-bench leaderboard push' sends it later" if isinstance(logger, WandbLogger) else ""
    print(
        f"rnnae-bench: {name} failed, the record is complete all the same: {in_a_line(error)}{later}", file=sys.stderr
    )
