"""The dynamics of a model on a task: `probe`."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning import LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rnnae_bench.api.display import in_notebook, progress_console
from rnnae_bench.api.running import named_options, quiet, ready
from rnnae_bench.api.wording import told_in_python
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError, require_not_negative, require_positive
from rnnae_bench.probes import OptimizerSteps
from rnnae_bench.probes.examination import LayerDynamics, examine
from rnnae_bench.probes.passport import passport
from rnnae_bench.records.legible import finite, printable
from rnnae_bench.records.store import Store
from rnnae_bench.report import cell, dynamics_picture, dynamics_table
from rnnae_bench.trial.trial import Trial

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


class TrainingFailed(Exception):
    """The training that was asked for before the examination ended too early."""


class Dynamics:
    """What was found of a model on a task.

    Args:
        report: All of it as plain data; ``layers`` has one entry a layer, ``memory`` the memory passport, or None.
        notes: What was not measured, and why, by layer.
    """

    def __init__(self, report: Mapping[str, Any], notes: Mapping[str, str]) -> None:
        self.report, self.notes = report, notes

    @property
    def layers(self) -> Sequence[Mapping[str, Any]]:
        """What was found of each layer, by name of the quantity."""
        found: Sequence[Mapping[str, Any]] = self.report["layers"]
        return found

    @property
    def memory(self) -> Mapping[str, Any] | None:
        """The memory passport, by name of the quantity; None where it was not asked for, or there is none."""
        found: Mapping[str, Any] | None = self.report["memory"]
        return found

    def frame(self) -> "pandas.DataFrame":
        """A row a layer, nested quantities with dotted names."""
        import pandas

        return pandas.json_normalize([dict(layer) for layer in self.layers])

    def plot(self) -> "Figure":
        """Singular values, exponents, and the gradient by lag: a row a layer. Below, the memory passport."""
        return dynamics_picture.figure(self.title, self.layers, self.memory)

    @property
    def title(self) -> str:
        """Model, task, seed and training in a line."""
        return dynamics_table.title(self.report)

    def __repr__(self) -> str:
        lines = [self.title]
        for heads, *rows in self.tables:
            widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
            for row in (heads, *rows):
                lines.append("  ".join(one.ljust(width) for one, width in zip(row, widths, strict=True)))
        return "\n".join(printable(line).rstrip() for line in lines)

    @property
    def tables(self) -> list[list[list[str]]]:
        """What there is to read, table by table: the first row of each has its heads."""
        found = [dynamics_table.table(self.layers)]
        if self.memory is not None:
            found += [dynamics_table.memory_table(self.memory), dynamics_table.lags_table(self.memory)]
        return found

    def _repr_html_(self) -> str:
        from rnnae_bench.report.heatmaps import as_png

        first, *others = self.tables
        below = "".join(cell.table_html(heads, rows, "") for heads, *rows in others)
        return cell.table_html(first[0], first[1:], self.title, as_png(self.plot())) + below


@told_in_python()
def probe(
    task: str | type[Task],
    model: str | type[LightningModule],
    *,
    seed: int = 0,
    after: int = 0,
    rows: int = 8,
    steps: int = 0,
    exponents: int = 4,
    memory: bool = False,
    lags: int = 100,
    variant: str | None = None,
    task_options: Mapping[str, Any] | None = None,
    model_options: Mapping[str, Any] | None = None,
    trainer_options: Mapping[str, Any] | None = None,
    progress: bool = True,
    **options: Any,
) -> Dynamics:
    """Examine a model on a task: Jacobians, Lyapunov exponents, and how the gradient reaches back in time.

    Args:
        task: As for `rnnae_bench.run`.
        model: The same.
        seed: Fixes the weights, and with `after` all of the training.
        after: Train for so many optimiser steps first.
        rows: Sequences, spread evenly over the validation set.
        steps: Examine so many steps at the end of each sequence; 0 examines all.
        exponents: Lyapunov exponents to estimate.
        memory: Issue the memory passport too: capacities, ranks, and what is known of past inputs.
        lags: How many steps back it reaches.
        variant: As for `run`.
        task_options: As for `run`.
        model_options: As for `run`.
        trainer_options: As for `run`.
        progress: Whether to show it.
        **options: The model's options.

    Raises:
        UserError: a name, an option or a value is wrong, or the model can't be examined.
        TrainingFailed: the training ended before so many steps.
    """
    pair, resolved, _ = named_options(
        task, model, variant, {"task": task_options, "model": model_options, "trainer": trainer_options}, options
    )
    with quiet():
        (trial,) = ready(pair, resolved, [seed])
        return examine_trial(trial, after, rows, steps, exponents, lags if memory else 0, progress_console(progress))


def examine_trial(
    trial: Trial, after: int, rows: int, steps: int, exponents: int, lags: int, console: Console
) -> Dynamics:
    """Examine a trial's model, its progress shown on a console; the numbers and errors are those of `probe`.

    No memory passport is issued where `lags` is 0.
    """
    require_positive(rows=rows, exponents=exponents)
    require_not_negative(lags=lags)
    require_not_negative(after=after, steps=steps)
    columns = TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=in_notebook() or console.quiet) as progress:
        model = _trained(trial, after, progress) if after else _untrained(trial)
        bar = progress.add_task("Jacobians and exponents", total=None)
        found: list[LayerDynamics] = examine(
            model,
            trial.task,
            trial.task.held_out(rows),
            exponents,
            steps or None,
            lambda done, total: progress.update(bar, completed=done, total=total),
        )
        notes = {one.layer: one.note for one in found if one.note is not None}
        memory = None
        if lags:
            bar = progress.add_task("memory", total=None)
            try:
                memory = passport(
                    model, trial.task, lags, lambda done, total: progress.update(bar, completed=done, total=total)
                ).summary()
            except UserError as error:
                notes["memory"] = str(error)
    return Dynamics(
        finite(
            {
                "model": trial.pair.model_handle.name,
                "task": trial.pair.task_handle.name,
                "variant": trial.pair.variant.name,
                "seed": trial.seed,
                "overrides": trial.overrides,
                "after": after,
                "rows": found[0].rows,
                "layers": [one.summary() for one in found],
                "memory": memory,
            }
        ),
        notes,
    )


def _untrained(trial: Trial) -> LightningModule:
    return trial.pair.build_model(trial.task, trial.options["model"], trial.seed)


def _trained(trial: Trial, steps: int, progress: Progress) -> LightningModule:
    """The model after that many steps of the trial's own training, schedule and data; leaves no record."""
    if trial.fits_itself:
        raise UserError(
            f"--after {steps}: {trial.pair.model_handle.name} trains itself by its fit, not in steps; leave it out"
        )
    budget = trial.task.protocol.max_steps
    if steps > budget:
        raise UserError(f"--after {steps}: the protocol has {budget} steps; set --task.protocol.max_steps for more")
    if trial.layout["devices"] > 1:
        raise UserError(f"probe trains on one device and {trial.layout['devices']} were asked for")
    bar = progress.add_task("training", total=steps)
    weights: dict[str, torch.Tensor] = {}

    class Stop(OptimizerSteps):
        """Keeps the weights after the last step that is wanted, and ends the trial there."""

        def on_optimizer_step(
            self, trainer: Trainer, pl_module: LightningModule, step: int, loss: "torch.Tensor | None", batch: Any
        ) -> None:
            progress.update(bar, completed=step)
            if step == steps:
                weights.update({name: one.detach().cpu().clone() for name, one in pl_module.state_dict().items()})
                raise KeyboardInterrupt

    with tempfile.TemporaryDirectory(prefix="rnnae-bench-probe-") as folder:
        outcome = trial.run(Store(Path(folder)), ["rnnae-bench", "probe"], [Stop()])
    if not weights:
        failure = outcome.record.failure if outcome else None
        raise TrainingFailed(f"no step {steps} to examine: {failure.message if failure else 'the training ended'}")
    model = _untrained(trial)
    model.load_state_dict(weights)
    return model
