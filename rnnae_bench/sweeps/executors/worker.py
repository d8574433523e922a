"""A process that imports torch once, and then plans settings and runs jobs as its parent asks; not for use by hand."""

import argparse
import contextlib
import gc
import json
import os
import select
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from msgspec import convert, to_builtins
from torch import Tensor

from rnnae_bench.leaderboard.trackers.loggers import log_finished, run_logged
from rnnae_bench.plugins.forks import one_process
from rnnae_bench.probes import Evaluation, OptimizerSteps
from rnnae_bench.records.store import Store
from rnnae_bench.report import trial_picture as plots
from rnnae_bench.sweeps.executors.death import Watched
from rnnae_bench.sweeps.executors.job import Job, Refusal, Setting, job_from
from rnnae_bench.sweeps.executors.lifeline import die_with_parent
from rnnae_bench.sweeps.executors.planning import plan
from rnnae_bench.training.allocator import release_freed_memory
from rnnae_bench.training.lightning import errors_only
from rnnae_bench.trial import environment
from rnnae_bench.trial.added_probes import added_probes
from rnnae_bench.trial.asked_probes import asked_probes
from rnnae_bench.trial.outcome import Outcome, failure_of
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.process_state import ProcessState
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.vectorized import VectorizedTrial

_REQUEST = "RNNAE_BENCH_REQUEST"
"""Environment variable by which the first process of a trial on several devices tells the others what to run."""

_TELL_SECONDS = 0.5
"""Between two reports of how far a job has come."""

Tell = Callable[[dict[str, Any]], None]


