"""Whether a probe measures in every kind of trial: cut short, resumed, fitted, step by step, with others as one."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from lightning import LightningModule, Trainer

from rnnae_bench.errors import UserError
from rnnae_bench.probes import Diverged, OptimizerSteps
from rnnae_bench.records.history import Series
from rnnae_bench.records.store import Store
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import require
from rnnae_bench.testing.of_probes.candidate import STEPS, ProbeCandidate
from rnnae_bench.testing.of_probes.reports import told
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.resumption import require_resumable
from rnnae_bench.trial.vectorized import reason_apart

_FITTED = ("ngram", "esn", "linear", "linear_ae")
"""Models that train themselves."""

_ALWAYS = 1e-9
"""Seconds between checkpoints: one wherever there can be one."""


class _EndAt(OptimizerSteps):
    """Ends the trial at the beginning of a step."""

    def __init__(self, step: int, error: BaseException) -> None:
        self._step, self._error = step, error

    def on_optimizer_step_start(self, trainer: Trainer, pl_module: LightningModule, step: int, batch: Any) -> None:
        """Raise, where it is time."""
        if step == self._step:
            raise self._error


def cut_short(candidate: ProbeCandidate) -> str:
    """Where a trial fails or diverges: is its status right, and has the probe no error?"""
    _require_steps(candidate)
    seen = []
    ends = {"error": RuntimeError("x"), "diverged": Diverged(2)}
    for status, error in ends.items():
        ran = candidate.run(callbacks=[_EndAt(2, error)])
        require(
            ran.record.status == status,
            f"a trial that is to end as {status} ends as {ran.record.status} with the probe",
        )
        try:
            told(ran)
        except AssertionError as reason:
            raise AssertionError(f"where the trial ends after one step, without an evaluation: {reason}") from reason
        seen.append(status)
    return ", ".join(seen)


def resumption(candidate: ProbeCandidate) -> str:
    """Where a trial goes on from a checkpoint: is what was measured before still there?"""
    try:
        trial = candidate.trial()
        require_resumable(trial.determinants, trial.task)
    except UserError as error:
        raise NotAsked(str(error)) from error
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        stop = _EndAt(STEPS // 2 + 1, KeyboardInterrupt())
        candidate.run(callbacks=[stop], store=store, checkpoint_every=_ALWAYS)
        resumed = candidate.run(store=store, checkpoint_every=_ALWAYS)
    if not resumed.record.environment.resumed:
        raise NotAsked("the model's own state could not be kept")
    told(resumed)
    whole, again = candidate.probed.own, candidate.again.own
    for name, one in whole.items():
        other = resumed.own.get(name, Series(np.empty(0, np.int64), np.empty(0)))
        missing = sorted({*one.steps.tolist()} - {*other.steps.tolist()})
        require(
            np.array_equal(one.steps, other.steps),
            f"{name} has lost the steps {', '.join(map(str, missing)) or 'of before'}: name in kept the attributes "
            "that hold what was measured",
        )
        # What is drawn, or a time, is another in every trial.
        if np.array_equal(one.values, again[name].values):
            require(
                np.array_equal(one.values, other.values),
                f"{name} goes on with other values: name in kept every attribute that later ones are computed from",
            )
    return f"from step {resumed.record.environment.resumed[0]} on, the same histories"


def step_by_step(candidate: ProbeCandidate) -> str:
    """Does it measure the same steps whether batches come in blocks or one by one, as for models of other classes?"""
    trial = candidate.trial()
    if trial.blocks is None:
        raise NotAsked("this model is handed single batches")
    trial.blocks = None
    alone, whole = candidate.run(trial), candidate.probed.own
    told(alone)
    for name in {**whole, **alone.own}:
        here, there = (one[name].steps.tolist() if name in one else [] for one in (whole, alone.own))
        require(
            here == there,
            f"{name} is measured at the steps {_told(here)} in blocks, and at {_told(there)} one by one: derive the "
            "probe from OptimizerSteps, and use its on_optimizer_step in place of hooks for batches",
        )
    return "the same steps"


def _told(steps: list[int]) -> str:
    return ", ".join(map(str, steps)) if steps else "none"


def fitted(candidate: ProbeCandidate) -> str:
    """Where a model trains itself, without optimiser steps: has the probe no error?"""
    model, trial = _fitting(candidate)
    ran = candidate.run(trial)
    require(ran.record.status == "ok", f"the trial ends as {ran.record.status} with the probe")
    try:
        return f"of {model}: {told(ran)}"
    except AssertionError as error:
        raise AssertionError(f"where the model ({model}) has no optimiser steps: {error}") from error


def _fitting(candidate: ProbeCandidate) -> tuple[str, Any]:
    task = candidate.pair.label if isinstance(candidate.pair.task_handle.name, str) else candidate.pair.task_class
    for model in _FITTED:
        try:
            pair = Pair(task, model)
            return model, candidate.trial(pair=pair, options=pair.resolve({"task": candidate.options["task"]}))
        except UserError:
            continue
    raise NotAsked("no model that trains itself serves the task")


def members(candidate: ProbeCandidate) -> str:
    """Where it has of_member: does each of several trials trained as one get what it would have alone?"""
    if not candidate.added.trains_as_one:
        raise NotAsked("it has no of_member, so that its trials are trained by themselves")
    model = dict(candidate.options["model"])
    # The members draw their random numbers together.
    model = {**model, "dropout": 0.0} if "dropout" in model else model
    options = {**candidate.options, "model": model}
    trials = [candidate.trial(seed=seed, options=options) for seed in (0, 1)]
    reason = reason_apart(trials[0])
    if reason:
        raise NotAsked(f"trials of this model are not trained as one: {reason}")
    together = candidate.run_as_one(trials)
    subject = candidate.added.probe_class.subject
    for seed, outcome in enumerate(together):
        alone = candidate.run(candidate.trial(seed=seed, options=options))
        own = {name: one for name, one in outcome.series.items() if name.partition("/")[0] == subject}
        why = next((why for name, why in outcome.record.absent.items() if name.partition("/")[0] == subject), "")
        require(
            alone.own.keys() == own.keys(),
            f"member {seed} has {', '.join(own) or 'nothing'}, and alone {', '.join(alone.own) or 'nothing'}: {why}",
        )
        for name, one in alone.own.items():
            same = np.array_equal(one.steps, own[name].steps) and np.allclose(
                one.values, own[name].values, rtol=1e-3, atol=1e-4 * float(np.abs(one.values).max(initial=0.0))
            )
            require(same, f"{name} of member {seed} is another than alone: cut it out in of_member({seed})")
    return "two members as alone"


def graphs(candidate: ProbeCandidate) -> str:
    """Does it hold no tensor with its graph, which would keep the memory of every step?"""
    held = candidate.probed.graphs
    require(not held, f"{', '.join(held)} holds a graph, and with it all of a step's memory: detach() what is kept")
    return "none is held"


def cost(candidate: ProbeCandidate) -> str:
    """What does it cost? Told only: it fails none."""
    one, other = (ran.record.measures for ran in (candidate.plain, candidate.again))
    return f"{one.steps} steps took {one.training_seconds:.3f} s without it, and {other.training_seconds:.3f} s with it"


def _require_steps(candidate: ProbeCandidate) -> None:
    if candidate.trial(probed=False).fits_itself:
        raise NotAsked("this model has no optimiser steps")
