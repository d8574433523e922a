"""The options of a sweep: what each means, and how they are read from the command line and from ``sweep.yaml``.

The names of the options are the same in both; on the command line a dash stands for each underscore. Nothing here
imports torch.
"""

import argparse
import difflib
import inspect
import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml
from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentParser

from rnnae_bench.errors import UserError, require_not_negative, require_positive
from rnnae_bench.options import yaml12
from rnnae_bench.options.durations import seconds
from rnnae_bench.options.explained import Complaint, either, in_words
from rnnae_bench.options.parsing import MODE
from rnnae_bench.options.quantities import matched_to
from rnnae_bench.plugins.registry import models, tasks
from rnnae_bench.sweeps.grid import Axes

SEARCH_SEED = 1000
"""The first seed of a search: one that no leaderboard uses."""

_LISTS = ("task", "model", "precision", "devices")
"""Options that may be repeated."""

_METAVARS = {
    "out": "FOLDER",
    "time_limit": "TIME",
    "checkpoint_every": "TIME",
    "match": "QUANTITY=AMOUNT",
    "probes": "NAMES",
}
"""What help calls the values of some options."""

DURATIONS = ("time_limit", "checkpoint_every")
"""Options that are durations."""


@dataclass(frozen=True)
class SweepOptions:
    """Run many trials: every task with every model, precision and number of devices, under several seeds.

    A task or model may carry options in brackets, lists in there multiply: "gru[hidden_size=[64,128],layers=2]". What
    has a record already is not run again, so that a sweep that was stopped goes on where it was.

    Args:
        task: A task, NAME[:VARIANT] or NAME[:VARIANT][OPTION=VALUE,...]; give it several times for several.
        model: A model, NAME or NAME[OPTION=VALUE,...]; several times for several.
        precision: A precision of Lightning's (64, 32, 16-mixed, bf16-mixed, ...); several times for several.
        devices: On how many devices a trial trains; several times for several.
        strategy: How the devices of a trial work together (ddp, ...); trials on one device need none.
        accelerator: What to train on (cpu, gpu, ...); auto takes the best there is.
        seed: The first seed: fixes weights, data order and noise. By default 0, and 1000 in a search, so that no
            leaderboard is made of the seeds that were searched with.
        seeds: How many seeds each setting runs under, counting up from the first.
        data_seed: Seed of the training data where it is not to be the trial's own.
        out: Folder for the records.
        overwrite: What to run again although it has a record: never anything, what failed, or always all.
        executor: What runs the trials: worker processes on this machine, or a Ray cluster.
        ray_address: The Ray cluster to use (auto, or HOST:PORT); by default one is started here.
        workers: Worker processes; by default as many as cores or devices and memory allow.
        threads: CPU threads of each worker.
        gpus_per_trial: Share of a GPU that a trial takes; 0.25 runs four at once on each.
        time_limit: Longest wall time of a trial, as 90, 10m or 2h; a trial that takes longer is stopped, and recorded
            as timeout.
        checkpoint_every: Keep the state of each running trial so often, as 30s, 10m or 2h; one that was stopped or
            killed goes on from there when the same command is given again. Every trial then trains by itself.
        keep: What to keep of a trial beside its record: the trained weights.
        vectorize: Train the seeds of a setting as one: where it pays, never, or so many at a time.
        search: Search the models' hyper-parameters instead of running them as they are; optuna searches by its
            tree-structured Parzen estimator.
        search_trials: Settings to try for each task, model and precision.
        search_storage: Where the state of the search is kept: a database URL for many machines, or a file; by default
            search.journal in the folder for the records.
        search_space: What to search, by option; by model and option where models differ. It takes the place of what
            the models declare.
        match: Choose the width of each model so that it has so many weights (parameters=10k), or numbers in its state
            (state=256), or trains for about so long here (seconds=60).
        probes: Measure with these probes of plugins too, comma-separated, NAME or NAME[OPTION=VALUE,...]. A trial whose
            record lacks what they measure is trained again, and that record is kept.
        logger: Log elsewhere too, comma-separated: wandb, csv, tensorboard.
        retries: How often a trial is started again whose worker went away through no fault of the trial.
        dry_run: Print the trials, their ids and what they are likely to cost, and run none.
        collect: Print the tables of what was measured so far, and run none.
        json: Print the result as JSON, and nothing else, on standard output.
    """

    task: list[str | dict[str, Any]] = field(default_factory=list)
    model: list[str | dict[str, Any]] = field(default_factory=list)
    precision: list[str] = field(default_factory=lambda: ["32-true"])
    devices: list[int] = field(default_factory=lambda: [1])
    strategy: str = "auto"
    accelerator: str = "auto"
    seed: int | None = None
    seeds: int = 1
    data_seed: int | None = None
    out: str = "runs"
    overwrite: Literal["never", "failed", "always"] = "never"
    executor: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    workers: int | None = None
    threads: int = 1
    gpus_per_trial: float = 1.0
    time_limit: float | None = None
    checkpoint_every: float | None = None
    keep: Literal["weights"] | None = None
    vectorize: Literal["auto", "off"] | int = "auto"
    search: Literal["optuna"] | None = None
    search_trials: int = 20
    search_storage: str | None = None
    search_space: dict[str, Any] = field(default_factory=dict)
    match: str | None = None
    probes: str = ""
    logger: str = ""
    retries: int = 3
    dry_run: bool = False
    collect: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        at_least_one = ("seeds", "workers", "threads", "gpus_per_trial", *DURATIONS, "search_trials")
        limits = {name: getattr(self, name) for name in at_least_one}
        if isinstance(self.vectorize, int):
            limits["vectorize"] = self.vectorize
        require_positive(**{_flag(name): value for name, value in limits.items() if value is not None})
        if self.checkpoint_every is not None and isinstance(self.vectorize, int) and self.vectorize > 1:
            raise UserError(
                f"--checkpoint-every is for trials that train by themselves, and --vectorize {self.vectorize} trains "
                "several as one; leave one of them out"
            )
        for flag, given in (("--checkpoint-every", self.checkpoint_every), ("--keep", self.keep)):
            if given is not None and self.executor == "ray":
                raise UserError(f"{flag} wants the folder for the records where the trials run; use --executor local")
        or_none = {name: getattr(self, name) for name in ("seed", "data_seed", "retries")}
        require_not_negative(**{_flag(name): value for name, value in or_none.items() if value is not None})
        if self.search_space and self.search is None:
            raise UserError("--search-space is given and no --search; add --search optuna")
        if self.match is not None:
            matched_to(self.match)
            if self.search is not None:
                raise UserError("--match and --search both choose hyper-parameters; leave one of them out")
        if self.ray_address is not None and self.executor != "ray":
            raise UserError(f"--ray-address {self.ray_address} needs --executor ray")

    @property
    def first_seed(self) -> int:
        """The seed that counting starts from."""
        if self.seed is not None:
            return self.seed
        return SEARCH_SEED if self.search else 0

    @property
    def axes(self) -> Axes:
        """The grid that is asked for."""
        return Axes(self.task, self.model, self.precision, self.devices, self.strategy, self.accelerator)


