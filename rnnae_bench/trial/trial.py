"""One trial: one model on one task variant under one seed, from its options to its record."""

import json
import tempfile
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger

from rnnae_bench.contracts.model import BenchModule
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError, require_not_negative
from rnnae_bench.options.limits import TooMuch, bounded
from rnnae_bench.plugins.forks import one_process
from rnnae_bench.probes import (
    Cost,
    Diverged,
    Evaluation,
    ExampleScores,
    GradientFlow,
    GradientNorms,
    NoPrediction,
    Probe,
    TrainingCurve,
    Underflow,
)
from rnnae_bench.records.history import Series
from rnnae_bench.records.privacy import options_without_home, publishable
from rnnae_bench.records.record import SCHEMA_VERSION, Status, finite, identity
from rnnae_bench.records.store import Store
from rnnae_bench.training.allocator import keep_freed_memory, release_freed_memory
from rnnae_bench.training.block_loop import WHOLE_STRATEGIES
from rnnae_bench.training.blocks import Blocks
from rnnae_bench.training.lightning import fit_and_test, silence_remarks
from rnnae_bench.training.optimizer_steps import CountBatches
from rnnae_bench.trial import environment
from rnnae_bench.trial.drafting import Flush
from rnnae_bench.trial.interruption import Interruption, Interruptions, interruption_in
from rnnae_bench.trial.isolation import (
    be_first_process,
    hidden_variables,
    never_requeue,
    require_own_arithmetic,
    undisturbed,
)
from rnnae_bench.trial.pair import Pair, changed
from rnnae_bench.trial.process_state import fresh_process

BUILD_MEMORY, BUILD_SECONDS = 4 * 2**30, 60.0
"""Bytes and seconds that a model may take to be built without its weights."""

EVALUATION_STEPS = ("validation_step", "test_step")
"""What of a model returns the prediction."""


@dataclass(frozen=True)
class Outcome:
    """What a trial left behind."""

    record: dict[str, Any]
    series: dict[str, Series]
    path: Path
    """The record's file."""
    rescue: str | None = None
    """Why the record does not lie where it should; None where it does."""


