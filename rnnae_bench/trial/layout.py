"""Where and how precisely a trial computes, and the Lightning Trainer that does it."""

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.loggers import Logger

from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.training.block_loop import WHOLE_STRATEGIES
from rnnae_bench.training.blocks import Blocks
from rnnae_bench.training.lightning import silence_remarks
from rnnae_bench.training.optimizer_steps import CountBatches
from rnnae_bench.trial.isolation import be_first_process, hidden_variables, never_requeue, require_own_arithmetic
from rnnae_bench.trial.pair import changed


def find_layout(asked: Mapping[str, Any], defaults: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Devices, their kind, strategy and precision that trainer options come to on this machine.

    Args:
        asked: All options of the trainer.
        defaults: What they are where nothing was asked for.
        task: Its batches have to divide over the devices.

    Raises:
        UserError: the options don't work here.
    """
    strategy = str(asked["strategy"])
    if "spawn" in strategy or "fork" in strategy or "notebook" in strategy:
        raise UserError(
            f"--trainer.strategy {strategy} runs the training where its measures can't be fetched from; use ddp"
        )
    # A Trainer takes 20 ms to make, and a sweep asks for the same one under every seed.
    key = json.dumps(asked, sort_keys=True)
    if key not in _LAYOUTS:
        _LAYOUTS[key] = _layout_here(asked, defaults, task, alone=True)
        if _LAYOUTS[key]["devices"] > 1:
            # What started this process, if anything did, has to fit.
            _LAYOUTS[key] = _layout_here(asked, defaults, task, alone=False)
    layout = dict(_LAYOUTS[key])
    if layout["devices"] == 1:
        be_first_process()
    require_own_arithmetic(layout["accelerator"])
    batch_size, devices = task.protocol.batch_size, layout["devices"]
    if batch_size % devices:
        raise UserError(
            f"a batch of {batch_size} does not divide over {devices} devices; "
            f"choose --task.protocol.batch_size as a multiple of {devices}"
        )
    if devices > 1 and not task.predicts_rows:
        raise UserError(
            f"{type(task).__name__}.predict needs whole evaluation sets (predicts_rows is False), and each of "
            f"{devices} devices would see a part; use one (--trainer.devices 1)"
        )
    return layout


def _layout_here(asked: Mapping[str, Any], defaults: Mapping[str, Any], task: Task, alone: bool) -> dict[str, Any]:
    with hidden_variables(alone):
        trainer = make_trainer(asked, defaults, task, None, [], [], Path(tempfile.gettempdir()))
    return _layout_of(trainer, str(asked["precision"]))


def unsupported_precision(layout: Mapping[str, Any]) -> str | None:
    """Why a layout's devices can't compute in its precision; None where they can."""
    accelerator, precision = layout["accelerator"], layout["precision"]
    if accelerator == "cpu" and precision.startswith(("16", "transformer-engine")):
        return (
            f"--trainer.precision {precision}: half precision (fp16) needs a GPU, and this trial runs on the CPU; "
            "use bf16-mixed or 32-true"
        )
    if accelerator == "cuda" and precision.startswith("bf16") and not torch.cuda.is_bf16_supported():
        return f"--trainer.precision {precision}: {torch.cuda.get_device_name()} has no bfloat16; use 16-mixed"
    return None


def has_whole_weights(layout: Mapping[str, Any]) -> bool:
    """Whether every process of a layout holds all weights and all gradients."""
    return layout["strategy"] in {strategy.__name__ for strategy in WHOLE_STRATEGIES}


def make_trainer(
    asked: Mapping[str, Any],
    defaults: Mapping[str, Any],
    task: Task,
    blocks: Blocks | None,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    folder: Path,
    checkpoint_io: CheckpointIO | None = None,
    **limits: Any,
) -> Trainer:
    """Lightning's Trainer for a protocol and trainer options.

    Args:
        asked: All options of the trainer.
        defaults: What they are where nothing was asked for.
        task: What it is to train on.
        blocks: In which the training batches come; None: one by one.
        callbacks: What watches.
        loggers: What gets every step's measures too.
        folder: For Lightning's own files, as from `rnnae_bench.trial.isolation.undisturbed`.
        checkpoint_io: Reads and writes checkpoints, where there are any.
        limits: Further options, ``limit_val_batches`` and ``limit_test_batches``.

    Raises:
        UserError: the options don't work here.
    """
    options = {key: value for key, value in asked.items() if value is not None}
    if checkpoint_io is not None:
        plugins = options.get("plugins", [])
        options["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), checkpoint_io]
    protocol = task.protocol
    between: dict[str, Any] = {"check_val_every_n_epoch": None}
    batches = protocol.evaluate_every * options.get("accumulate_grad_batches", 1)
    if blocks is not None:
        between["val_check_interval"] = blocks.per_evaluation
    elif type(task).train_dataloader is Task.train_dataloader:
        # The stream has no epochs of its own: an epoch is what lies between two evaluations, and what Lightning or
        # a model does by epochs (a schedule, say) is done then.
        between = {"limit_train_batches": batches}
    else:
        between["val_check_interval"] = batches
    with warnings.catch_warnings():
        silence_remarks()
        try:
            trainer = Trainer(
                **options,
                default_root_dir=folder,
                max_epochs=-1,
                max_steps=protocol.max_steps,
                **between,
                **limits,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                enable_autolog_hparams=False,
                callbacks=[CountBatches(), *callbacks],
                logger=list(loggers),
            )
            never_requeue(trainer)
            return trainer
        except Exception as error:
            given = changed({"trainer": asked}, {"trainer": defaults})
            flags = " ".join(f"--{key} {value}" for key, value in given.items())
            reason = in_a_line(error)
            raise UserError(f"these trainer options don't work here ({flags or 'defaults'}): {reason}") from error


_LAYOUTS: dict[str, dict[str, Any]] = {}
"""What this process has found trainer options, as JSON, to come to on this machine."""


def _layout_of(trainer: Trainer, asked: str) -> dict[str, Any]:
    """Devices, their kind, strategy and precision, where `asked` is the precision asked for."""
    accelerator, precision = trainer.strategy.root_device.type, str(trainer.precision)
    return {
        "accelerator": accelerator,
        "devices": trainer.world_size,
        "strategy": type(trainer.strategy).__name__,
        # On a CPU Lightning quietly takes bf16 for fp16, and this is about what was asked for.
        "precision": asked if accelerator == "cpu" and asked.startswith("16") else precision,
    }
