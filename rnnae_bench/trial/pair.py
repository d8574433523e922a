"""The options of a task and model pair: where they come from, how they are checked, what they build.

One jsonargparse parser per pair, made from the type hints and docstrings of the two classes, serves the
command line, configuration files, and the rebuilding of a trial from its record.
"""

import argparse
import copy
import difflib
import inspect
import json
import os
import typing
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import register_type
from lightning import LightningModule, Trainer, seed_everything

from rnnae_bench.contracts.card import Card, Variant
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.options import yaml12
from rnnae_bench.options.configuration import read_configs
from rnnae_bench.options.explained import Complaint, in_words, is_plain
from rnnae_bench.options.nested import flatten, nest
from rnnae_bench.options.parsing import MODE, allow_dataclasses, types_in
from rnnae_bench.options.plain import alike, named, plain
from rnnae_bench.plugins.forks import one_process
from rnnae_bench.plugins.registry import Handle, parse_task
from rnnae_bench.plugins.unregistered import handle_of
from rnnae_bench.trial.evaluation_steps import complete_evaluation_steps

TRAINER_OPTIONS = (
    "accelerator",
    "strategy",
    "devices",
    "num_nodes",
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "deterministic",
    "benchmark",
    "detect_anomaly",
    "sync_batchnorm",
    "profiler",
    "plugins",
)
"""What is passed through to Lightning's Trainer; everything else of it belongs to the protocol or the runner."""

CONFIG_HELP = "Read options from a YAML file; of several the later ones win, and flags win over all."

_TRAINER_DEFAULTS = {"trainer.devices": 1, "trainer.precision": "32-true"}