class Trial:
    """A trial, checked and ready to run. Making one does no training and writes nothing.

    Args:
        pair: Task variant and model.
        options: All options of the pair, as from `Pair.resolve`.
        seed: Fixes weights and everything random in the model.
        data_seed: Fixes the training stream; None means the same as `seed`, so that two models under one seed see
            the same data.
        may_be_skipped: Where the model does not support the task, or this machine not the precision, keep the reason in
            `unsupported` instead of raising it.

    Raises:
        UserError: the options can't work: a value out of range, a model that does not support the task, data that
            are not there, devices or a precision that this machine lacks.
    """

    unsupported: str | None = None
    """Why this trial can't be run here, and is to be recorded as ``skipped``."""

    def __init__(
        self,
        pair: Pair,
        options: Mapping[str, Any],
        seed: int,
        data_seed: int | None = None,
        may_be_skipped: bool = False,
    ) -> None:
        require_not_negative(seed=seed)
        with fresh_process():
            self._check(pair, options, seed, data_seed, may_be_skipped)

    def _check(
        self,
        pair: Pair,
        options: Mapping[str, Any],
        seed: int,
        data_seed: int | None,
        may_be_skipped: bool,
    ) -> None:
        self.pair = pair
        self.options = {part: dict(options[part]) for part in ("task", "model", "trainer")}
        self.seed = seed
        self.data_seed = seed if data_seed is None else data_seed
        self.overrides = changed(self.options, pair.defaults)
        try:
            self.task: Task = pair.build_task(self.options["task"], self.data_seed)
            self.fingerprints = self.task.fingerprint()
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UserError(f"task '{pair.label}' can't make its data with these options: {reason}") from error
        self.blocks: Blocks | None = None
        self.layout = self._layout()
        self._require_evaluation()
        self.unsupported = self.pair.unsupported(self.task, self.options["model"]) or self._unsupported_precision()
        if self.unsupported is None:
            self._try_model()
        elif not may_be_skipped:
            raise UserError(self.unsupported)
        if self._can_train_in_blocks():
            protocol = self.task.protocol
            self.blocks = Blocks(protocol.max_steps, protocol.evaluate_every)
        self.baselines = self._baselines()

    def _require_evaluation(self) -> None:
        """Raise `UserError` where the model class lacks a step that gives what is scored."""
        for name in EVALUATION_STEPS:
            if getattr(self.pair.model_class, name, None) is getattr(LightningModule, name):
                raise UserError(
                    f"model '{self.pair.model_handle.name}' has no {name}, whose prediction is what is scored; "
                    "define validation_step and test_step, each returning self(batch.inputs, batch.lengths)"
                )

    def _try_model(self) -> None:
        """Build the model once, to refuse what it refuses; what else goes wrong there is for the record to tell."""
        try:
            model = self.build_without_weights()
        except TooMuch:
            return
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"model '{self.pair.model_handle.name}' refuses these options: {error}") from error
        except (Exception, SystemExit):
            return
        for option, default in (("accumulate_grad_batches", 1), ("gradient_clip_val", None)):
            value = self.options["trainer"][option]
            if value != default and not model.automatic_optimization:
                raise UserError(
                    f"--trainer.{option} {value} is for optimiser steps that Lightning does, and model "
                    f"'{self.pair.model_handle.name}' does its own (automatic_optimization is False); leave it out"
                )

    def _can_train_in_blocks(self) -> bool:
        """Whether several optimiser steps may go into one call of the model's `training_step`.

        Else Lightning hands over one batch a call and does the optimiser steps by itself: for models and tasks that
        use its hooks for single batches, and for trainer options that it supports in no other way.
        """
        model, trainer = self.pair.model_class, self.options["trainer"]
        return (
            issubclass(model, BenchModule)
            and model.can_train_in_blocks()
            and type(self.task).can_give_blocks()
            and trainer["accumulate_grad_batches"] == 1
            and trainer["gradient_clip_val"] is None
            and self.layout["strategy"] in {strategy.__name__ for strategy in WHOLE_STRATEGIES}
        )

    @property
    def identity(self) -> str:
        """Content hash of what determines the result; 16 hexadecimal digits."""
        return self.identity_under(self.seed, self.data_seed)

    def identity_under(self, seed: int, data_seed: int) -> str:
        """The `identity` of the same trial under other seeds."""
        return identity(
            self.pair.label,
            self.pair.model_handle.name,
            # As the record tells them, so that it does not depend on where somebody's home is.
            options_without_home(self.options),
            self.layout,
            (seed, data_seed),
            self.plugins,
        )

    @property
    def plugins(self) -> dict[str, str]:
        """The distributions that the task and the model come from, with their versions."""
        handles = (self.pair.task_handle, self.pair.model_handle)
        return {handle.distribution: handle.version for handle in handles}

    def run(
        self,
        store: Store,
        command: Sequence[str],
        callbacks: Sequence[Callback] = (),
        loggers: Sequence[Logger] = (),
        flush_every: float | None = None,
    ) -> Outcome | None:
        """Train, test, and write the record, however it ends.

        Args:
            store: Where the record goes.
            command: The command line to note in the record.
            callbacks: What watches beside the probes (a progress bar, say). Lightning's hooks for a batch are called
                once a block where the trial trains in blocks; `OptimizerSteps` has hooks for every optimiser step.
            loggers: Lightning loggers that get every step's measures too.
            flush_every: Seconds between two drafts of the record in the store (and one before the first step), for the
                case that the process is killed; None writes none.

        Returns:
            The outcome; None on the helper processes of a trial on several devices.
        """
        release_freed_memory()
        store = store.anchored()
        probes, evaluation = self._probes()
        keep_freed_memory()
        started = datetime.now(UTC)
        drafts: list[Callback] = []
        if flush_every is not None:

            def draft() -> None:
                found = measured(probes)
                record = self.record(evaluation, found, "interrupted", RUNNING, started, command)
                store.drafts.write(record, found.series)

            drafts.append(Flush(draft, flush_every))
        status: Status = "ok"
        failure: dict[str, Any] | None = None
        trainer = None
        with Interruptions() as interruptions, undisturbed(alone=self.layout["devices"] == 1) as folder:
            try:
                with interruptions.raised(), one_process():
                    if self.options["trainer"]["profiler"]:
                        # Its reports are wanted.
                        folder = store.folder / "logs" / "profiler" / self.identity
                    trainer = self.trainer([*probes, *callbacks, *drafts], loggers, folder)
                    self._rehearse_evaluation(folder)
                    model = self.build_model()
                    self.task.blocks = self.blocks
                    if self.blocks is not None and isinstance(model, BenchModule):
                        model.train_in_blocks()
                    fit_and_test(trainer, model, self.task)
            except BaseException as error:
                status, failure = failure_of(error, trainer)
            if trainer is not None and not trainer.is_global_zero:
                return None
            found = measured(probes)
            record = self.record(evaluation, found, status, failure, started, command)
            return keep(store, record, found.series)

    def _rehearse_evaluation(self, folder: Path) -> None:
        """Have an untrained twin of a model that evaluates in its own way do so, on one batch of each set.

        Raises:
            NoPrediction: there would be nothing to score after the training.
        """
        own = [getattr(self.pair.model_class, name) is not getattr(BenchModule, name) for name in EVALUATION_STEPS]
        if not any(own) or self.layout["devices"] > 1:
            return
        model, watch = self.build_model(), Evaluation(self.task, self.pair.variant.primary)
        trainer = self.trainer([watch], [], folder, limit_val_batches=1, limit_test_batches=1)
        for evaluate in (trainer.validate, trainer.test):
            try:
                with warnings.catch_warnings():
                    silence_remarks()
                    evaluate(model, datamodule=self.task, verbose=False)
            except Exception as error:
                # What else goes wrong may go right when the model is trained; where not, it is told then.
                if isinstance(error, NoPrediction):
                    raise

    def _probes(self) -> tuple[list[Probe], Evaluation]:
        """All probes, and the one of them that scores."""
        evaluation = Evaluation(self.task, self.pair.variant.primary)
        # The curve comes last: it raises where the loss is not finite, when the others have measured that step.
        gradients: list[Probe] = [GradientNorms(), Underflow(), GradientFlow(self.task)]
        examples = ExampleScores(self.task, self.pair.variant.primary.metric)
        return [*gradients, evaluation, examples, Cost(), TrainingCurve()], evaluation

    def unmeasured(self, status: Status, reason: str) -> dict[str, Any]:
        """The record of this trial if it ended before it began; its histories are empty.

        Args:
            status: How it ended.
            reason: Why.
        """
        probes, evaluation = self._probes()
        failure = {"message": reason, "step": None, "traceback": None}
        return self.record(evaluation, measured(probes), status, failure, datetime.now(UTC), ())

    def build_model(self) -> LightningModule:
        """The model, with its first weights."""
        return self.pair.build_model(self.task, self.options["model"], self.seed)

    def build_without_weights(self) -> LightningModule:
        """The model without memory for its weights, since its options may be another's.

        Raises:
            TooMuch: it takes more than `BUILD_MEMORY` and `BUILD_SECONDS` even so.
        """
        with bounded("building the model", BUILD_MEMORY, BUILD_SECONDS), torch.device("meta"):
            return self.build_model()

    def record(
        self,
        evaluation: Evaluation,
        found: "Measured",
        status: Status,
        failure: Mapping[str, Any] | None,
        started: datetime,
        command: Sequence[str],
    ) -> dict[str, Any]:
        """The record, but for its histories, as of now.

        Args:
            evaluation: The probe that scored.
            found: What all probes have to say.
            status: How the trial ended.
            failure: What went wrong.
            started: When it was started.
            command: The command line.
        """
        primary = self.pair.variant.primary
        value = finite(evaluation.test.get(primary.metric)) if status == "ok" else None
        scale = primary.scale(self.baselines)
        record: dict[str, Any] = finite(
            {
                "schema": SCHEMA_VERSION,
                "id": self.identity,
                "status": status,
                "failure": failure,
                "task": self.pair.task_handle.name,
                "variant": self.pair.variant.name,
                "model": self.pair.model_handle.name,
                "seed": self.seed,
                "data_seed": self.data_seed,
                "overrides": self.overrides,
                "configuration": self.options,
                "primary": {
                    "metric": primary.metric,
                    "direction": primary.direction,
                    "value": value,
                    "floor": scale.floor,
                    "floor_baseline": primary.floor if isinstance(primary.floor, str) else None,
                    "ceiling": scale.ceiling,
                    **({"ceiling_baseline": primary.ceiling} if isinstance(primary.ceiling, str) else {}),
                    "score": None if value is None else scale.score(value),
                    "solved_at": primary.solved,
                    "solved": value is not None and primary.is_solved(value),
                },
                "metrics": {"test": evaluation.test, "validation": evaluation.validation},
                "baselines": self.baselines,
                "measures": found.measures,
                "fingerprints": self.fingerprints,
                "environment": self._environment(),
                "command": list(command),
                "started": started.isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        if found.absent:
            record["absent"] = dict(found.absent)
        return publishable(record)

    def _environment(self) -> dict[str, Any]:
        cuda = self.layout["accelerator"] == "cuda"
        return {
            "host": environment.host(),
            "device": torch.cuda.get_device_name() if cuda else environment.processor(),
            "threads": torch.get_num_threads(),
            "accelerator": self.layout["accelerator"],
            "devices": self.layout["devices"],
            "precision": self.layout["precision"],
            "versions": environment.versions(),
            "plugins": self.plugins,
            "git": environment.git(),
        }

    def _baselines(self) -> dict[str, dict[str, float]]:
        frozen = self.pair.variant.baselines
        if any(key.startswith("task.") and not key.startswith("task.protocol.") for key in self.overrides):
            return {name: self.task.baseline(name) for name in frozen}
        return {name: dict(baseline.values) for name, baseline in frozen.items()}

    def _layout(self) -> dict[str, Any]:
        strategy = str(self.options["trainer"]["strategy"])
        if "spawn" in strategy or "fork" in strategy or "notebook" in strategy:
            raise UserError(
                f"--trainer.strategy {strategy} runs the training where its measures can't be fetched from; use ddp"
            )
        # A Trainer takes 20 ms to make, and a sweep asks for the same one under every seed.
        key = json.dumps(self.options["trainer"], sort_keys=True)
        if key not in _LAYOUTS:
            _LAYOUTS[key] = self._layout_here(alone=True)
            if _LAYOUTS[key]["devices"] > 1:
                # What started this process, if anything did, has to fit.
                _LAYOUTS[key] = self._layout_here(alone=False)
        layout = dict(_LAYOUTS[key])
        if layout["devices"] == 1:
            be_first_process()
        require_own_arithmetic(layout["accelerator"])
        batch_size, devices = self.task.protocol.batch_size, layout["devices"]
        if batch_size % devices:
            raise UserError(
                f"a batch of {batch_size} does not divide over {devices} devices; "
                f"choose --task.protocol.batch_size as a multiple of {devices}"
            )
        return layout

    def _layout_here(self, alone: bool) -> dict[str, Any]:
        with hidden_variables(alone):
            trainer = self.trainer([], [], Path(tempfile.gettempdir()))
        return _layout_of(trainer, str(self.options["trainer"]["precision"]))

    def _unsupported_precision(self) -> str | None:
        accelerator, precision = self.layout["accelerator"], self.layout["precision"]
        if accelerator == "cpu" and precision.startswith(("16", "transformer-engine")):
            return (
                f"--trainer.precision {precision}: half precision (fp16) needs a GPU, and this trial runs on the CPU; "
                "use bf16-mixed or 32-true"
            )
        if accelerator == "cuda" and precision.startswith("bf16") and not torch.cuda.is_bf16_supported():
            return f"--trainer.precision {precision}: {torch.cuda.get_device_name()} has no bfloat16; use 16-mixed"
        return None

    def trainer(self, callbacks: Sequence[Callback], loggers: Sequence[Logger], folder: Path, **limits: Any) -> Trainer:
        """Lightning's Trainer for the protocol and the trainer options.

        Args:
            callbacks: What watches.
            loggers: What gets every step's measures too.
            folder: For Lightning's own files, as from `rnnae_bench.trial.isolation.undisturbed`.
            limits: Further options, ``limit_val_batches`` and ``limit_test_batches``.

        Raises:
            UserError: the options don't work here.
        """
        options = {key: value for key, value in self.options["trainer"].items() if value is not None}
        protocol = self.task.protocol
        between: dict[str, Any] = {"check_val_every_n_epoch": None}
        batches = protocol.evaluate_every * options.get("accumulate_grad_batches", 1)
        if self.blocks is not None:
            between["val_check_interval"] = self.blocks.per_evaluation
        elif type(self.task).train_dataloader is Task.train_dataloader:
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
                given = changed({"trainer": self.options["trainer"]}, {"trainer": self.pair.defaults["trainer"]})
                flags = " ".join(f"--{key} {value}" for key, value in given.items())
                reason = " ".join(str(error).split())
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


RUNNING: dict[str, Any] = {"message": "the trial is running", "step": None, "traceback": None}
"""The failure that a draft's record states."""


class Measured(NamedTuple):
    """What probes had to say."""

    series: dict[str, Series]
    measures: dict[str, Any]
    absent: dict[str, str]
    """What could not be measured, and why."""


def measured(probes: Sequence[Probe]) -> Measured:
    """What the probes have to say so far."""
    found = Measured({}, {}, {})
    for probe in probes:
        with probe.measuring(probe.subject):
            found.series.update(probe.series())
        with probe.measuring(probe.subject):
            found.measures.update(probe.measures())
        found.absent.update(probe.absent)
    return found


def keep(store: Store, record: dict[str, Any], series: dict[str, Series]) -> Outcome:
    """Write a record and its histories; where that fails, into a new temporary folder."""
    try:
        return Outcome(record, series, store.write(record, series))
    except OSError as error:
        refuge = Store(Path(tempfile.mkdtemp(prefix="rnnae-bench-")))
        reason = f"{store.folder} could not be written: {error.strerror}"
        return Outcome(record, series, refuge.write(record, series), rescue=reason)


def _said(error: BaseException) -> str:
    """An error's message; a plugin's may fail at that."""
    try:
        return str(error)
    except Exception:
        return "it has no message that can be read"


def failure_of(error: BaseException, trainer: Trainer | None) -> tuple[Status, dict[str, Any]]:
    """Status and description of what ended a trial early."""
    step = trainer.global_step if trainer is not None else None
    said = _said(error)
    text = f"{type(error).__name__}: {' '.join(said.split())}"
    if isinstance(error, Diverged):
        return "diverged", {"message": str(error), "step": error.step, "traceback": None}
    if (interruption := interruption_in(error)) is not None:
        name = interruption.name if isinstance(interruption, Interruption) else "Ctrl-C"
        return "interrupted", {"message": f"stopped by {name} at step {step}", "step": step, "traceback": None}
    details = {"message": text, "step": step, "traceback": "".join(traceback.format_exception(error))}
    memory = ("out of memory", "can't allocate memory", "not enough memory")
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in said for words in memory):
        return "oom", details
    return "error", details
