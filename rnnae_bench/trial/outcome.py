"""What a trial leaves behind: its record, as it was measured, however the trial ended."""

import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Trainer

from rnnae_bench.probes import Diverged, Evaluation, Probe
from rnnae_bench.records.history import Series
from rnnae_bench.records.privacy import publishable
from rnnae_bench.records.record import SCHEMA_VERSION, Status, finite
from rnnae_bench.records.store import Store
from rnnae_bench.trial import environment
from rnnae_bench.trial.determinants import Determinants
from rnnae_bench.trial.interruption import Interruption, interruption_in


@dataclass(frozen=True)
class Outcome:
    """What a trial left behind."""

    record: dict[str, Any]
    series: dict[str, Series]
    path: Path
    """The record's file."""
    rescue: str | None = None
    """Why the record does not lie where it should; None where it does."""


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


@dataclass(frozen=True)
class Recorder:
    """Writes down what is known of a trial, before it begins, while it runs and when it has ended.

    Args:
        trial: What determines it.
        overrides: The options that are not the defaults, by dotted name.
        baselines: Test-set metrics of the task's baselines, by their names.
        fingerprints: Of its data.
    """

    trial: Determinants
    overrides: Mapping[str, Any]
    baselines: Mapping[str, Mapping[str, float]]
    fingerprints: Mapping[str, str]

    def record(
        self,
        evaluation: Evaluation,
        found: Measured,
        status: Status,
        failure: Mapping[str, Any] | None,
        started: datetime,
        command: Sequence[str],
        resumed: Sequence[int] = (),
    ) -> dict[str, Any]:
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
        primary = self.trial.pair.variant.primary
        value = finite(evaluation.test.get(primary.metric)) if status == "ok" else None
        scale = primary.scale(self.baselines)
        record: dict[str, Any] = finite(
            {
                "schema": SCHEMA_VERSION,
                "id": self.trial.identity,
                "status": status,
                "failure": failure,
                "task": self.trial.pair.task_handle.name,
                "variant": self.trial.pair.variant.name,
                "model": self.trial.pair.model_handle.name,
                "seed": self.trial.seed,
                "data_seed": self.trial.data_seed,
                "overrides": self.overrides,
                "configuration": self.trial.options,
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
                "metrics": evaluation.by_set,
                "baselines": self.baselines,
                "measures": found.measures,
                "fingerprints": self.fingerprints,
                "environment": self._environment(),
                "command": list(command),
                "started": started.isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        if resumed:
            record["environment"]["resumed"] = list(resumed)
        if found.absent:
            record["absent"] = dict(found.absent)
        return publishable(record)

    def _environment(self) -> dict[str, Any]:
        layout = self.trial.layout
        cuda = layout["accelerator"] == "cuda"
        return {
            "host": environment.host(),
            "device": torch.cuda.get_device_name() if cuda else environment.processor(),
            "threads": torch.get_num_threads(),
            "accelerator": layout["accelerator"],
            "devices": layout["devices"],
            "precision": layout["precision"],
            "versions": environment.versions(),
            "plugins": self.trial.plugins,
            "git": environment.git(),
        }


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
