"""The options of a task and model pair: where they come from, how they are checked, what they build.

One jsonargparse parser per pair, made from the type hints and docstrings of the two classes, serves the
command line, configuration files, and the rebuilding of a trial from its record.
"""

import argparse
import difflib
import inspect
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, set_loader
from lightning import LightningModule, Trainer, seed_everything

from rnnae_bench.card import Card, Variant
from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.forks import one_process
from rnnae_bench.nested import flatten
from rnnae_bench.registry import Handle, models, parse_task, tasks
from rnnae_bench.task import Task

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

_TRAINER_DEFAULTS = {"trainer.devices": 1, "trainer.precision": "32-true"}


class Pair:
    """A task variant and a model, with their classes loaded and their default options merged.

    Defaults come, later ones winning, from the classes' own signatures, the variant's frozen setting, and the
    hyper-parameters tuned for this model on this task (the card's ``tuned``).

    Args:
        task: Task as ``NAME[:VARIANT]``.
        model: The model's registered name.

    Raises:
        UserError: unknown name or variant, a plugin that can't be imported, a bad card.
    """

    def __init__(self, task: str, model: str) -> None:
        name, variant = parse_task(task)
        self.task_handle: Handle = tasks().get(name)
        self.model_handle: Handle = models().get(model)
        self.task_class: type[Task] = self.task_handle.load()
        self.model_class: type[LightningModule] = self.model_handle.load()
        self.card: Card = self.task_class.card()
        self.variant: Variant = self.card.variant(variant)
        self.parser = self._parser()
        self._parsed: dict[str, Namespace] = {}
        self.defaults = self.options(self.parser.get_defaults())

    @property
    def label(self) -> str:
        """The variant's full name, ``NAME:VARIANT``."""
        return f"{self.task_handle.name}:{self.variant.name}"

    def _parser(self) -> ArgumentParser:
        # With it, jsonargparse would take options from the environment.
        os.environ.pop("JSONARGPARSE_DEFAULT_ENV", None)
        parser = ArgumentParser(
            prog="rnnae-bench run",
            exit_on_error=False,
            parser_mode=_LOADER,
            description=f"Run {self.model_handle.name} on {self.label}: {self.variant.summary}",
        )
        parser.add_argument("--config", action="config", help="Read options from a YAML file; flags win over it.")
        parser.add_argument("--task.name", type=str, help="The same as --task, in a configuration file.")
        parser.add_argument("--model.name", type=str, help="The same as --model, in a configuration file.")
        parser.add_class_arguments(self.task_class, "task", skip={"data_seed"}, instantiate=False)
        parser.add_class_arguments(self.model_class, "model", skip={"spec"}, instantiate=False)
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
            **flatten(self.card.tuned.get(self.model_handle.name, {}), "model."),
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

    def parse(self, arguments: list[str]) -> Namespace:
        """Parse a command line of this pair; `UserError` in one line where it is wrong."""
        try:
            return self.parser.parse_args(arguments)
        except argparse.ArgumentError as error:
            raise UserError(self._explain(str(error))) from error

    def resolve(self, overrides: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """All options of the pair, given some, nested in ``task``, ``model`` and ``trainer``."""
        try:
            return self.options(self.parser.parse_object(dict(overrides)))
        except argparse.ArgumentError as error:
            raise UserError(self._explain(str(error))) from error

    @staticmethod
    def options(parsed: Namespace) -> dict[str, dict[str, Any]]:
        """The options of task, model and trainer as plain nested dictionaries."""
        plain = parsed.as_dict()
        return {
            part: {key: value for key, value in plain[part].items() if key != "name"}
            for part in ("task", "model", "trainer")
        }

    def build_task(self, options: Mapping[str, Any], data_seed: int) -> Task:
        """The task with the given options."""
        with one_process():
            return self.task_class(**self._instantiate("task", options), data_seed=data_seed)

    def build_model(self, task: Task, options: Mapping[str, Any], seed: int) -> LightningModule:
        """The model with the given options on the task's spec, its weights fixed by the seed."""
        seed_everything(seed, workers=True, verbose=False)
        with one_process():
            return self.model_class(task.spec, **self._instantiate("model", options))

    def unsupported(self, task: Task, options: Mapping[str, Any]) -> str | None:
        """Why the model, in its own words, can't serve the task; None where it can.

        Raises:
            UserError: it fails where it is asked.
        """
        supports = getattr(self.model_class, "supports", None)
        try:
            with one_process():
                reason = supports(task.spec, **options) if supports else None
        except (Exception, SystemExit) as error:
            what = f"model '{self.model_handle.name}' can't say whether it supports task '{self.label}'"
            raise UserError(f"{what}: {type(error).__name__}: {in_a_line(error)}") from error
        return reason and f"model '{self.model_handle.name}' does not support task '{self.label}': {reason}"

    def _instantiate(self, part: str, options: Mapping[str, Any]) -> dict[str, Any]:
        # Checking takes 15 ms, and a sweep builds the same options over and over under other seeds.
        key = json.dumps([part, options], sort_keys=True, default=repr)
        if key not in self._parsed:
            self._parsed[key] = self.parser.parse_object({part: dict(options)})
        built = self.parser.instantiate(self._parsed[key])
        return {key: value for key, value in vars(built[part]).items() if key != "name"}

    def _explain(self, message: str) -> str:
        message = re.sub(r"Parser key \"?([\w.]+)\"?:", r"--\1:", " ".join(message.split()))
        message = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", message)
        union = re.search(r"(--[\w.]+): Does not validate against any of the Union.*Given value: (.*)", message)
        if union:
            choices = ", ".join(dict.fromkeys(re.findall(r"'([^']+)'", message)))
            return f"{union[1]}: got {union[2]}" + (f"; it must be one of {choices}" if choices else "")
        unknown = re.search(r"unrecognized arguments: (--[\w.-]+)", message)
        wrong_key = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", message)
        option = unknown[1] if unknown else f"--{wrong_key[1]}.{wrong_key[2]}" if wrong_key else None
        if option:
            if option.startswith("--trainer."):
                return (
                    f"{option} is not passed to the trainer; these are: {', '.join(TRAINER_OPTIONS)} "
                    f"(budget and batch sizes are --task.protocol.*)"
                )
            known = [string for string in self.parser._option_string_actions if string.startswith("--")]
            near = difflib.get_close_matches(option, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            return f"{option} is not an option of {self.model_handle.name} on {self.label}{hint} (--help lists them)"
        return message


def changed(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options that differ from the defaults, flat with dotted names.

    >>> changed({"task": {"delay": 3, "recall": 10}}, {"task": {"delay": 20, "recall": 10}})
    {'task.delay': 3}
    """
    flat, before = flatten(options), flatten(defaults)
    return {key: value for key, value in flat.items() if key not in before or before[key] != value}


def read_config(path: Path) -> dict[str, Any]:
    """A configuration file as a mapping, with ``task`` and ``model`` always as sections that have a ``name``."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the configuration file {path}: {reason}") from error
    try:
        content = _load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: a configuration is a mapping of options, this is a {type(content).__name__}")
    return content


def _load(text: str) -> Any:
    content = yaml.safe_load(text)
    if isinstance(content, dict):
        for part in ("task", "model"):
            if isinstance(content.get(part), str):
                content[part] = {"name": content[part]}
    return content


_LOADER = "rnnae_bench"
set_loader(_LOADER, _load, exceptions=(yaml.YAMLError,))


def _parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)
