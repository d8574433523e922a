"""One trial: one model on one task variant under one seed, from its options to its record."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.loggers import Logger
from msgspec.structs import replace

from rnnae_bench.contracts.model import BenchModule
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError, in_a_line, require_not_negative
from rnnae_bench.options.limits import bounded
from rnnae_bench.plugins.forks import one_process
from rnnae_bench.probes import (
    Cost,
    Evaluation,
    ExampleScores,
    GradientFlow,
    GradientNorms,
    Probe,
    Samples,
    TrainingCurve,
    Underflow,
)
from rnnae_bench.records.history import Series
from rnnae_bench.records.record import Failure, Match, Record, Status
from rnnae_bench.records.store import Store
from rnnae_bench.training.allocator import keep_freed_memory, release_freed_memory
from rnnae_bench.training.blocks import Blocks
from rnnae_bench.training.lightning import fit_and_test
from rnnae_bench.training.own_fit import fit_itself_and_test, fits_itself
from rnnae_bench.trial.added_probes import AddedProbe, origins
from rnnae_bench.trial.checkpointing import Checkpointing
from rnnae_bench.trial.determinants import Determinants, alters_data
from rnnae_bench.trial.drafting import Flush
from rnnae_bench.trial.interruption import Interruptions
from rnnae_bench.trial.isolation import undisturbed
from rnnae_bench.trial.layout import find_layout, make_trainer, unsupported_precision
from rnnae_bench.trial.outcome import RUNNING, Outcome, Recorder, failure_of, keep, measured
from rnnae_bench.trial.pair import Pair, changed
from rnnae_bench.trial.preflight import (
    BUILD_MEMORY,
    BUILD_SECONDS,
    can_train_in_blocks,
    rehearse_evaluation,
    require_no_steps,
    require_whole_weights,
    too_large_a_code,
    try_model,
)
from rnnae_bench.trial.process_state import fresh_process
from rnnae_bench.trial.resumption import OneFile, Resumption, require_resumable
from rnnae_bench.trial.weights import encode


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
        match: What the model's width was chosen by, for the record to say.
        probes: Those of plugins, which measure beside the suite's own.

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
        match: Match | None = None,
        probes: Sequence[AddedProbe] = (),
    ) -> None:
        require_not_negative(seed=seed)
        self.match, self.probes = match, tuple(probes)
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
            reason = f"{type(error).__name__}: {in_a_line(error)}"
            raise UserError(f"task '{pair.label}' can't make its data with these options: {reason}") from error
        self.blocks: Blocks | None = None
        self.layout = find_layout(self.options["trainer"], pair.defaults["trainer"], self.task)
        self.fits_itself = fits_itself(pair.model_class)
        if self.fits_itself:
            require_no_steps(self.determinants)
        self.unsupported = self.pair.unsupported(self.task, self.options["model"]) or unsupported_precision(self.layout)
        if self.unsupported is None:
            try_model(self.determinants, self.build_without_weights, self.trainer)
            self.unsupported = too_large_a_code(pair, self.task, self.build_model)
        if self.unsupported is not None and not may_be_skipped:
            raise UserError(self.unsupported)
        if can_train_in_blocks(self.determinants, self.task):
            protocol = self.task.protocol
            self.blocks = Blocks(protocol.max_steps, protocol.evaluate_every)
        self.baselines = self._baselines()

    @property
    def determinants(self) -> Determinants:
        """What determines the result."""
        return Determinants(self.pair, self.options, self.layout, self.seed, self.data_seed)

    @property
    def identity(self) -> str:
        """Content hash of what determines the result; 16 hexadecimal digits."""
        return self.determinants.identity

    @property
    def recorder(self) -> Recorder:
        """What writes the trial's record."""
        return Recorder(
            self.determinants, self.overrides, self.baselines, self.fingerprints, self.match, origins(self.probes)
        )

    def run(
        self,
        store: Store,
        command: Sequence[str],
        callbacks: Sequence[Callback] = (),
        loggers: Sequence[Logger] = (),
        flush_every: float | None = None,
        checkpoint_every: float | None = None,
        keep_weights: bool = False,
        tell: Callable[[str], None] = lambda line: None,
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
            checkpoint_every: Seconds between two checkpoints in the store. The trial goes on from one that an earlier
                run of it left there, to the same result. None keeps none, and starts anew.
            keep_weights: Whether the trained weights are kept beside the record.
            tell: Is told, in a line, of a checkpoint that was found.

        Returns:
            The outcome; None on the helper processes of a trial on several devices.

        Raises:
            UserError: the trial can't go on from a checkpoint exactly, or its weights can't be kept.
        """
        if keep_weights:
            require_whole_weights(self.determinants)
        release_freed_memory()
        store = store.anchored()
        resumption = None
        if checkpoint_every is not None:
            require_resumable(self.determinants, self.task)
            resumption = Resumption(
                store.checkpoints, self.determinants, self.fingerprints, checkpoint_every, tell, self.probes
            )
        probes, evaluation = self._probes([one.build() for one in self.probes])
        keep_freed_memory()
        started = datetime.now(UTC)
        checkpoints: list[Checkpointing] = []
        drafts: list[Callback] = []

        def record(status: Status, failure: Failure | None) -> tuple[Record, dict[str, Series], bytes | None]:
            found, resumed = measured(probes), checkpoints[0].resumed if checkpoints else ()
            made = self.recorder.record(evaluation, found, status, failure, started, command, resumed)
            return made, found.series, found.kept

        if flush_every is not None:
            drafts.append(Flush(lambda: store.drafts.write(*record("interrupted", RUNNING)[:2]), flush_every))
        status: Status = "ok"
        failure: Failure | None = None
        trainer = model = None
        with Interruptions() as interruptions, undisturbed(alone=self.layout["devices"] == 1) as folder:
            try:
                with interruptions.raised(), one_process():
                    if self.options["trainer"]["profiler"]:
                        # Its reports are wanted.
                        folder = store.folder / "logs" / "profiler" / self.identity
                    if resumption is not None:
                        checkpoints.append(Checkpointing(resumption, interruptions))
                    watching = [*checkpoints, *probes, *callbacks, *drafts]
                    trainer = self.trainer(watching, loggers, folder, OneFile(resumption) if resumption else None)
                    rehearse_evaluation(self.determinants, self.task, self.build_model, self.trainer, folder)
                    model = self.build_model()
                    self.task.blocks = self.blocks
                    if self.blocks is not None and isinstance(model, BenchModule):
                        model.train_in_blocks()
                    if self.fits_itself:
                        fit_itself_and_test(trainer, model, self.task, self.task.tests())
                    else:
                        begins_at = resumption.begins_at if resumption else None
                        fit_and_test(trainer, model, self.task, self.task.tests(), begins_at)
            except BaseException as error:
                status, failure = failure_of(error, trainer)
                if resumption is not None and status == "interrupted":
                    failure = replace(failure, message=failure.message + resumption.remark)
            if trainer is not None and not trainer.is_global_zero:
                return None
            made, series, samples = record(status, failure)
            weights = None
            if keep_weights and model is not None and status == "ok":
                try:
                    weights = encode(model.state_dict())
                except ValueError as error:
                    made = replace(made, absent={**made.absent, "weights": str(error)})
            outcome = keep(store, made, series, samples, weights)
            if resumption is not None and status != "interrupted":
                store.checkpoints.discard(self.identity)
            return outcome

    def _probes(self, added: Sequence[Probe] = ()) -> tuple[list[Probe], Evaluation]:
        """All probes, and the one of them that scores; those of plugins after the suite's own."""
        evaluation = Evaluation(self.task, self.pair.variant.primary)
        # The curve comes last: it raises where the loss is not finite, when the others have measured that step.
        gradients: list[Probe] = [GradientNorms(), Underflow(), GradientFlow(self.task)]
        examples = ExampleScores(self.task, self.pair.variant.primary.metric)
        own = [*gradients, evaluation, examples, Samples(self.task, evaluation), Cost()]
        return [*own, *added, TrainingCurve()], evaluation

    def unmeasured(self, status: Status, reason: str) -> Record:
        """The record of this trial if it ended before it began; its histories are empty.

        Args:
            status: How it ended.
            reason: Why.
        """
        probes, evaluation = self._probes()
        failure = Failure(message=reason, step=None, traceback=None)
        return self.recorder.record(evaluation, measured(probes), status, failure, datetime.now(UTC), ())

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

    @property
    def data_version(self) -> str | None:
        """The version of the data, as the card has it; None where options make them others."""
        return None if alters_data(self.overrides) else self.pair.variant.data_version

    def _baselines(self) -> dict[str, dict[str, float]]:
        frozen = self.pair.variant.baselines
        if not alters_data(self.overrides):
            return {name: dict(baseline.values) for name, baseline in frozen.items()}
        found = {name: self._baseline(name) for name in frozen}
        return {name: values for name, values in found.items() if values is not None}

    def _baseline(self, name: str) -> dict[str, float] | None:
        """A baseline on data that options have altered; None where there is none on them, and none is needed."""
        try:
            return self.task.baseline(name)
        except UserError:
            primary = self.pair.variant.primary
            if name in (primary.floor, primary.ceiling):
                raise
            return None
        except Exception as error:
            reason = f"{type(error).__name__}: {in_a_line(error)}"
            raise UserError(
                f"task '{self.pair.label}' can't compute its baseline '{name}' with these options: {reason}"
            ) from error

    def trainer(
        self,
        callbacks: Sequence[Callback],
        loggers: Sequence[Logger],
        folder: Path,
        checkpoint_io: CheckpointIO | None = None,
        **limits: Any,
    ) -> Trainer:
        """Lightning's Trainer for the protocol and the trainer options.

        Args:
            callbacks: What watches.
            loggers: What gets every step's measures too.
            folder: For Lightning's own files, as from `rnnae_bench.trial.isolation.undisturbed`.
            checkpoint_io: Reads and writes checkpoints, where there are any.
            limits: Further options, ``limit_val_batches`` and ``limit_test_batches``.

        Raises:
            UserError: the options don't work here.
        """
        asked, defaults = self.options["trainer"], self.pair.defaults["trainer"]
        return make_trainer(
            asked, defaults, self.task, self.blocks, callbacks, loggers, folder, checkpoint_io, **limits
        )
