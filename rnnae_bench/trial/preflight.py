"""What is tried before a trial begins: whether it can train, and be scored, with the model and options that it has."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer

from rnnae_bench.contracts.code_limit import code_objection
from rnnae_bench.contracts.model import BenchModule
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError
from rnnae_bench.options.limits import TooMuch, bounded
from rnnae_bench.plugins.forks import one_process
from rnnae_bench.probes import Evaluation, NoPrediction
from rnnae_bench.training.lightning import silence_remarks
from rnnae_bench.training.own_fit import fits_itself
from rnnae_bench.training.own_optimizers import objection_to_optimizers
from rnnae_bench.trial.determinants import Determinants
from rnnae_bench.trial.evaluation_steps import EVALUATION_STEPS
from rnnae_bench.trial.layout import has_whole_weights
from rnnae_bench.trial.pair import Pair

BUILD_MEMORY, BUILD_SECONDS = 4 * 2**30, 60.0
"""Bytes and seconds that a model may take to be built without its weights."""

MakeTrainer = Callable[..., Trainer]
"""`rnnae_bench.trial.trial.Trial.trainer`."""


def require_no_steps(trial: Determinants) -> None:
    """Raise `UserError` where an option is for optimiser steps, which a model that trains itself has none of."""
    model = trial.pair.model_handle.name
    for option, value in _step_options(trial).items():
        raise UserError(
            f"--trainer.{option} {value} is for optimiser steps, and model '{model}' trains itself by its fit; "
            "leave it out"
        )
    if trial.layout["devices"] > 1:
        raise UserError(
            f"model '{model}' trains itself by its fit, which is done on one device, and {trial.layout['devices']} "
            "were asked for; choose --trainer.devices 1"
        )


def try_model(trial: Determinants, build: Callable[[], LightningModule], make_trainer: MakeTrainer) -> None:
    """Build the model once, to refuse what it refuses; what else goes wrong there is for the record to tell.

    Args:
        trial: What determines the trial.
        build: Builds the model without memory for its weights.
        make_trainer: Makes the trainer, given callbacks, loggers and a folder.

    Raises:
        UserError: the model refuses the options, or does not get along with those of the trainer.
    """
    name = trial.pair.model_handle.name
    try:
        model = build()
    except TooMuch:
        return
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"model '{name}' refuses these options: {error}") from error
    except (Exception, SystemExit):
        return
    for option, value in _step_options(trial).items():
        if not model.automatic_optimization:
            raise UserError(
                f"--trainer.{option} {value} is for optimiser steps that Lightning does, and model '{name}' does its "
                "own (automatic_optimization is False); leave it out"
            )
    own = type(model).configure_optimizers is not BenchModule.configure_optimizers
    if own and not fits_itself(trial.pair.model_class) and trial.layout["devices"] == 1:
        _try_optimizers(model, make_trainer)


def _try_optimizers(model: LightningModule, make_trainer: MakeTrainer) -> None:
    """Ask a model for its own optimisers, to refuse what would fail in the training."""
    try:
        model.trainer = make_trainer([], [], Path(tempfile.gettempdir()))
        with one_process(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = model.configure_optimizers()
    except (Exception, SystemExit):
        # What a model without weights can't do may go right with them; where not, the record tells.
        return
    reason = objection_to_optimizers(found, model.automatic_optimization)
    if reason is not None:
        raise UserError(f"{type(model).__name__}.configure_optimizers {reason}")


def too_large_a_code(pair: Pair, task: Task, build: Callable[[], LightningModule]) -> str | None:
    """Why the model's code is not what the task allows; what else goes wrong there is for the record to tell.

    Args:
        pair: Task variant and model.
        task: The task.
        build: Builds the model with its first weights.
    """
    if task.spec.code_limit is None:
        return None
    try:
        with bounded("encoding a row", BUILD_MEMORY, BUILD_SECONDS):
            reason = code_objection(build().eval(), task.spec, task.train_batch(0))
    except (Exception, SystemExit):
        return None
    return reason and pair.refusal(reason)


def can_train_in_blocks(trial: Determinants, task: Task) -> bool:
    """Whether several optimiser steps may go into one call of the model's `training_step`.

    Else Lightning hands over one batch a call and does the optimiser steps by itself: for models and tasks that
    use its hooks for single batches, and for trainer options that it supports in no other way.
    """
    model = trial.pair.model_class
    return (
        issubclass(model, BenchModule)
        and not fits_itself(model)
        and model.can_train_in_blocks()
        and type(task).can_give_blocks()
        and not _step_options(trial)
        and has_whole_weights(trial.layout)
    )


def _step_options(trial: Determinants) -> dict[str, Any]:
    """The trainer options for optimiser steps that are not at their defaults."""
    asked, defaults = trial.options["trainer"], {"accumulate_grad_batches": 1, "gradient_clip_val": None}
    return {option: asked[option] for option, default in defaults.items() if asked[option] != default}


def require_whole_weights(trial: Determinants) -> None:
    """Raise `UserError` where no process holds the trained weights, to keep them."""
    if not has_whole_weights(trial.layout):
        raise UserError(f"--keep weights: no process has all of them under {trial.layout['strategy']}; leave it out")


def rehearse_evaluation(
    trial: Determinants, task: Task, build: Callable[[], LightningModule], make_trainer: MakeTrainer, folder: Path
) -> None:
    """Have an untrained twin of a model that evaluates in its own way do so, on one batch of each set.

    Args:
        trial: What determines the trial.
        task: The task.
        build: Builds the model with its first weights.
        make_trainer: Makes the trainer, given callbacks, loggers and a folder.
        folder: For Lightning's own files.

    Raises:
        NoPrediction: there would be nothing to score after the training.
    """
    pair = trial.pair
    own = [getattr(pair.model_class, name) is not getattr(BenchModule, name) for name in EVALUATION_STEPS]
    if not any(own) or trial.layout["devices"] > 1:
        return
    model, watch = build(), Evaluation(task, pair.variant.primary)
    trainer = make_trainer([watch], [], folder, limit_val_batches=1, limit_test_batches=1)
    for evaluate in (trainer.validate, trainer.test):
        try:
            with warnings.catch_warnings():
                silence_remarks()
                evaluate(model, datamodule=task, verbose=False)
        except Exception as error:
            # What else goes wrong may go right when the model is trained; where not, it is told then.
            if isinstance(error, NoPrediction):
                raise
