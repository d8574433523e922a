"""Models that train themselves, once, in place of an optimiser: closed forms, reservoirs, principal components."""

import contextlib
import inspect
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from lightning import LightningDataModule, LightningModule, Trainer
from torch import Tensor

from rnnae_bench.errors import UserError
from rnnae_bench.training.lightning import silence_remarks

FITTED = "the model trains itself by fit, without optimiser steps"
"""Why there is no loss and no gradient norm of a step."""


def fits_itself(model_class: type) -> bool:
    """Whether a model class has a ``fit(task)`` that trains it.

    Raises:
        UserError: its `fit` takes something else.
    """
    fit = getattr(model_class, "fit", None)
    if not callable(fit):
        return False
    try:
        inspect.signature(fit).bind("self", "task")
    except TypeError as error:
        raise UserError(
            f"{model_class.__name__}.fit{inspect.signature(fit)} can't be called with the task alone ({error}); "
            "a model that trains itself has fit(self, task), and another's method another name"
        ) from error
    return True


def fit_itself_and_test(
    trainer: Trainer, model: LightningModule, task: LightningDataModule, tests: Iterable[object]
) -> None:
    """Have a model train itself on the trainer's device, then evaluate it as any other, once.

    Callbacks are told by ``on_train_start``, ``on_fitted(trainer, model)`` and, after the evaluation on the validation
    set, ``on_train_end``. The `fit` runs in the format of the weights, without automatic mixed precision.

    Args:
        trainer: Of one device.
        model: Its class `fits_itself`.
        task: The `Task`.
        tests: As for `fit_and_test`.
    """
    model.trainer = task.trainer = trainer
    trainer.precision_plugin.convert_module(model).to(trainer.strategy.root_device)
    task.prepare_data()
    task.setup("fit")
    with warnings.catch_warnings():
        silence_remarks()
        _tell(trainer, "setup", model, "fit")
        _tell(trainer, "on_train_start", model)
        fit(model, task)
        _tell(trainer, "on_fitted", model)
        trainer.validate(model, datamodule=task, verbose=False)
        _tell(trainer, "on_train_end", model)
        for _ in tests:
            trainer.test(model, datamodule=task, verbose=False)


def fit(model: LightningModule, task: LightningDataModule) -> None:
    """Call a model's `fit`, within its budget.

    Raises:
        UserError: it asked for more training batches than the protocol has steps, or for the test set, or left weights
            that are not finite.
    """
    source = f"{type(model).__name__}.fit"
    model.train()
    with _within_budget(task, source):
        model.fit(task)  # type: ignore[operator]
    for name, weight in (*model.named_parameters(), *model.named_buffers()):
        if _can_be_infinite(weight) and not bool(weight.isfinite().all()):
            raise UserError(f"{source} left {name} with values that are not finite")


def _can_be_infinite(weight: Tensor) -> bool:
    return weight.is_floating_point() or weight.is_complex()


@contextlib.contextmanager
def _within_budget(task: Any, source: str) -> Iterator[None]:
    """While it lasts, a task gives the training batches of the protocol's steps and the validation set, no more."""
    budget = task.protocol.max_steps
    train_batch, evaluation_set = task.train_batch, task.evaluation_set

    def budgeted(step: int) -> Any:
        if not 0 <= step < budget:
            raise UserError(
                f"{source} asked for the training batch of step {step}, and the protocol has {budget} steps; "
                "take task.train_batch(step) for step in range(task.protocol.max_steps)"
            )
        return train_batch(step)

    def unscored(name: str) -> Any:
        if name != "validation":
            raise UserError(f"{source} asked for the {name} set, which is for scoring; fit to training batches")
        return evaluation_set(name)

    task.train_batch, task.evaluation_set = budgeted, unscored
    try:
        yield
    finally:
        del task.train_batch, task.evaluation_set


def _tell(trainer: Trainer, hook: str, model: LightningModule, *more: Any) -> None:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if hasattr(callback, hook):
            getattr(callback, hook)(trainer, model, *more)
