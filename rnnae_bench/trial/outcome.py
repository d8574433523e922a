"""What a trial leaves behind: its record, as it was measured, however the trial ended."""

import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Trainer

from rnnae_bench.probes import Diverged, Evaluation, Probe, Samples, reporting
from rnnae_bench.probes.reporting import absent_of, series_of
from rnnae_bench.records.document import load
from rnnae_bench.records.history import Series
from rnnae_bench.records.legible import finite
from rnnae_bench.records.privacy import publishable
from rnnae_bench.records.record import (
    SCHEMA_VERSION,
    Configuration,
    Environment,
    Failure,
    Match,
    Primary,
    Record,
    Status,
    measures_of,
    unwritten,
)
from rnnae_bench.records.store import Store
from rnnae_bench.trial import environment
from rnnae_bench.trial.determinants import Determinants, alters_data
from rnnae_bench.trial.interruption import Interruption, interruption_in


@dataclass(frozen=True)
class Outcome:
    """What a trial left behind."""

    record: Record
    series: dict[str, Series]
    path: Path
    """The record's file."""
    rescue: str | None = None
    """Why the record does not lie where it should; None where it does."""
    kept: bytes | None = None
    """The samples, as they lie beside the record; None where there are none."""


RUNNING = Failure(message="the trial is running", step=None, traceback=None)
"""The failure that a draft's record states."""


class Measured(NamedTuple):
    """What probes had to say."""

    series: dict[str, Series]
    measures: dict[str, Any]
    absent: dict[str, str]
    """What could not be measured, and why."""
    kept: bytes | None
    """The samples, as they lie beside the record."""


def measured(probes: Sequence[Probe]) -> Measured:
    """What the probes have to say so far."""
    found = Measured({}, {}, {}, None)
    for probe in probes:
        if isinstance(probe, Samples):
            with probe.measuring(probe.subject):
                found = found._replace(kept=probe.samples())
        found.series.update(series_of(probe))
        found.measures.update(reporting.measures_of(probe))
        found.absent.update(absent_of(probe))
    return found


@dataclass(frozen=True)
class Recorder:
    """Writes down what is known of a trial, before it begins, while it runs and when it has ended.

    Args:
        trial: What determines it.
        overrides: The options that are not the defaults, by dotted name.
        baselines: Test-set metrics of the task's baselines, by their names.
        fingerprints: Of its data.
        match: What the model's width was chosen by, if it was.
        probes: Those of plugins, by label, each with distribution and version.
    """

    trial: Determinants
    overrides: Mapping[str, Any]
    baselines: Mapping[str, Mapping[str, float]]
    fingerprints: Mapping[str, str]
    match: Match | None = None
    probes: Mapping[str, str] = field(default_factory=dict)

    def record(
        self,
        evaluation: Evaluation,
        found: Measured,
        status: Status,
        failure: Failure | None,
        started: datetime,
        command: Sequence[str],
        resumed: Sequence[int] = (),
    ) -> Record:
        """The record, but for its histories, as of now.

        Args:
            evaluation: The probe that scored.
            found: What all probes have to say.
            status: How the trial ended.
            failure: What went wrong.
            started: When it was started.
            command: The command line.
            resumed: The steps of checkpoints that it went on from.
        """
        variant = self.trial.pair.variant
        primary, altered = variant.primary, alters_data(self.overrides)
        value = finite(evaluation.test.get(primary.metric)) if status == "ok" else None
        scale = primary.scale(self.baselines)
        record = Record(
            schema=SCHEMA_VERSION,
            id=self.trial.identity,
            status=status,
            failure=failure,
            task=self.trial.pair.task_handle.name,
            variant=variant.name,
            model=self.trial.pair.model_handle.name,
            seed=self.trial.seed,
            data_seed=self.trial.data_seed,
            overrides=finite(self.overrides),
            configuration=Configuration(**finite(self.trial.options)),
            primary=Primary(
                metric=primary.metric,
                direction=primary.direction,
                value=value,
                floor=finite(scale.floor),
                floor_baseline=primary.floor if isinstance(primary.floor, str) else None,
                ceiling=finite(scale.ceiling),
                ceiling_baseline=primary.ceiling if isinstance(primary.ceiling, str) else None,
                score=None if value is None else scale.score(value),
                solved_at=primary.solved,
                solved=value is not None and primary.is_solved(value),
            ),
            metrics=finite(evaluation.by_set),
            baselines=finite(self.baselines),
            measures=measures_of(finite(found.measures)),
            fingerprints=dict(self.fingerprints),
            environment=self._environment(resumed),
            command=finite(list(command)),
            started=started.isoformat(timespec="seconds"),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            absent=dict(found.absent),
            needed_lag=None if altered else variant.needed_lag,
            data_version=None if altered else variant.data_version,
            tuned=self.trial.pair.card.is_tuned_on(variant.name, self.trial.pair.model_handle.name),
            match=self.match,
            history=unwritten(self.trial.identity),
        )
        return publishable(record)

    def _environment(self, resumed: Sequence[int]) -> Environment:
        layout = self.trial.layout
        cuda = layout["accelerator"] == "cuda"
        return Environment(
            host=environment.host(),
            device=torch.cuda.get_device_name() if cuda else environment.processor(),
            threads=torch.get_num_threads(),
            accelerator=layout["accelerator"],
            devices=layout["devices"],
            precision=layout["precision"],
            versions=environment.versions(),
            plugins=dict(self.trial.plugins),
            probes=dict(self.probes),
            git=environment.git(),
            resumed=list(resumed),
        )


def keep(
    store: Store, record: Record, series: dict[str, Series], kept: bytes | None, weights: bytes | None = None
) -> Outcome:
    """Write a record and all that belongs to it; where that fails, into a new temporary folder."""
    try:
        path, rescue = store.write(record, series, kept, weights), None
    except OSError as error:
        refuge = Store(Path(tempfile.mkdtemp(prefix="rnnae-bench-")))
        rescue = f"{store.folder} could not be written: {error.strerror}"
        path = refuge.write(record, series, kept, weights)
    return Outcome(load(path), series, path, rescue, kept)


def _said(error: BaseException) -> str:
    """An error's message; a plugin's may fail at that."""
    try:
        return str(error)
    except Exception:
        return "it has no message that can be read"


def failure_of(error: BaseException, trainer: Trainer | None) -> tuple[Status, Failure]:
    """Status and description of what ended a trial early."""
    step = trainer.global_step if trainer is not None else None
    said = _said(error)
    text = f"{type(error).__name__}: {' '.join(said.split())}"
    if isinstance(error, Diverged):
        return "diverged", Failure(message=str(error), step=error.step, traceback=None)
    if (interruption := interruption_in(error)) is not None:
        name = interruption.name if isinstance(interruption, Interruption) else "Ctrl-C"
        return "interrupted", Failure(message=f"stopped by {name} at step {step}", step=step, traceback=None)
    details = Failure(message=text, step=step, traceback="".join(traceback.format_exception(error)))
    memory = ("out of memory", "can't allocate memory", "not enough memory")
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in said for words in memory):
        return "oom", details
    return "error", details
