"""Experiment loggers beside the record: W&B, CSV, TensorBoard. Without any, the record is complete all the same."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from torch import Tensor

from rnnae_bench.errors import UserError
from rnnae_bench.probes import OptimizerSteps, Probe
from rnnae_bench.results.store import Store
from rnnae_bench.trial import Outcome, Trial


def make_logger(name: str, trial: Trial, folder: Path) -> Logger:
    """A Lightning logger for one trial (``wandb``, ``csv`` or ``tensorboard``), its files under ``folder/logs``.

    W&B works offline where no key is configured and ``WANDB_MODE`` doesn't say otherwise; ``wandb sync`` sends the
    run later.

    Raises:
        UserError: the logger can't start: an online W&B run without a key or a network, a folder that can't be written.
    """
    try:
        return _started(name, trial, folder)
    except Exception as error:
        raise UserError(f"the logger '{name}' can't start: {' '.join(str(error).split())}") from error


def _started(name: str, trial: Trial, folder: Path) -> Logger:
    root = folder / "logs"
    pair = trial.pair
    if name == "csv":
        logger: Logger = CSVLogger(root, name="csv", version=trial.identity)
    elif name == "tensorboard":
        logger = TensorBoardLogger(root, name="tensorboard", version=trial.identity, default_hp_metric=False)
    else:
        root.mkdir(parents=True, exist_ok=True)
        offline = "WANDB_MODE" not in os.environ and not _has_wandb_key()
        logger = WandbLogger(
            name=f"{pair.model_handle.name}-{trial.seed}",
            project=os.environ.get("WANDB_PROJECT", "rnnae-bench"),
            save_dir=root,
            mode="offline" if offline else os.environ.get("WANDB_MODE", "online"),
            group=f"{pair.label}/{pair.model_handle.name}",
            job_type="trial",
            tags=[pair.task_handle.name, pair.label, pair.model_handle.name],
        )
    configuration = {**trial.options, "seed": trial.seed, "data_seed": trial.data_seed, "trial": trial.identity}
    logger.log_hyperparams({**configuration, "task_name": pair.label, "model_name": pair.model_handle.name})
    return logger


def _has_wandb_key() -> bool:
    import wandb

    return bool(wandb.login(prompt=False, verify=False))


class StreamToLoggers(OptimizerSteps):
    """Passes the probes' histories of single numbers on to the trainer's loggers, some steps at a time.

    Args:
        every: Optimiser steps between two deliveries; each waits for the device once.
    """

    def __init__(self, every: int = 100) -> None:
        self.every = every
        self._delivered = 0

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor, batch: Any
    ) -> None:
        """Deliver what has gathered, every so often."""
        if step - self._delivered >= self.every:
            self._deliver(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Deliver the rest."""
        self._deliver(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Deliver what was measured before it."""
        self._deliver(trainer)

    def _deliver(self, trainer: Trainer) -> None:
        rows: dict[int, dict[str, float]] = {}
        for probe in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(probe, Probe):
                for name, series in probe.series().items():
                    if series.values.ndim > 1:
                        continue
                    first = int(np.searchsorted(series.steps, self._delivered, side="right"))
                    for step, value in zip(series.steps[first:], series.values[first:], strict=True):
                        rows.setdefault(int(step), {})[name] = float(value)
        for step in sorted(rows):
            for logger in trainer.loggers:
                logger.log_metrics(rows[step], step)
        self._delivered = max(rows, default=self._delivered)


def run_logged(
    trial: Trial,
    store: Store,
    command: Sequence[str],
    callbacks: Sequence[Callback],
    names: Sequence[str],
    flush_every: float | None = None,
) -> Outcome | None:
    """`Trial.run` with loggers of these names.

    Raises:
        UserError: a logger can't start.
    """
    if not names:
        return trial.run(store, command, callbacks, flush_every=flush_every)
    loggers = [make_logger(name, trial, store.folder) for name in names]
    outcome = trial.run(store, command, [*callbacks, StreamToLoggers()], loggers, flush_every)
    if outcome is not None:
        finish(loggers, outcome)
    return outcome


def finish(loggers: Sequence[Logger], outcome: Outcome) -> None:
    """Send the result to the loggers and close them."""
    record = outcome.record
    result = {f"test/{name}": value for name, value in record["metrics"]["test"].items() if value is not None}
    numbers = {name: value for name, value in record["measures"].items() if isinstance(value, int | float)}
    if record["primary"]["score"] is not None:
        numbers["score"] = record["primary"]["score"]
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update({**result, **numbers, "status": record["status"]})
            logger.experiment.log_artifact(outcome.path, name=f"record-{record['id']}", type="record")
            logger.experiment.finish(exit_code=0 if record["status"] == "ok" else 1)
        else:
            logger.log_metrics({**result, **numbers}, record["measures"]["steps"])
            logger.save()
            logger.finalize("success" if record["status"] == "ok" else "failed")
