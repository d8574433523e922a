"""The live progress of one trial: a bar on a terminal, a line at every look at the validation set elsewhere."""

import time
from typing import Any

from lightning import LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from rnnae_bench.leaderboard.tables import number
from rnnae_bench.probes import Evaluation, OptimizerSteps

_REFRESH_SECONDS = 0.2


class LiveProgress(OptimizerSteps):
    """Shows steps, speed, time left, training loss and the primary metric on the validation set.

    Args:
        console: Where to draw.
        label: What is being run.
        metric: The primary metric's name.
    """

    def __init__(self, console: Console, label: str, metric: str) -> None:
        self._console, self._label, self._metric = console, label, metric
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._drawn = 0.0
        self._started = 0.0
        self._loss = ""
        self._score = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the empty bar."""
        self._started = time.perf_counter()
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[speed]}"),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[state]}"),
                console=self._console,
                refresh_per_second=5,
                transient=True,
            )
            self._task = self._bar.add_task(self._label, total=trainer.max_steps, speed="", state="")
            self._bar.start()

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor, batch: Any
    ) -> None:
        """Move the bar, a few times a second at most: reading the loss waits for the device."""
        now = time.perf_counter()
        if self._bar is not None and now - self._drawn > _REFRESH_SECONDS:
            self._drawn = now
            self._loss = f"loss {number(float(loss))}"
            self._update(step, now)

    def _update(self, step: int, now: float) -> None:
        if self._bar is not None:
            speed = f"{step / (now - self._started):.0f}/s"
            self._bar.update(self._task, completed=step, speed=speed, state=f"{self._loss}  {self._score}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the primary metric."""
        evaluation = next(probe for probe in trainer.callbacks if isinstance(probe, Evaluation))  # type: ignore[attr-defined]
        value = number(evaluation.validation.get(self._metric))
        self._score = f"{self._metric} {value}"
        if self._bar is not None:
            self._update(trainer.global_step, time.perf_counter())
        elif trainer.is_global_zero:
            seconds = time.perf_counter() - self._started
            self._console.print(
                f"{self._label}: step {trainer.global_step}/{trainer.max_steps}, {seconds:.0f} s, "
                f"validation {self._metric} {value}",
                highlight=False,
                soft_wrap=True,
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