def parser() -> ArgumentParser:
    """The command's options, one for each field of `SweepOptions`."""
    described = parse_docstring(inspect.getdoc(SweepOptions) or "")
    options = ArgumentParser(
        prog="rnnae-bench sweep",
        description=described.description,
        parser_mode=MODE,
        exit_on_error=False,
        allow_abbrev=False,
    )
    options.add_argument(
        "--config",
        action="config",
        help="Read options from a YAML file; of several the later ones win, and flags win over all.",
    )
    helps = {each.arg_name: " ".join((each.description or "").split()) for each in described.params}
    for name, hint in _hints().items():
        default = _default(name)
        if hint is bool:
            options.add_argument(_flag(name), action="store_true", help=helps[name])
        else:
            metavar = name.upper() if name in _LISTS else _METAVARS.get(name)
            shown: dict[str, Any] = {"metavar": metavar} if metavar else {}
            options.add_argument(_flag(name), type=hint, default=default, help=helps[name], **shown)
    return options


def parse(arguments: Sequence[str]) -> SweepOptions:
    """The options that a command line asks for, those of its ``--config`` files included, the later ones winning.

    ``--help`` and ``--print_config`` print, and end the program with code 0.

    Raises:
        UserError: the command line or the file is wrong; for the file, with line and key.
    """
    repeated, others = _gather(arguments)
    options = parser()
    for path in repeated.pop("config", []):
        options.set_defaults(read(Path(path)))
    words = [f"--{name}={json.dumps(values, ensure_ascii=False)}" for name, values in repeated.items()]
    try:
        parsed = options.parse_args(words + [_dashed(word) for word in others])
    except argparse.ArgumentError as error:
        raise UserError(_explain(str(error))) from error
    values = {name: getattr(parsed, name) for name in _hints()}
    for name in DURATIONS:
        if values[name] is not None:
            values[name] = _seconds(values[name], _flag(name))
    chosen = SweepOptions(**values)
    for part, known in (("task", tasks()), ("model", models())):
        if not chosen.collect and not getattr(chosen, part):
            raise UserError(f"sweep needs --{part} NAME; installed: {', '.join(known.names())}")
    return chosen


