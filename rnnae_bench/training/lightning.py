"""Lightning's fit and test, without its remarks on the hardware and on what the suite does on purpose."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import lightning.fabric
import lightning.pytorch
from lightning import LightningDataModule, LightningModule, Trainer

_LOGS = tuple(logging.getLogger(module.__name__) for module in (lightning.fabric, lightning.pytorch))


def errors_only() -> None:
    """Keep all but errors of Lightning's log from the terminal, for the rest of this process."""
    for log in _LOGS:
        log.setLevel(logging.ERROR)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within, Lightning says nothing of the hardware, of its other products and of what is done on purpose."""
    before = [log.level for log in _LOGS]
    errors_only()
    try:
        with warnings.catch_warnings():
            silence_remarks()
            yield
    finally:
        for log, level in zip(_LOGS, before, strict=True):
            log.setLevel(level)


def fit_and_test(
    trainer: Trainer,
    model: LightningModule,
    task: LightningDataModule,
    tests: Iterable[object],
    checkpoint: Path | None = None,
) -> None:
    """Train, and test once for each of `tests`, without Lightning's remarks on what the runner does on purpose.

    The task's test set is the one that `tests` is at (`Task.tests`).

    Args:
        trainer: Has the budget.
        model: Is trained.
        task: What on.
        tests: The sets to test on.
        checkpoint: Where the training goes on from; None: from the beginning.
    """
    with warnings.catch_warnings():
        silence_remarks()
        with _default_cuda_check():
            trainer.fit(model, datamodule=task, ckpt_path=checkpoint)
        for _ in tests:
            trainer.test(model, datamodule=task, verbose=False)


@contextlib.contextmanager
def _default_cuda_check() -> Iterator[None]:
    """Let PyTorch see in its default way whether there is a GPU.

    Lightning sets this variable on import, so that the question does not start CUDA in a process that will fork (a
    trial refuses the strategies that do). PyTorch's optimisers ask at every step; where there is no GPU, each time the
    driver's library is searched for on disk in vain, which took 0.04 to 0.3 ms a step.
    """
    name = "PYTORCH_NVML_BASED_CUDA_CHECK"
    before = os.environ.pop(name, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before


def silence_remarks() -> None:
    """Drop Lightning's remarks on what the runner does on purpose, and one of its own deprecated calls."""
    for remark in (
        ".*does not have many workers.*",
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
        ".*GPU available but not used.*",
        ".*AMP with fp16 is not supported on CPU.*",
        ".*is smaller than the logging interval.*",
        ".*`max_epochs` was not set.*",
        ".*this fit will run with no optimizer.*",
        ".*`training_step` returned `None`.*",
        ".*resuming from a checkpoint that ended before the epoch ended.*",
    ):
        warnings.filterwarnings("ignore", message=remark)
