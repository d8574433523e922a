"""``rnnae-bench probe``: what a model does to states and gradients on a task, at the start or after some training."""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rnnae_bench.cli.common import load_pair
from rnnae_bench.cli.output import plugins_aside
from rnnae_bench.cli.table import print_table
from rnnae_bench.errors import UserError, require_not_negative, require_positive
from rnnae_bench.plugins.registry import parse_task
from rnnae_bench.records.files import require_writable_file
from rnnae_bench.records.record import finite, printable
from rnnae_bench.report.tables import number

if TYPE_CHECKING:
    import torch
    from jsonargparse import ArgumentParser, Namespace
    from torch import nn

    from rnnae_bench.probes.examination import LayerDynamics
    from rnnae_bench.trial.trial import Trial

_USAGE = "rnnae-bench probe MODEL TASK[:VARIANT] [options]"


def add_options(parser: "argparse.ArgumentParser | ArgumentParser") -> None:
    """The options of ``probe`` itself, beside those of the pair."""
    add = parser.add_argument
    add("--seed", type=int, default=0, help="Fixes weights, and with --after all of the training.")
    add("--after", type=int, default=0, metavar="STEPS", help="Train for so many optimiser steps first.")
    add("--rows", type=int, default=8, help="Sequences, spread evenly over the validation set.")
    add("--steps", type=int, default=0, help="Look at so many steps at the end of each sequence; 0 looks at all.")
    add("--exponents", type=int, default=4, help="Lyapunov exponents to estimate.")
    add("--threads", type=int, default=1, help="CPU threads for torch; more help large models only.")
    add("--out", type=str, default="", metavar="FILE.png", help="Draw a picture into this file.")
    add("--json", action="store_true", help="Print one JSON object, and nothing else, on standard output.")


def opening() -> argparse.ArgumentParser:
    """What is known before the pair is named."""
    parser = argparse.ArgumentParser(
        prog="rnnae-bench probe",
        usage=_USAGE,
        description="Show the dynamics of a model's recurrences on a task: its recurrent matrices, the singular values "
        "of its Jacobians, its Lyapunov exponents, and how the gradient of the last scored step reaches back, to its "
        "states and, for every model, to its inputs. "
        "Name both to see their own options too: rnnae-bench probe gru copy --help",
    )
    parser.add_argument("MODEL", help="a model")
    parser.add_argument("TASK[:VARIANT]", help="a task; a bare name means :standard")
    add_options(parser)
    return parser


def main(arguments: list[str]) -> int:
    """Examine the model on the task that the arguments name, and print what was found."""
    names = list(takewhile(lambda argument: not argument.startswith("-"), arguments))
    if len(names) < 2 and ("-h" in arguments or "--help" in arguments):
        opening().print_help()
        return 0
    if len(names) != 2:
        raise UserError(
            f"probe takes a model and a task before all options, got {' '.join(names) or 'neither'}; write {_USAGE}"
        )
    model, task = names
    pair = load_pair(task, model)
    pair.parser.prog, pair.parser.usage = "rnnae-bench probe", _USAGE
    pair.parser.description = f"Show the dynamics of {model} on {pair.label}: {pair.variant.summary}"
    add_options(pair.parser)
    options = pair.parse(arguments[2:])
    again = parse_task(options.task.name), options.model.name
    if again != (parse_task(task), model):
        raise UserError(
            f"probe examines {model} on {task}, and the options name {again[1]} on {':'.join(again[0])} too"
        )
    require_positive(rows=options.rows, exponents=options.exponents, threads=options.threads)
    require_not_negative(after=options.after, steps=options.steps)
    picture = _writable(options.out)
    import torch

    from rnnae_bench.trial.trial import Trial

    torch.set_num_threads(options.threads)
    try:
        with plugins_aside():
            trial = Trial(pair, pair.options(options), options.seed)
            found = _examine(trial, options)
    except _TrainingFailed as failure:
        Console(stderr=True).print(printable(f"rnnae-bench: {failure}"), markup=False, highlight=False, soft_wrap=True)
        return 1
    layers = [one.summary() for one in found]
    report = {
        "model": model,
        "task": pair.task_handle.name,
        "variant": pair.variant.name,
        "seed": options.seed,
        "overrides": trial.overrides,
        "after": options.after,
        "rows": found[0].rows,
        "layers": layers,
    }
    _show(report, options.json)
    for one in found:
        if one.note is not None:
            line = printable(f"not measured: {one.layer}: {one.note}")
            Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)
    if picture is not None:
        from rnnae_bench.report import dynamics_picture as dynamics

        picture.write_bytes(dynamics.picture(_title(report), layers))
        Console(stderr=True).print(printable(f"picture {picture}"), markup=False, highlight=False, soft_wrap=True)
    return 0


