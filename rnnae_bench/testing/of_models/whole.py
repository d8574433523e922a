"""A whole trial, as `rnnae-bench run` has it: probes, evaluation and record; and one on two processes."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rnnae_bench.options.bracketed import written
from rnnae_bench.options.nested import flatten
from rnnae_bench.plugins.unregistered import Unregistered
from rnnae_bench.records.store import Store
from rnnae_bench.testing.candidates import ModelCandidate
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import require
from rnnae_bench.testing.of_models.asking import is_random
from rnnae_bench.trial.trial import Trial

_DISCRETE = 0.05
"""Of the metric: some rows may fall on the other side by rounding, which 'shards' is exact about."""

STEPS = 4
"""Optimiser steps of a trial; it is evaluated twice."""


def trial(candidate: ModelCandidate) -> str:
    """Does a whole trial run, with all probes, and end with a record that is ok?"""
    pair = candidate.pair
    if pair is None:
        raise NotAsked("the task was given as an object; name its variant to have a whole trial")
    options = {**candidate.options, "trainer": {**candidate.options["trainer"], "accelerator": "cpu"}}
    protocol = {**options["task"]["protocol"], "max_steps": STEPS, "evaluate_every": STEPS // 2}
    if not candidate.fits_itself:
        options["task"] = {**options["task"], "protocol": protocol}
    with tempfile.TemporaryDirectory() as folder:
        outcome = Trial(pair, options, seed=0).run(Store(Path(folder)), ["rnnae-bench", "check"])
    assert outcome is not None
    record = outcome.record
    require(
        record.status == "ok",
        f"the trial ended as {record.status}: {record.failure.message if record.failure else 'no reason is on record'}",
    )
    missing = "; ".join(f"{name} not measured: {why}" for name, why in record.absent.items())
    return f"{record.primary.metric} {record.primary.value:.3g}, {len(outcome.series)} histories" + (
        f"; {missing}" if missing else ""
    )


def two_processes(candidate: ModelCandidate) -> str:
    """Does it learn on two processes (DDP) what it learns on one?"""
    pair = candidate.pair
    if pair is None or isinstance(pair.model_handle, Unregistered) or isinstance(pair.task_handle, Unregistered):
        raise NotAsked("a second process finds what is installed under a name only")
    if candidate.fits_itself:
        raise NotAsked("a fit is done on one device")
    if not candidate.task.predicts_rows:
        raise NotAsked("the task needs whole evaluation sets, which two processes have not")
    if candidate.task.protocol.batch_size % 2:
        raise NotAsked(f"a batch of {candidate.task.protocol.batch_size} rows does not divide over two")
    with tempfile.TemporaryDirectory() as folder:
        two, one = (_value(candidate, devices, Path(folder) / str(devices)) for devices in (2, 1))
    different = abs(one - two) / max(abs(one), abs(two), 1e-12)
    evidence = f"{pair.variant.primary.metric} {one:.5g} on one, {two:.5g} on two"
    require(
        different <= _DISCRETE or is_random(candidate.build(), candidate.spec, candidate.batch),
        f"two processes learn other than one: {evidence}",
    )
    return evidence


def _value(candidate: ModelCandidate, devices: int, folder: Path) -> float:
    """The primary metric of a trial by the command line on so many processes."""
    assert candidate.pair is not None
    model = candidate.pair.model_handle.name
    options = flatten({"task": candidate.options["task"], "model": candidate.options["model"]})
    options |= {"task.protocol.max_steps": STEPS, "task.protocol.evaluate_every": STEPS}
    options |= {"trainer.devices": devices, "trainer.accelerator": "cpu"}
    changed = {name: value for name, value in options.items() if value is not None}
    command = [sys.executable, "-m", "rnnae_bench", "run", "--task", candidate.pair.label, "--model", model]
    command += [f"--{name}={written(value)}" for name, value in changed.items()]
    said = _run([*command, "--out", str(folder)])
    records = list(Store(folder).read().records) if folder.is_dir() else []
    ended = [record for record in records if record.status == "ok"]
    failure = records[0].failure.message if records and records[0].failure else said
    require(bool(ended), f"on {devices} process{'es' if devices > 1 else ''} the trial fails: {failure}")
    value = ended[0].primary.value
    assert value is not None
    return float(value)


def _run(command: list[str]) -> str:
    """The last line that a command says on standard error; no process of its outlasts this."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, start_new_session=True, **pipes) as process:
        try:
            said = process.communicate()[1]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return (said.strip().splitlines() or ["nothing was said"])[-1]
