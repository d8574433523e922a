"""A trial as a run of Weights & Biases: the same for trials that stream while they train and for finished records.

The scheme, so that runs of different people and machines meet in one table:

========== ==========================================================================================================
id         the trial's id: a run that is logged or pushed again replaces itself
name       ``MODEL-SEED``, with the options that differ: ``gru[hidden_size=64]-0``
group      ``TASK:VARIANT/MODEL``, as in the leaderboard: the group's runs differ in nothing but their seed
job type   ``trial``
tags       task, task with variant, model, and with the options that differ, accelerator, precision
config     ``trial``, ``setting`` (the table's column), ``label`` (its row: the model with the options that differ),
           ``task_name``, ``variant``, ``model_name``, ``seed``, ``data_seed``, ``overrides``; all options under
           ``task``, ``model`` and ``trainer``; ``environment`` with accelerator, devices, precision, device, versions,
           plugins
history    every history of single numbers under its own name, over `STEP`, the optimiser step
media      `HEATMAP`: gradients through sequence time, logged once at the end; absent where the model has no time;
           `SAMPLES`: what the model made of the test set, where that was kept
summary    ``status``; ``primary`` (the primary metric on the test set), ``score``, ``solved``, ``test/METRIC``; the
           record's measures; ``failure`` where there is one; `CHECKSUM` once the record has arrived
artifact   ``record-ID`` of type `RECORD_TYPE`: the record's JSON and Parquet files as they are, and that of its samples
           where they were kept; `CHECKSUM` as metadata
exit code  0 for a trial that ended ``ok``, 1 for any other
========== ==========================================================================================================

Project and entity are W&B's own: ``WANDB_PROJECT`` (default ``rnnae-bench``) and ``WANDB_ENTITY``.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from msgspec import to_builtins

from rnnae_bench.leaderboard.trackers.wandb_client import quiet, wandb_client
from rnnae_bench.rankings.rows import summarize
from rnnae_bench.records.document import checksum, document_of, load
from rnnae_bench.records.history import Series
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store
from rnnae_bench.report import heatmaps
from rnnae_bench.report.samples.picture import picture
from rnnae_bench.report.trial_picture import title

if TYPE_CHECKING:
    from wandb import Run

RECORD_TYPE = "rnnae-bench-record"
"""The type of the artifacts that hold records."""

JOB_TYPE = "trial"
"""The job type of all trials' runs."""

STEP = "trainer/global_step"
"""The horizontal axis of all charts, the optimiser step; Lightning's own name for it."""

HEATMAP = "gradient_through_time"
"""The picture of gradients through sequence time."""

SAMPLES = "samples"
"""The picture of what the model made of the test set."""

CHECKSUM = "record_checksum"
"""In the summary and the artifact's metadata: `rnnae_bench.records.document.checksum` of the record that W&B holds."""

PROJECT = "rnnae-bench"
"""Where runs go if nothing says otherwise."""

_LONGEST = {"group": 128, "name": 128, "tag": 64}
"""Characters that W&B takes."""

_ARRIVAL_SECONDS = 300


@dataclass(frozen=True)
class Place:
    """Where a run goes.

    Args:
        folder: Where the client keeps its files, in a subfolder ``wandb``.
        mode: ``offline`` keeps the run there, complete, for ``wandb sync``.
        entity: User or team; None leaves it to the client.
        project: Its project; None leaves it to the client, or else `PROJECT`.
    """

    folder: Path
    mode: Literal["online", "offline"] = "online"
    entity: str | None = None
    project: str | None = None


def identity_of(record: Record) -> dict[str, Any]:
    """What names a record's run and tells what it is, as arguments of ``wandb.init``."""
    (row,) = summarize([record])
    there = record.environment
    tags = [row.task, f"{row.task}:{row.variant}", row.model, row.label, row.accelerator, row.precision]
    return {
        "id": record.id,
        "name": _short("name", f"{row.label}-{record.seed}"),
        "group": _short("group", f"{row.setting}/{row.label}"),
        "job_type": JOB_TYPE,
        "tags": list(dict.fromkeys(_short("tag", tag) for tag in tags)),
        "config": {
            "trial": record.id,
            "setting": row.setting,
            "label": row.label,
            "task_name": record.task,
            "variant": record.variant,
            "model_name": record.model,
            "seed": record.seed,
            "data_seed": record.data_seed,
            "overrides": record.overrides,
            **to_builtins(record.configuration),
            "environment": {
                "accelerator": there.accelerator,
                "devices": there.devices,
                "precision": there.precision,
                "device": there.device,
                "versions": there.versions,
                "plugins": there.plugins,
            },
        },
    }


