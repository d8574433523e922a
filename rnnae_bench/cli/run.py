"""``rnnae-bench run``: train a model on a task, under one or more seeds, and keep a record of each trial."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rnnae_bench.cli.common import logger_names, say_where_logged
from rnnae_bench.cli.output import plugins_aside
from rnnae_bench.cli.pairs import load_pair, require_agreement
from rnnae_bench.cli.run_help import short_help
from rnnae_bench.cli.run_options import add_own, dashed
from rnnae_bench.cli.threads import Load, threads_beside
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.options.bracketed import parse_text
from rnnae_bench.options.configuration import read_configs
from rnnae_bench.options.durations import positive_seconds
from rnnae_bench.options.nested import flatten
from rnnae_bench.plugins.registry import models, tasks
from rnnae_bench.records import samples
from rnnae_bench.records.document import document_of
from rnnae_bench.records.legible import printable
from rnnae_bench.records.record import Record
from rnnae_bench.report import tables, terminal_heatmap, why
from rnnae_bench.report import trial_picture as plots
from rnnae_bench.report.samples import picture as samples_picture

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from rnnae_bench.trial.outcome import Outcome
    from rnnae_bench.trial.pair import Pair
    from rnnae_bench.trial.trial import Trial


def opening() -> argparse.ArgumentParser:
    """What must be known before the pair's own options can be: its names and the configuration file."""
    parser = argparse.ArgumentParser(prog="rnnae-bench run", add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--task", "--task.name", action="append")
    parser.add_argument("--model", "--model.name", action="append")
    parser.add_argument("--config", action="append", type=Path, default=[])
    parser.add_argument("-h", "--help", nargs="?", const="short", choices=("short", "all"))
    return parser


def main(arguments: list[str]) -> int:
    """Run the trials that the arguments ask for."""
    # As of now: a plugin may change the working folder as soon as it is imported.
    here, load = Path.cwd(), Load()
    try:
        named, others = opening().parse_known_args(dashed(arguments))
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from error
    configuration: dict[str, Any] = {}
    if named.config:
        configuration = read_configs(named.config)
    task, model = (_name(part, getattr(named, part), configuration) for part in ("task", "model"))
    if named.help == "short" or (named.help and not (task and model)):
        print(short_help(*(name and parse_text(name)[0] for name in (task, model))))
        return 0
    pair, bracketed = load_pair(_require("task", task, tasks().names()), _require("model", model, models().names()))
    configured = [f"--config={path}" for path in named.config]
    add_own(pair.parser.add_argument)
    for part in ("task", "model"):
        # A name in a file stands beside that file's options; a flag wins over them.
        beside = others if getattr(named, part) else [*configured, *others]
        require_agreement(pair, [one for one in bracketed if one.startswith(f"--{part}.")], beside)
    own = [f"--task.name={pair.label}", f"--model.name={pair.model_handle.name}", *bracketed, *others]
    arguments_of_pair = [*configured, *own, *(["--help"] if named.help else [])]
    options = pair.parse(arguments_of_pair)
    given: list[str] = []
    if options.match is not None:
        chosen = pair.parse(arguments_of_pair, defaults=False).as_dict().get("model") or {}
        given = list(flatten(chosen))
    return _run(pair, options, given, here / options.out, ["rnnae-bench", "run", *arguments], load)


def _name(part: str, given: list[str] | None, configuration: dict[str, Any]) -> str | None:
    """The name of the task or model: of the command line, or else in the configuration's section."""
    section = configuration.get(part)
    configured = section.get("name") if isinstance(section, dict) else None
    names = list(dict.fromkeys(given or []))
    if len(names) > 1:
        raise UserError(f"run takes one --{part}, and {' and '.join(names)} are given; rnnae-bench sweep takes several")
    return names[0] if names else configured


def _require(part: str, name: str | None, known: list[str]) -> str:
    if not name:
        raise UserError(f"run needs --{part} NAME; installed: {', '.join(known)}")
    if not isinstance(name, str):
        raise UserError(f"the name of a {part} is a text, and the configuration has {name!r}")
    return name


def _run(pair: "Pair", options: "Namespace", given: Sequence[str], out: Path, command: list[str], load: Load) -> int:
    """Run the trials; `given` names the model's options that were."""
    import torch

    from rnnae_bench.api.running import is_helper, label_of, matched, ready, train

    require_positive(seeds=options.seeds)
    every = options.checkpoint_every
    checkpoint_every = None if every is None else positive_seconds(every, "--checkpoint-every")
    loggers = logger_names(options.logger)
    if options.threads is not None:
        require_positive(threads=options.threads)
        torch.set_num_threads(options.threads)
    seeds = range(options.seed, options.seed + options.seeds)
    with plugins_aside():
        earlier = None if options.overwrite else out
        chosen, match = matched(pair, pair.options(options), given, options.match, earlier)
        trials = ready(pair, chosen, seeds, options.data_seed, out, match, options.probes)
    helper = is_helper(trials)
    console = Console(stderr=True, quiet=helper)
    if options.threads is None and trials[0].layout["devices"] == 1 and "OMP_NUM_THREADS" not in os.environ:
        _leave_busy_cores(load.of_others(), console)

    ran: list[str] = []

    def ended(trial: "Trial", path: Path, outcome: "Outcome | None") -> None:
        if outcome is not None:
            ran.append(trial.identity)
            _report(trial, outcome, console)
            return
        told = printable(f"{label_of(trial)}: measured before, see {_shown(path)} (--overwrite runs it again)")
        console.print(told, markup=False, highlight=False, soft_wrap=True)

    with plugins_aside():
        results = train(
            trials,
            out,
            options.overwrite,
            command,
            loggers,
            console,
            ended,
            checkpoint_every,
            keep_weights=options.keep == "weights",
        )
    if not helper:
        if ran:
            say_where_logged(console, _shown(out), loggers, ran)
        _show(results.records, as_json=options.json)
    return 0 if all(record.status == "ok" for record in results.records) else 1


def _leave_busy_cores(others: float, console: Console) -> None:
    """Compute with as many threads fewer as others keep cores busy: one that has to wait its turn keeps all waiting."""
    import torch

    most = torch.get_num_threads()
    threads = threads_beside(others, most)
    if threads < most:
        torch.set_num_threads(threads)
        busy = f"others keep {others:.1f} of the cores busy"
        console.print(f"{busy}: {threads} of {most} threads (--threads N decides otherwise)", highlight=False)


def _shown(path: Path) -> Path:
    """A path as seen from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _report(trial: "Trial", outcome: "Outcome", console: Console) -> None:
    from rnnae_bench.api.running import label_of

    record = outcome.record
    if record.status != "ok":
        console.print(f"[red]{label_of(trial)}: {record.status}[/red]: ", end="")
        console.print(
            printable(record.failure.message if record.failure else ""), markup=False, highlight=False, soft_wrap=True
        )
    if outcome.rescue:
        told = printable(f"{outcome.rescue}; the record was saved elsewhere")
        console.print(told, style="red", markup=False, highlight=False, soft_wrap=True)
    drawn = plots.terminal_picture(outcome.series)
    if drawn:
        console.print(f"gradient norm over training ({label_of(trial)}), logarithmic", highlight=False)
        console.print(drawn, markup=False, highlight=False, no_wrap=True, overflow="crop")
    drawn = terminal_heatmap.terminal_heatmap(outcome.series, record.needed_lag)
    if drawn and why.has_time(record, outcome.series):
        console.print(terminal_heatmap.coloured(drawn), no_wrap=True, overflow="crop")
    lines = [reason] if (reason := why.of_trial(record, outcome.series)) else []
    made = {} if outcome.kept is None else samples.decode(outcome.kept)
    lines += samples_picture.text(made).splitlines() if made else []
    lines += [f"not measured: {name}: {reason}" for name, reason in record.absent.items()]
    lines.append(f"record  {_shown(outcome.path)}")
    try:
        picture = plots.write_picture(outcome.path, record, outcome.series)
        lines += [f"picture {_shown(picture)}"] if picture else []
        picture = samples_picture.write_picture(outcome.path, record, made) if made else None
        lines += [f"samples {_shown(picture)}"] if picture else []
    except OSError as error:
        lines.append(f"picture could not be written: {error.strerror}")
    for line in lines:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _show(records: Sequence[Record], as_json: bool) -> None:
    if as_json:
        print(json.dumps([document_of(record) for record in records], indent=1))
        return
    console = Console()
    for table in tables.terminal(records, console):
        console.print(table)