class Advance(OptimizerSteps):
    """Reports the step and the primary metric on the validation set, a few times a second at most.

    Args:
        tell: Passes a report on.
        metric: The primary metric's name.
    """

    def __init__(self, tell: Tell, metric: str) -> None:
        self._tell, self._metric = tell, metric
        self._told = 0.0
        self._value: float | None = None

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor | None, batch: Any
    ) -> None:
        """Report, where it is time."""
        if time.monotonic() - self._told >= _TELL_SECONDS:
            self._told = time.monotonic()
            self._tell({"advanced": {"step": step, "value": self._value}})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the metric."""
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Evaluation):
                self._value = callback.validation.get(self._metric)


def serve(channel: Connection) -> None:
    """Answer requests until the other side is gone, or until a job was done that a process can do but once."""
    state = ProcessState.now()
    # What the imports made stays for good: the collector need not look through it again and again.
    gc.freeze()
    while True:
        try:
            request = json.loads(channel.recv_bytes())
        except (EOFError, OSError):
            return
        _tell(channel, {"began": True})
        with warnings.catch_warnings():
            if "plan" in request:
                _tell(channel, {"planned": _plan(**request["plan"])})
            else:
                job = job_from(request["run"]["job"])
                if job.devices > 1:
                    os.environ[_REQUEST] = json.dumps(request)
                _tell(channel, {"ended": _run(job, tell=partial(_tell_if_heard, channel), **_place(request))})
                if job.devices > 1:
                    return
        state.restore()
        _free_memory()


def _place(request: dict[str, Any]) -> dict[str, Any]:
    return {"store": Store(Path(request["run"]["store"])), "flush_every": request["run"]["flush_every"]}


def _tell(channel: Connection, event: dict[str, Any]) -> None:
    channel.send_bytes(json.dumps(event).encode())


def _tell_if_heard(channel: Connection, event: dict[str, Any]) -> None:
    """Say what is of no use later, unless the parent is so busy that the channel is full: training does not wait."""
    if select.select([], [channel], [], 0)[1]:
        _tell(channel, event)


def _plan(setting: dict[str, Any], seeds: Sequence[int], data_seed: int | None) -> dict[str, Any]:
    asked = convert(setting, Setting)
    try:
        with one_process():
            return to_builtins(plan(asked, seeds, data_seed))
    except BaseException as error:  # a plugin may leave by SystemExit, too
        traceback.print_exc()
        reason = f"{asked.model} on {asked.task} can't be checked: {type(error).__name__}: {error}"
        return to_builtins(Refusal(asked, " ".join(reason.split())))


def _run(job: Job, store: Store, flush_every: float, tell: Tell) -> dict[str, Any]:
    """Do a job; whatever happens, all its trials have a record then."""
    watched = Watched.begin(store, job)
    torch.set_num_threads(job.threads)
    outcomes: list[Outcome] = []
    try:
        outcomes = _outcomes(job, store, flush_every, tell)
    except BaseException as error:
        # Not from the training, which makes records of its own failures: options, data, loggers, a defect of ours.
        status, failure = failure_of(error, None)
        for identity in watched.before.keys() - watched.written().keys():
            watched.close_one(identity, status, failure)
    for outcome in outcomes if job.pictures else ():
        # A convenience: what goes wrong here stands in the log.
        try:
            plots.write_picture(outcome.path, outcome.record, outcome.series)
        except Exception:
            traceback.print_exc()
    return {
        "records": to_builtins([one.record for one in outcomes] or list(watched.written().values())),
        "rescued": {one.record.id: str(one.path) for one in outcomes if one.rescue},
    }


def _outcomes(job: Job, store: Store, flush_every: float, tell: Tell) -> list[Outcome]:
    """Make the trials of a job and run them."""
    pair = Pair(job.setting.task, job.setting.model)
    probes = added_probes(asked_probes(job.setting.probes))
    trials = []
    for member in job.trials:
        options = pair.resolve(job.overrides_of(member))
        trial = Trial(pair, options, member.seed, member.data_seed, match=job.draft.match, probes=probes)
        if trial.identity != member.identity:
            raise RuntimeError(
                f"planned as trial {member.identity}, but here it would be {trial.identity}: options that depend on "
                "the machine, or other versions of the plugins"
            )
        trials.append(trial)
    advance = Advance(tell, pair.variant.primary.metric)
    if len(trials) > 1:
        outcomes = VectorizedTrial(trials).run(
            store, job.command, [advance], flush_every=flush_every, keep_weights=job.keep_weights
        )
        for trial, each in zip(trials, outcomes, strict=True):
            log_finished(trial, store, each, job.loggers)
        return outcomes
    outcome = run_logged(
        trials[0],
        store,
        job.command,
        [advance],
        job.loggers,
        flush_every=flush_every,
        checkpoint_every=job.checkpoint_every,
        keep_weights=job.keep_weights,
    )
    return [] if outcome is None else [outcome]


def _free_memory() -> None:
    """Give back what the last job used."""
    release_freed_memory()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _keep_to(cores: Sequence[int]) -> None:
    """Run on these logical processors only, where that is allowed; records tell of all."""
    environment.cores()
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, cores)


def main() -> None:
    """Serve the parent; or, as one of the further processes of a trial on several devices, do that job."""
    parser = argparse.ArgumentParser(prog="python -m rnnae_bench.sweeps.executors.worker", description=__doc__)
    parser.add_argument("--channel", type=int, required=True, help="Descriptor of a socket: requests in, events out.")
    parser.add_argument("--lifeline", type=int, required=True, help="Descriptor that is closed when the parent ends.")
    parser.add_argument("--cores", help="Logical processors to keep to, comma-separated.")
    options = parser.parse_args()
    errors_only()
    if options.cores:
        _keep_to([int(core) for core in options.cores.split(",")])
    if _REQUEST in os.environ:
        # The first process's descriptors are not passed on to this one; it is in that one's process group.
        request = json.loads(os.environ[_REQUEST])
        _outcomes(job_from({**request["run"]["job"], "loggers": []}), tell=lambda event: None, **_place(request))
    else:
        die_with_parent(options.lifeline)
        channel = Connection(options.channel)
        # What a plugin forks has nothing to tell the parent.
        os.register_at_fork(after_in_child=channel.close)
        serve(channel)


if __name__ == "__main__":
    main()
