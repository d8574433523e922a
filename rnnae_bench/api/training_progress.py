"""The live progress of one trial: a bar on a terminal or in a notebook, a line at every evaluation elsewhere."""

import itertools
import time
from typing import Any, NamedTuple

from lightning import LightningModule, Trainer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from rnnae_bench.api.display import NotebookLive, in_notebook
from rnnae_bench.probes import Evaluation, OptimizerSteps
from rnnae_bench.records.legible import printable
from rnnae_bench.report.tables import number

_REFRESH_SECONDS = 0.2
_BAR, _SHORTEST_BAR = 24, 8
_NUMBER = 10
"""Characters of a number with four significant digits at most, as in ``-1.234e-05``."""
_SPEED_AND_TIME = 17
"""Characters of the speed, the time left, and the gaps before them."""


class Layout(NamedTuple):
    """What a line of progress has room for; nothing in it is cut."""

    label: str
    bar: int
    """Characters of the bar; 0 leaves it out."""
    loss: bool
    metric: str
    """What stands before the metric's value."""


def layout_for(width: int, label: str, metric: str, steps: int) -> Layout:
    """What goes into a line of so many characters: steps, time and metric always, then names, bar and loss.

    Args:
        width: Of the terminal.
        label: What is being run, as ``gru on copy:standard, seed 0``; model and seed, or the model alone, stand for it
            where there is no room for the whole of it.
        metric: The primary metric's name.
        steps: The step budget.

    >>> layout_for(80, "gru on copy:standard, seed 0", "recall_accuracy", 5000)
    Layout(label='gru, seed 0', bar=13, loss=False, metric='recall_accuracy ')
    >>> layout_for(140, "gru on copy:standard, seed 0", "recall_accuracy", 5000)
    Layout(label='gru on copy:standard, seed 0', bar=24, loss=True, metric='recall_accuracy ')
    """
    room = width - (2 * len(str(steps)) + 2) - _SPEED_AND_TIME - (_NUMBER + 1)
    for name, bar, shown in itertools.product((f"{metric} ", ""), (_SHORTEST_BAR, 0), (*_forms(label), "")):
        left = room - len(name) - len(shown) - bool(shown) - bar - bool(bar)
        if left >= 0:
            break
    else:
        return Layout("", 0, False, "")
    loss = left >= len("  loss ") + _NUMBER
    left -= loss * (len("  loss ") + _NUMBER)
    return Layout(shown, bar and min(_BAR, bar + left), loss, name)


def bar_of(layout: Layout, console: Console) -> Progress:
    """The line, as rich's progress of tasks with the fields ``speed`` and ``state``."""
    columns = [
        TextColumn("{task.description}") if layout.label else None,
        BarColumn(bar_width=layout.bar) if layout.bar else None,
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[state]}"),
    ]
    return Progress(*filter(None, columns), console=console, refresh_per_second=5, transient=True)


def _forms(label: str) -> list[str]:
    """A label, and shorter ones that say the most of it: model and seed, the model."""
    most, comma, seed = label.rpartition(", ")
    model = (most or label).partition(" on ")[0]
    return [label, *([f"{model}, {seed}"] if comma else []), model]


class TrainingProgress(OptimizerSteps):
    """Shows steps, speed, time left, training loss and the primary metric on the validation set.

    Args:
        console: Where to draw.
        label: What is being run.
        metric: The primary metric's name.
    """

    def __init__(self, console: Console, label: str, metric: str) -> None:
        self._console, self._label, self._metric = console, label, metric
        self._bar: Progress | None = None
        self._notebook: NotebookLive | None = None
        self._task = TaskID(0)
        self._drawn = 0.0
        self._started = 0.0
        self._loss = ""
        self._layout = layout_for(console.width, label, metric, steps=0)
        self._score = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the empty bar."""
        self._started = time.perf_counter()
        notebook = in_notebook() and not self._console.quiet
        if self._console.is_terminal or notebook:
            layout = layout_for(self._console.width, self._label, self._metric, int(trainer.max_steps))
            self._layout = layout
            self._bar = bar_of(layout, self._console)
            self._task = self._bar.add_task(escape(layout.label), total=trainer.max_steps, speed="", state="")
            if notebook:
                self._notebook = NotebookLive()
                self._notebook.update(self._bar.get_renderable())
            else:
                self._bar.start()

    def on_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: Tensor | None, batch: Any
    ) -> None:
        """Move the bar, a few times a second at most: reading the loss waits for the device."""
        now = time.perf_counter()
        if self._bar is not None and now - self._drawn > _REFRESH_SECONDS:
            self._drawn = now
            self._loss = "" if loss is None else f"loss {number(float(loss.mean()))}"
            self._update(step, now)

    def _update(self, step: int, now: float) -> None:
        if self._bar is not None:
            speed = f"{step / (now - self._started):.0f}/s"
            state = "  ".join(filter(None, (self._score, self._loss if self._layout.loss else "")))
            self._bar.update(self._task, completed=step, speed=speed, state=state)
            if self._notebook is not None:
                self._notebook.update(self._bar.get_renderable())

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the primary metric."""
        evaluation = next(probe for probe in trainer.callbacks if isinstance(probe, Evaluation))  # type: ignore[attr-defined]
        value = number(evaluation.validation.get(self._metric))
        self._score = f"{self._layout.metric}{value}"
        if self._bar is not None:
            self._update(trainer.global_step, time.perf_counter())
        elif trainer.is_global_zero:
            seconds = time.perf_counter() - self._started
            self._console.print(
                printable(
                    f"{self._label}: step {trainer.global_step}/{trainer.max_steps}, {seconds:.0f} s, "
                    f"validation {self._metric} {value}"
                ),
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the bar away."""
        if self._notebook is not None:
            self._notebook.stop()
        elif self._bar is not None:
            self._bar.stop()
        self._bar = self._notebook = None
