"""The grid of a sweep: from what a user names to the settings that are run.

A task is named ``NAME[:VARIANT]``, a model ``NAME``, and either may be followed by options in brackets::

    gru[hidden_size=[64,128],layers=2,optimization.learning_rate=1e-3]

Values are YAML. A list stands for one setting a value, and several lists for all combinations; an option that is itself
a list is written as a list in a list: ``hidden_sizes=[[128,64]]``. A YAML file may have the same as a mapping:
``{name: gru, hidden_size: [64, 128], layers: 2}``.

Names are looked up here; what the options are called, and which values they take, is for a worker to check.
"""

import difflib
import itertools
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.options.bracketed import parse_text, written
from rnnae_bench.options.nested import flatten, nest
from rnnae_bench.plugins.registry import Kind, models, parse_task, tasks
from rnnae_bench.sweeps.executors.job import Setting

PRECISIONS = {
    "64": "64-true",
    "32": "32-true",
    "16": "16-mixed",
    "bf16": "bf16-mixed",
    **{
        name: name
        for name in (
            "64-true",
            "32-true",
            "16-mixed",
            "16-true",
            "bf16-mixed",
            "bf16-true",
            "transformer-engine",
            "transformer-engine-float16",
        )
    },
}
"""Lightning's names of precisions and, first, their short forms; to the names that records have."""

Named = str | Mapping[str, Any]
"""A task or model with its options, as text or as a mapping with ``name``."""


@dataclass(frozen=True)
class Axes:
    """What a sweep is a product of."""

    tasks: Sequence[Named]
    models: Sequence[Named]
    precisions: Sequence[str] = ("32-true",)
    devices: Sequence[int] = (1,)
    """How many devices a trial is to train on."""
    strategy: str = "auto"
    """Lightning's name of how those on several devices work together."""
    accelerator: str = "auto"


def settings(axes: Axes) -> list[Setting]:
    """All settings of a grid, each once: tasks outermost, then models with their options, precisions, devices.

    Raises:
        UserError: an axis is empty, a name is not registered, brackets or options are malformed.
    """
    for axis, values in vars(axes).items():
        if not values:
            raise UserError(f"the grid is empty: no {axis.removesuffix('s')} is given")
    chosen_tasks = [(_task(name), options) for named in axes.tasks for name, options in _choices("task", named)]
    chosen_models = [(_model(name), options) for named in axes.models for name, options in _choices("model", named)]
    trainers = list(itertools.product(map(_precision, axes.precisions), map(_devices, axes.devices)))
    found: dict[str, Setting] = {}
    for (task, data), (model, hyperparameters), (precision, devices) in itertools.product(
        chosen_tasks, chosen_models, trainers
    ):
        trainer = _trainer(axes, precision, devices)
        parts = {"task": data, "model": hyperparameters, "trainer": trainer}
        setting = Setting(task, model, {part: options for part, options in parts.items() if options})
        found.setdefault(key_of(setting), setting)
    return list(found.values())


def key_of(setting: Setting) -> str:
    """A text that two settings share if and only if they ask for the same."""
    return json.dumps([setting.task, setting.model, setting.overrides], sort_keys=True, default=str)


def label(setting: Setting) -> str:
    """The setting in a line, as one would write it.

    >>> label(Setting("copy:smoke", "gru", {"model": {"layers": 2}, "trainer": {"precision": "bf16-mixed"}}))
    'copy:smoke gru[layers=2] bf16-mixed'
    """
    trainer = setting.overrides.get("trainer", {})
    rest = [str(trainer[key]) for key in ("accelerator", "precision") if key in trainer]
    rest += [f"{trainer['devices']} devices"] if "devices" in trainer else []
    names = (f"{setting.task}{_bracket(setting, 'task')}", f"{setting.model}{_bracket(setting, 'model')}")
    return " ".join((*names, *rest))


def run_command(setting: Setting) -> str:
    """The ``rnnae-bench run`` that runs one trial of the setting, for a shell.

    >>> run_command(Setting("copy:smoke", "gru", {"model": {"optimization": {"clip": 0.5}}}))
    'rnnae-bench run --task copy:smoke --model gru --model.optimization.clip 0.5'
    """
    words = ["rnnae-bench", "run", "--task", setting.task, "--model", setting.model]
    for option, value in flatten(setting.overrides).items():
        text = written(value)
        # Apart, argparse would take -.inf for an option.
        words += [f"--{option}={text}"] if text.startswith("-") else [f"--{option}", text]
    if setting.probes:
        words += ["--probes", ",".join(setting.probes)]
    return shlex.join(words)


def _bracket(setting: Setting, part: str) -> str:
    options = flatten(setting.overrides.get(part, {}))
    return f"[{','.join(f'{option}={written(value)}' for option, value in options.items())}]" if options else ""


def _task(name: str) -> str:
    base, variant = parse_task(name)
    tasks().get(base)
    return f"{base}:{variant}"


def _model(name: str) -> str:
    return models().get(name).name


def _precision(name: str) -> str:
    if name not in PRECISIONS:
        near = difflib.get_close_matches(name, PRECISIONS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"there is no precision '{name}'; {hint}the known ones are {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def _devices(count: int) -> int:
    require_positive(**{"--devices": count})
    return count


def _trainer(axes: Axes, precision: str, devices: int) -> dict[str, Any]:
    """What differs from the trainer's defaults; a trial on one device needs no strategy."""
    wanted = {
        "accelerator": (axes.accelerator, "auto"),
        "strategy": (axes.strategy if devices > 1 else "auto", "auto"),
        "devices": (devices, 1),
        "precision": (precision, "32-true"),
    }
    return {option: value for option, (value, default) in wanted.items() if value != default}


def _choices(kind: Kind, named: Named) -> Iterator[tuple[str, dict[str, Any]]]:
    """A name with each combination of its options, nested."""
    name, values = _parse(kind, named)
    for option, several in values.items():
        if not several:
            raise UserError(f"{_shown(named)}: the grid is empty: '{option}' has no value to choose from")
    for combination in itertools.product(*values.values()):
        try:
            yield name, nest(dict(zip(values, combination, strict=True)))
        except ValueError as error:
            raise UserError(
                f"{_shown(named)}: '{error}' is given twice, as an option and as the section of another"
            ) from error


def _parse(kind: Kind, named: Named) -> tuple[str, dict[str, list[Any]]]:
    """The name, and for each option, by dotted name, the values to combine."""
    if isinstance(named, str):
        name, values = parse_text(named)
    else:
        if not isinstance(named.get("name"), str):
            raise UserError(f"{_shown(named)}: a {kind} written as a mapping needs its name; add name: NAME")
        name, values = named["name"], flatten({key: value for key, value in named.items() if key != "name"})
    return name, {option: value if isinstance(value, list) else [value] for option, value in values.items()}


def with_options(kind: Kind, named: Named, options: Mapping[str, Any]) -> Named:
    """A task or model with further options, whose lists multiply as those in brackets do.

    Raises:
        UserError: an option is given in both.
    """
    name, values = _parse(kind, named)
    further = flatten(options)
    twice = values.keys() & further.keys()
    if twice:
        raise UserError(f"{_shown(named)}: {', '.join(sorted(twice))} is given in there and beside it")
    return {"name": name, **values, **further} if further else named


def _shown(named: Named) -> str:
    return f"'{named}'" if isinstance(named, str) else json.dumps(named, default=str)
