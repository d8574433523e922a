"""A whole trial, as `rnnae-bench run` has it: probes, evaluation and record; and one on two processes."""

import tempfile
from pathlib import Path

from rnnae_bench.records.store import Store
from rnnae_bench.testing.candidates import ModelCandidate
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import require
from rnnae_bench.trial.trial import Trial

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