class _TrainingFailed(Exception):
    """The training asked for by ``--after`` ended too early."""


def _writable(out: str) -> Path | None:
    """The file for the picture; refused before any work where it can't be one."""
    if not out:
        return None
    path = Path(out)
    if path.suffix != ".png":
        raise UserError(f"--out {out}: the picture is a PNG; name a file that ends in .png")
    if not path.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {path.parent}; make it first")
    require_writable_file(path, "the picture")
    return path


def _examine(trial: "Trial", options: "Namespace") -> "list[LayerDynamics]":
    from rnnae_bench.probes.examination import examine

    columns = TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        model = _trained(trial, options.after, progress) if options.after else _untrained(trial)
        bar = progress.add_task("Jacobians and exponents", total=None)
        return examine(
            model,
            trial.task,
            trial.task.held_out(options.rows),
            options.exponents,
            options.steps or None,
            lambda done, total: progress.update(bar, completed=done, total=total),
        )


def _untrained(trial: "Trial") -> "nn.Module":
    return trial.pair.build_model(trial.task, trial.options["model"], trial.seed)


def _trained(trial: "Trial", steps: int, progress: Progress) -> "nn.Module":
    """The model after that many steps of the trial's own training, schedule and data; leaves no record."""
    from lightning import LightningModule, Trainer

    from rnnae_bench.probes import OptimizerSteps
    from rnnae_bench.records.store import Store

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
        raise _TrainingFailed(f"no step {steps} to examine: {failure.message if failure else 'the training ended'}")
    model = _untrained(trial)
    model.load_state_dict(weights)
    return model


def _title(report: Mapping[str, Any]) -> str:
    when = f"after {report['after']} optimiser steps" if report["after"] else "before training"
    return f"{report['model']} on {report['task']}:{report['variant']}, seed {report['seed']}, {when}"


def _show(report: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(finite(report), indent=1))
        return
    from rnnae_bench.report import dynamics_picture as dynamics

    layers = report["layers"]
    overrides = "".join(f" --{name} {value}" for name, value in report["overrides"].items())
    sequences = f"{report['rows']} validation sequences, float64{overrides and ';'}{overrides}"
    print(printable(f"{_title(report)}; {sequences}") + "\n")
    print_table(["", *(layer["layer"] for layer in layers)], _table(layers))
    drawn = dynamics.terminal_picture(layers)
    if drawn:
        print(f"\n{drawn}")


def _table(layers: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A row for each quantity, a column for each layer."""
    columns = [dict(_column(layer)) for layer in layers]
    heads = dict.fromkeys(head for column in columns for head in column)
    return [[head, *(column.get(head, "-") for column in columns)] for head in heads]


def _column(layer: Mapping[str, Any]) -> list[tuple[str, str]]:
    vanilla = "h" in layer["spectral_radius"]
    cells = [
        (f"{quantity} of W_hh{'' if vanilla else f', gate {gate}'}", number(value))
        for quantity, key in (("spectral radius", "spectral_radius"), ("2-norm", "spectral_norm"))
        for gate, value in layer[key].items()
    ]
    singular, exponents = layer["largest_singular_value"], layer["lyapunov_exponents"]
    if singular is not None:
        cells += [(f"singular value of J_t, {of}", number(singular[of])) for of in ("median", "max")]
    for place, mean in enumerate([] if exponents is None else exponents["mean"]):
        spread = exponents["standard_deviation"]
        cell = number(mean) if spread is None else f"{number(mean)} ± {spread[place]:.2g}"
        cells.append((f"Lyapunov exponent {place + 1} (nats per step)", cell))
    for state, found in layer["gradient_norm"].items():
        cells.append((f"decay rate of |dL/d{state}| (nats per lag)", number(found["decay_rate"])))
        cells.append((f"effective horizon of |dL/d{state}| (steps)", number(found["effective_horizon"])))
    return cells