def begin(record: Record, place: Place, watch_machine: bool) -> "Run":
    """Start the run of a trial; of a record, only what is known before training is used.

    Args:
        record: The trial's record, or a draft of it.
        place: Where the run goes.
        watch_machine: Whether to log this machine, its load and the program: the trial is running here and now.

    Raises:
        wandb.errors.Error: W&B can't be reached, or refuses.
    """
    wandb = wandb_client()
    run: Run = wandb.init(
        **identity_of(record),
        entity=place.entity,
        project=place.project or os.environ.get("WANDB_PROJECT", PROJECT),
        dir=_made(place.folder),
        mode=place.mode,
        # Runs of the user's own, in the same process, stay as they are.
        reinit="create_new",
        settings=quiet(watch_machine=watch_machine),
    )
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP)
    return run


def complete(run: "Run", path: Path, series: Mapping[str, Series]) -> None:
    """Give a run the results of its trial, and close it.

    Args:
        run: As from `begin`, the histories logged.
        path: The record's file; the histories lie beside it.
        series: The histories.

    Raises:
        wandb.errors.Error: W&B can't be reached, or refuses; the run is closed all the same.
    """
    wandb = wandb_client()
    code = 1
    try:
        record = load(path)
        last = max((int(one.steps[-1]) for one in series.values() if len(one.steps)), default=0)
        for name, drawn in ((HEATMAP, _heatmap(series, record.needed_lag)), (SAMPLES, _samples(record, path))):
            if drawn is None:
                continue
            with tempfile.NamedTemporaryFile(suffix=".png") as file:
                file.write(drawn)
                file.flush()
                run.log({name: wandb.Image(file.name), STEP: last})
        run.summary.update(_summary(record))
        found = checksum(document_of(record))
        artifact = wandb.Artifact(f"record-{record.id}", type=RECORD_TYPE, metadata={CHECKSUM: found})
        # An offline run only names the files; its own folder must hold them, and as they are now.
        copies = _made(Path(run.dir) / "record")
        files = [path, path.with_suffix(".parquet")]
        if record.samples is not None and Store(path.parent).kept_samples(record) is not None:
            files.append(path.parent / record.samples.file)
        for one in files:
            artifact.add_file(str(shutil.copy(one, copies)), policy="immutable")
        run.log_artifact(artifact)
        if not (run.offline or run.disabled):
            artifact.wait(timeout=_ARRIVAL_SECONDS)
        # The last, since whoever sees it takes the record for delivered.
        run.summary[CHECKSUM] = found
        code = 0 if record.status == "ok" else 1
    finally:
        run.finish(exit_code=code)


def write(record: Record, path: Path, series: Mapping[str, Series], place: Place) -> "Run":
    """The run of a finished record, complete.

    Raises:
        wandb.errors.Error: W&B can't be reached, or refuses.
    """
    run = begin(record, place, watch_machine=False)
    histories = Rows()
    for step, row in histories.until(None, series):
        run.log({**row, STEP: step})
    complete(run, path, series)
    return run


@dataclass
class Rows:
    """Histories of single numbers as rows, one an optimiser step, each handed out once."""

    _taken: dict[str, int] = field(default_factory=dict)

    def until(self, step: int | None, series: Mapping[str, Series]) -> Iterator[tuple[int, dict[str, float]]]:
        """The rows before this step (None: all) that were not handed out yet, with their steps, in order."""
        rows: dict[int, dict[str, float]] = {}
        for name, one in series.items():
            if one.values.ndim > 1:
                continue
            start = self._taken.get(name, 0)
            stop = len(one.steps) if step is None else int(np.searchsorted(one.steps, step))
            for place in range(start, stop):
                rows.setdefault(int(one.steps[place]), {})[name] = float(one.values[place])
            self._taken[name] = max(start, stop)
        yield from sorted(rows.items())


def _summary(record: Record) -> dict[str, Any]:
    primary = record.primary
    values = {
        **record.measures.by_name,
        **{f"test/{name}": value for name, value in record.metrics["test"].items()},
        "status": record.status,
        "primary": primary.value,
        "score": primary.score,
        "solved": primary.solved,
        "failure": record.failure.message if record.failure else None,
    }
    return {key: value for key, value in values.items() if value is not None}


def _heatmap(series: Mapping[str, Series], needed: int | None) -> bytes | None:
    shown = heatmaps.panels(series)
    if not shown:
        return None
    figure = heatmaps.new_figure(9.0, heatmaps.height_of(shown))
    heatmaps.draw(figure, shown, needed)
    return heatmaps.as_png(figure)


def _samples(record: Record, path: Path) -> bytes | None:
    try:
        samples = Store(path.parent).samples(record)
    except (OSError, ValueError):
        return None
    return None if samples is None else picture(samples, title(record))


def _short(kind: str, text: str) -> str:
    """The text, its end replaced by a hash of the whole where W&B would refuse it for its length."""
    if len(text) <= _LONGEST[kind]:
        return text
    return f"{text[: _LONGEST[kind] - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
