"""``rnnae-bench probe``: what a model does to states and gradients on a task, at the start or after some training."""

import argparse
import json
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from rnnae_bench.cli.output import plugins_aside
from rnnae_bench.cli.pairs import load_pair, require_agreement
from rnnae_bench.cli.table import print_table
from rnnae_bench.errors import UserError, require_not_negative, require_positive
from rnnae_bench.plugins.registry import parse_task
from rnnae_bench.records.files import require_writable_file
from rnnae_bench.records.legible import printable

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from rnnae_bench.api.probing import Dynamics


_USAGE = "rnnae-bench probe MODEL TASK[:VARIANT] [options]"


def add_options(parser: "argparse.ArgumentParser | ArgumentParser") -> None:
    """The options of ``probe`` itself, beside those of the pair."""
    add = parser.add_argument
    add("--seed", type=int, default=0, help="Fixes weights, and with --after all of the training.")
    add("--after", type=int, default=0, metavar="STEPS", help="Train for so many optimiser steps first.")
    add("--rows", type=int, default=8, help="Sequences, spread evenly over the validation set.")
    add("--steps", type=int, default=0, help="Examine so many steps at the end of each sequence; 0 examines all.")
    add("--exponents", type=int, default=4, help="Lyapunov exponents to estimate.")
    add("--memory", action="store_true", help="Issue the memory passport too: what the states hold of past inputs.")
    add("--lags", type=int, default=100, help="How many steps back the memory passport reaches.")
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
    pair, bracketed = load_pair(task, model)
    task, model = pair.label, pair.model_handle.name
    pair.parser.prog, pair.parser.usage = "rnnae-bench probe", _USAGE
    pair.parser.description = f"Show the dynamics of {model} on {pair.label}: {pair.variant.summary}"
    add_options(pair.parser)
    require_agreement(pair, bracketed, [one for one in arguments[2:] if one not in ("-h", "--help")])
    options = pair.parse([*bracketed, *arguments[2:]])
    again = parse_task(options.task.name), options.model.name
    if again != (parse_task(task), model):
        raise UserError(
            f"probe examines {model} on {task}, and the options name {again[1]} on {':'.join(again[0])} too"
        )
    require_positive(rows=options.rows, exponents=options.exponents, lags=options.lags, threads=options.threads)
    require_not_negative(after=options.after, steps=options.steps)
    picture = _writable(options.out)
    import torch
    from rich.console import Console

    from rnnae_bench.api.probing import TrainingFailed, examine_trial
    from rnnae_bench.api.running import ready

    torch.set_num_threads(options.threads)
    console = Console(stderr=True)
    try:
        with plugins_aside():
            (trial,) = ready(pair, pair.options(options), [options.seed])
            lags = options.lags if options.memory else 0
            found = examine_trial(trial, options.after, options.rows, options.steps, options.exponents, lags, console)
    except TrainingFailed as failure:
        console.print(printable(f"rnnae-bench: {failure}"), markup=False, highlight=False, soft_wrap=True)
        return 1
    _show(found, options.json)
    lines = [f"not measured: {layer}: {note}" for layer, note in found.notes.items()]
    if picture is not None:
        from rnnae_bench.report.heatmaps import as_png

        picture.write_bytes(as_png(found.plot()))
        lines.append(f"picture {picture}")
    for line in lines:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    return 0


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


def _show(found: "Dynamics", as_json: bool) -> None:
    report = found.report
    if as_json:
        print(json.dumps(report, indent=1))
        return
    overrides = "".join(f" --{name} {value}" for name, value in report["overrides"].items())
    sequences = f"{report['rows']} validation sequences, float64{overrides and ';'}{overrides}"
    print(printable(f"{found.title}; {sequences}") + "\n")
    for place, (heads, *rows) in enumerate(found.tables):
        if place:
            print()
        print_table(heads, rows)
    from rnnae_bench.report import dynamics_picture

    drawn = dynamics_picture.terminal_picture(found.layers)
    if drawn:
        print(f"\n{drawn}")
