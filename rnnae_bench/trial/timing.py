"""How long a trial's training will take here, estimated from its first steps."""

import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from lightning import LightningModule, Trainer

from rnnae_bench.errors import UserError
from rnnae_bench.options.nested import merge
from rnnae_bench.records.store import Store
from rnnae_bench.training.optimizer_steps import OptimizerSteps
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial

FIRST, LEAST, MOST, ENOUGH = 5, 12, 100, 0.3
"""Steps that are not looked at; steps at least and at most; seconds after which no more are made."""

LONGEST = 5.0
"""Seconds that a step may be asked to take."""


class _Pace(OptimizerSteps):
    """Takes the time of steps, and ends the trial when it has enough of them."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: torch.Tensor | None, batch: Any
    ) -> None:
        """Take the time, after the device has finished."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(perf_counter())
        made = len(self.times) - FIRST
        if made >= LEAST and (made >= MOST or self.times[-1] - self.times[FIRST] >= ENOUGH):
            raise KeyboardInterrupt

    @property
    def seconds(self) -> float:
        """Of a step: the median, since those with a profile take longer."""
        pairs = zip(self.times[FIRST:], self.times[FIRST + 1 :], strict=False)
        return statistics.median(after - before for before, after in pairs)


def require_timeable(asked: int, steps: int) -> None:
    """Raise `UserError` where steps would take too long to be timed.

    Args:
        asked: Seconds of training.
        steps: Of the budget.
    """
    if asked > LONGEST * steps:
        raise UserError(
            f"--match seconds={asked}: a step would take {asked / steps:.3g} s, and {FIRST + LEAST} are made of each "
            f"width that is tried; ask for at most {LONGEST * steps:g}"
        )


def training_seconds(pair: Pair, options: Mapping[str, Any]) -> float:
    """The steps of the budget times what one takes, evaluations and profiles aside. Leaves no record.

    Args:
        pair: Task variant and model.
        options: All of its options.

    Raises:
        UserError: the model trains itself, the options are refused, or the training fails at once.
    """
    name = pair.model_handle.name
    shortened = {"evaluate_every": FIRST + MOST, "max_steps": FIRST + MOST}
    trial = Trial(pair, {**options, "task": merge(options["task"], {"protocol": shortened})}, seed=0)
    if trial.fits_itself:
        raise UserError(
            f"--match seconds: model '{name}' trains itself by its fit, not in steps; match another quantity"
        )
    if trial.layout["devices"] > 1:
        raise UserError("--match seconds: steps are timed on one device; match another quantity, or choose one device")
    pace = _Pace()
    with tempfile.TemporaryDirectory(prefix="rnnae-bench-pace-") as folder:
        outcome = trial.run(Store(Path(folder)), [], [pace])
    if len(pace.times) < FIRST + LEAST:
        failure = outcome.record.failure if outcome else None
        raise UserError(
            f"--match seconds: {name} can't be timed: {failure.message if failure else 'its training ended'}"
        )
    steps = pair.build_task(options["task"], data_seed=0).protocol.max_steps
    return steps * pace.seconds