def read(path: Path) -> dict[str, Any]:
    """The options in a ``sweep.yaml``, each checked by itself.

    Where several values may be given, one alone need not be a list; null stands for the default.

    Raises:
        UserError: the file can't be read, is not YAML, or has an option that a sweep doesn't, or of the wrong type.
    """
    tree, content = yaml12.read(path, "the sweep file")
    if content is None:
        return {}
    if not isinstance(tree, yaml.MappingNode):
        raise UserError(f"{path}: the options of a sweep are a mapping, this is a {type(content).__name__}")
    lines = {key.value: f"{path}:{key.start_mark.line + 1}: " for key, _ in tree.value}
    return options_from(content, lines)


def options_from(content: Mapping[Any, Any], places: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Options by name, each checked by itself; what is None is left to its default.

    Args:
        content: The options, as in a ``sweep.yaml``.
        places: Where each was found, to begin an error with.

    Raises:
        UserError: a sweep has no such option, or it is of the wrong type.
    """
    found, checker = {}, parser()
    for key, value in content.items():
        where = (places or {}).get(str(key), "")
        if key not in _hints():
            near = difflib.get_close_matches(str(key), _hints(), n=2, cutoff=0.7)
            hint = f"did you mean {either(map(repr, near))}?" if near else f"these are: {', '.join(_hints())}"
            raise UserError(f"{where}'{key}' is not an option of a sweep; {hint}")
        if value is None:
            continue
        if key in _LISTS and not isinstance(value, list):
            value = [value]
        if key == "probes" and isinstance(value, list | tuple):
            value = ",".join(map(str, value))
        if key == "precision":
            value = [str(one) if isinstance(one, int) else one for one in value]
        if key in DURATIONS:
            _seconds(value, f"{where}'{key}'")
            value = str(value)
        try:
            # A switch, which jsonargparse takes whatever it is.
            if _hints()[key] is bool and not isinstance(value, bool):
                raise argparse.ArgumentError(None, "no switch")
            found[key] = checker.parse_object({key: value})[key]
        except argparse.ArgumentError as error:
            raise UserError(f"{where}'{key}' is {json.dumps(value, default=str)}; {_wanted(key)}") from error
    return found


def _gather(arguments: Sequence[str]) -> tuple[dict[str, list[Any]], list[str]]:
    """The options that may be repeated, with all their values, and the rest of the command line."""
    opening = argparse.ArgumentParser(
        add_help=False, allow_abbrev=False, exit_on_error=False, argument_default=argparse.SUPPRESS
    )
    for name in (*_LISTS, "config"):
        opening.add_argument(f"--{name}", action="append", type=_whole if name == "devices" else str)
    try:
        known, others = opening.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from error
    return vars(known), others


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got '{text}'; {_wanted('devices')}") from None


def _seconds(duration: Any, named: str) -> float:
    try:
        return seconds(str(duration))
    except ValueError:
        raise UserError(f"{named} is {json.dumps(duration, default=str)}; {_wanted('time_limit')}") from None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _dashed(word: str) -> str:
    """A flag written with underscores, as `run` has them, with dashes."""
    if not word.startswith("--") or word.startswith("--print_config"):
        return word
    name, equals, value = word.partition("=")
    return f"{name.replace('_', '-')}{equals}{value}"


def _hints() -> dict[str, Any]:
    """The type of each option, as it is written."""
    return {**typing.get_type_hints(SweepOptions), **dict.fromkeys(DURATIONS, str | None)}


def _default(name: str) -> Any:
    (one,) = (each for each in fields(SweepOptions) if each.name == name)
    return one.default if one.default_factory is MISSING else one.default_factory()


def _explain(message: str) -> str:
    """One line for what jsonargparse says in several."""
    found = Complaint.of(message)
    if found.unknown:
        near = difflib.get_close_matches(found.unknown, map(_flag, _hints()), n=2, cutoff=0.7)
        hint = f"; did you mean {either(near)}?" if near else ""
        return f"{found.unknown} is not an option of sweep{hint} (--help lists them)"
    if found.wrong in _hints():
        return f"{_flag(found.wrong)}: got {found.given}; {_wanted(found.wrong)}"
    return found.message


def _wanted(name: str) -> str:
    if name in DURATIONS:
        return "it must be a duration, such as 90, 10m or 2h"
    return f"it must be {in_words(_hints()[name])}"