class Pair:
    """A task variant and a model, with their classes loaded and their default options merged.

    Defaults come, later ones winning, from the classes' own signatures, the variant's frozen setting, and the
    hyper-parameters tuned for this model on this task (the card's ``tuned``).

    Args:
        task: Task as ``NAME[:VARIANT]``, or a class, then with its variant apart.
        model: The model's registered name, or a class.
        variant: Of a task that is given as a class.

    Raises:
        UserError: unknown name or variant, a plugin that can't be imported, a bad card.
    """

    def __init__(self, task: str | type[Task], model: str | type[LightningModule], variant: str = "standard") -> None:
        if isinstance(task, str):
            task, variant = parse_task(task)
        self.task_handle: Handle = handle_of("task", task)
        self.model_handle: Handle = handle_of("model", model)
        self.task_class: type[Task] = self.task_handle.load()
        self.model_class: type[LightningModule] = self.model_handle.load()
        self.card: Card = self.task_class.card()
        self.variant: Variant = self.card.variant(variant)
        self.parser = self._parser()
        self.hints: dict[str, Any] = {}
        """The type of each option, by its dotted name."""
        for action in self.parser._actions:
            self.hints.setdefault(action.dest, getattr(action, "_typehint", None) or action.type)
        allow_dataclasses(self.hints.values())
        self._parsed: dict[str, Namespace] = {}
        self._objects = dict(self._leaves(self.parser.get_defaults().as_dict())) | self._unhinted()
        self._defaults = {option: _written_or_named(value) for option, value in self._objects.items()}
        self.defaults = _in_parts(self._defaults)
        """All options as they are by default, plain and nested in ``task``, ``model`` and ``trainer``."""

    @property
    def label(self) -> str:
        """The variant's full name, ``NAME:VARIANT``."""
        return f"{self.task_handle.name}:{self.variant.name}"

    def _unhinted(self) -> dict[str, Any]:
        """Dataclasses that are defaults of arguments without a type hint; the parser has them as dictionaries."""
        return {
            f"{part}.{name}": one.default
            for part, cls in (("task", self.task_class), ("model", self.model_class))
            for name, one in inspect.signature(cls).parameters.items()
            if one.annotation is one.empty and is_dataclass(one.default)
        }

    def _parser(self) -> ArgumentParser:
        # With it, jsonargparse would take options from the environment.
        os.environ.pop("JSONARGPARSE_DEFAULT_ENV", None)
        parser = ArgumentParser(
            prog="rnnae-bench run",
            exit_on_error=False,
            allow_abbrev=False,
            parser_mode=MODE,
            description=f"Run {self.model_handle.name} on {self.label}: {self.variant.summary}",
        )
        parser.add_argument("--config", action="config", help=CONFIG_HELP)
        parser.add_argument("--task.name", type=str, help="The same as --task, in a configuration file.")
        parser.add_argument("--model.name", type=str, help="The same as --model, in a configuration file.")
        for cls, part, skipped in ((self.task_class, "task", "data_seed"), (self.model_class, "model", "spec")):
            try:
                parser.add_class_arguments(cls, part, skip={skipped}, instantiate=False)
            except ValueError as error:
                raise UserError(
                    f"the options of {part} class {cls.__name__} can't be read off its constructor: "
                    f"{in_a_line(error)}; give every argument without a default a type hint"
                ) from error
        others = _parameters(Trainer) - set(TRAINER_OPTIONS)
        parser.add_class_arguments(Trainer, "trainer", skip=others, instantiate=False)
        self._describe(parser, "--task", "NAME[:VARIANT]", "The task; its own options follow.")
        self._describe(parser, "--model", "NAME", "The model; its own options follow.")
        defaults: dict[str, Any] = {
            "task.name": self.label,
            "model.name": self.model_handle.name,
            **_TRAINER_DEFAULTS,
            **flatten(self.variant.data, "task."),
            **flatten(vars(self.variant.protocol), "task.protocol."),
            **flatten(self.card.tuned_on(self.variant.name, self.model_handle.name), "model."),
        }
        for key, value in defaults.items():
            try:
                parser.set_defaults({key: value})
            except (KeyError, argparse.ArgumentError, TypeError, ValueError) as error:
                raise UserError(f"{self.card.path}: '{key}: {value}' is not an option of this pair: {error}") from error
        return parser

    @staticmethod
    def _describe(parser: ArgumentParser, option: str, metavar: str, text: str) -> None:
        action = parser._option_string_actions[option]
        action.metavar, action.help = metavar, text

    def parse(self, arguments: list[str], defaults: bool = True) -> Namespace:
        """Parse a command line of this pair; `UserError` in one line where it or a file of its is wrong.

        Args:
            arguments: The command line.
            defaults: Whether options that are not given have their defaults, rather than being left out.
        """
        files = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        files.add_argument("--config", action="append", type=Path, default=[])
        try:
            found, others = files.parse_known_args(arguments)
            # jsonargparse takes a configuration itself in place of its path; it would read a file in the locale's
            # encoding, and have the flags that stand before it lose.
            configuration = read_configs(found.config)
            before = [f"--config={yaml12.dump(configuration)}"] if configuration else []
            return self.parser.parse_args([*before, *others], defaults=defaults)
        except argparse.ArgumentError as error:
            raise UserError(self._explain(str(error))) from error

    def resolve(self, overrides: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """All options of the pair, given some, nested in ``task``, ``model`` and ``trainer``."""
        return self.options(self._parse_object(overrides))

    def options(self, parsed: Namespace) -> dict[str, dict[str, Any]]:
        """The options of task, model and trainer as nested dictionaries of plain data, as a record has them.

        Equal values are written alike: one that equals the default as that is. What the model's class names among its
        `later_options` is left out where it equals the default.

        Raises:
            UserError: a value can't be written, or would not come back from a record as it is.
        """
        given = dict(self._leaves(parsed.as_dict()))
        written = {option: self._written(option, value) for option, value in given.items()}
        foreign = [
            option
            for option, value in written.items()
            if not alike(value, given[option]) and not alike(value, self._defaults.get(option, ...))
        ]
        if foreign:
            again = dict(self._leaves(self._parse_object(_in_parts(written)).as_dict()))
            for option in foreign:
                if not alike(again[option], given[option]):
                    raise UserError(
                        f"--{option}: {given[option]!r} would come back from a record as {again[option]!r}; give the "
                        "option the type hint of its value"
                    )
        return _in_parts({option: value for option, value in written.items() if not self._left_out(option, value)})

    def _left_out(self, option: str, value: Any) -> bool:
        own = option.removeprefix("model.")
        later = any(own in vars(base).get("later_options", ()) for base in self.model_class.__mro__)
        return own != option and later and alike(value, self._defaults.get(option, ...))

    def _leaves(self, nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Each option of task, model and trainer with its value, by dotted name."""
        for key, value in nested.items():
            option = f"{prefix}{key}"
            if isinstance(value, dict) and self.hints.get(option) is None:
                yield from self._leaves(value, f"{option}.")
            elif "." in option and option not in ("task.name", "model.name"):
                yield option, value

    def _written(self, option: str, value: Any) -> Any:
        """The plain form of an option's value."""
        hint = self.hints.get(option)
        try:
            if isinstance(value, str) and callable(self._objects.get(option)) and str not in types_in(hint):
                value = named(value)
            base = typing.get_args(hint)[0] if typing.get_origin(hint) is type else object
            if isinstance(value, type) and isinstance(base, type) and not issubclass(value, base):
                raise ValueError(f"{value.__qualname__} is no subclass of {base.__qualname__}")
            written = plain(value)
        except ValueError as error:
            raise UserError(f"--{option}: {error}") from error
        default = self._defaults.get(option, ...)
        # Where a type has both, 1 and 1.0 may mean different things.
        equal = alike(written, default, exactly={int, float} <= types_in(hint))
        return default if equal else written

    def _parse_object(self, options: Mapping[str, Any]) -> Namespace:
        try:
            # A copy: jsonargparse changes lists in place.
            return self.parser.parse_object(copy.deepcopy(dict(options)))
        except argparse.ArgumentError as error:
            raise UserError(self._explain(str(error))) from error

    def build_task(self, options: Mapping[str, Any], data_seed: int) -> Task:
        """The task with the given options."""
        with one_process():
            return self.task_class(**self._instantiate("task", options), data_seed=data_seed)

    def build_model(self, task: Task, options: Mapping[str, Any], seed: int) -> LightningModule:
        """The model with the given options on the task's spec, its weights fixed by the seed."""
        with torch.device("cpu"):
            # A spec may be told from the data, which are on the CPU where the weights are nowhere.
            spec = task.spec
        seed_everything(seed, workers=True, verbose=False)
        with one_process():
            return complete_evaluation_steps(self.model_class(spec, **self._instantiate("model", options)))

    def unsupported(self, task: Task, options: Mapping[str, Any]) -> str | None:
        """Why the model, in its own words, can't serve the task; None where it can.

        Raises:
            UserError: it fails where it is asked.
        """
        supports = getattr(self.model_class, "supports", None)
        try:
            with one_process():
                reason = supports(task.spec, **self._instantiate("model", options)) if supports else None
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            what = f"model '{self.model_handle.name}' can't say whether it supports task '{self.label}'"
            raise UserError(f"{what}: {type(error).__name__}: {in_a_line(error)}") from error
        return reason and self.refusal(reason)

    def refusal(self, reason: str) -> str:
        """That the model does not support the task, and why."""
        return f"model '{self.model_handle.name}' does not support task '{self.label}': {reason}"

    def _instantiate(self, part: str, options: Mapping[str, Any]) -> dict[str, Any]:
        # Checking takes 15 ms, and a sweep builds the same options over and over under other seeds.
        key = json.dumps([part, options], sort_keys=True)
        if key not in self._parsed:
            parsed = self._parse_object({part: dict(options)})
            for option, value in self._leaves({part: options}):
                # What a default is need not be seen from its plain form, where it has no type hint.
                if option in self._defaults and alike(value, self._defaults[option]):
                    parsed[option] = self._objects[option]
            self._parsed[key] = parsed
        built: dict[str, Any] = self.parser.instantiate(self._parsed[key])[part].as_dict()
        return {key: value for key, value in built.items() if key != "name"}

    def _explain(self, message: str) -> str:
        found = Complaint.of(message)
        if found.unknown:
            if found.unknown.startswith("--trainer."):
                return (
                    f"{found.unknown} is not passed to the trainer; these are: {', '.join(TRAINER_OPTIONS)} "
                    f"(budget and batch sizes are --task.protocol.*)"
                )
            known = [flag for one in self.parser._actions for flag in one.option_strings[:1]]
            near = difflib.get_close_matches(found.unknown, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            of = f"{self.model_handle.name} on {self.label}"
            return f"{found.unknown} is not an option of {of}{hint} (--help lists them)"
        flag, hint = self._flag_of(found.wrong)
        if found.wrong and found.choices and "any of the Union" in found.message:
            return f"{flag}: got {found.given}; it must be one of {', '.join(found.choices)}"
        if hint is not None and is_plain(hint):
            return f"{flag}: got '{found.given}'; it must be {in_words(hint)}"
        if found.wrong and "any of the Union" in found.message:
            return f"{flag}: got {found.given}"
        return found.message

    def _flag_of(self, option: str | None) -> tuple[str, Any]:
        """How an option, by its name, is spelled on the command line, and its type."""
        for action in self.parser._actions:
            if action.dest == option and action.option_strings:
                return action.option_strings[0], getattr(action, "_typehint", None) or action.type
        return f"--{option}", self.hints.get(option or "")


def _in_parts(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Options by dotted name nested, with all three parts even if they have none."""
    return {"task": {}, "model": {}, "trainer": {}, **nest(options)}


def _written_or_named(default: Any) -> Any:
    """The plain form of a default; where it has none, what stands for it as long as another value is given."""
    try:
        return plain(default)
    except ValueError as error:
        return f"<{error}>"


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name.removeprefix("torch."), None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"{name!r} is no dtype of torch; write torch.float32, say")
    return found


register_type(torch.dtype, str, _dtype)
register_type(torch.device, str)


def changed(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options that differ from the defaults, flat with dotted names.

    >>> changed({"task": {"delay": 3, "recall": 10}}, {"task": {"delay": 20, "recall": 10}})
    {'task.delay': 3}
    """
    flat, before = flatten(options), flatten(defaults)
    return {key: value for key, value in flat.items() if key not in before or not alike(before[key], value)}


def _parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)
