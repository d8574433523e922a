"""Task cards: the ``task.yaml`` that declares what a task measures, its variants and its protocol.

Reading a card checks it against ``task.schema.json``; a bad one is refused with file, line and key.
Importing this module imports no torch, so that ``list`` and ``show`` stay quick.
"""

import contextlib
import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.options import yaml12
from rnnae_bench.options.schema import Schema
from rnnae_bench.statistics.score import score

Direction = Literal["maximize", "minimize"]

_SCHEMA = Schema("rnnae_bench.contracts", "task.schema.json")


@dataclass(frozen=True)
class Protocol:
    """What every trial of a variant has in common; changing any of it leaves the variant.

    Args:
        max_steps: Optimiser steps; training always runs for exactly this many.
        batch_size: Sequences or images per optimiser step, over all devices together.
        evaluate_every: Optimiser steps between two evaluations on the validation set.
        evaluation_batch_size: Sequences or images per forward pass at evaluation.
    """

    max_steps: int = 1000
    batch_size: int = 64
    evaluate_every: int = 250
    evaluation_batch_size: int = 1000

    def __post_init__(self) -> None:
        require_positive(
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            evaluate_every=self.evaluate_every,
            evaluation_batch_size=self.evaluation_batch_size,
        )


@dataclass(frozen=True)
class Baseline:
    """A trivial or classical solution that needs no training by gradient."""

    values: dict[str, float]
    """Its metrics on the test set, by metric name; what the frozen variant's data give."""
    source: str
    """Where the values come from: a formula with its derivation, or the method that was fitted."""


@dataclass(frozen=True)
class Scale:
    """Two values of a metric that turn others into scores."""

    floor: float
    """Scores 0."""
    ceiling: float
    """Scores 1."""

    def score(self, value: float) -> float:
        """``(value - floor) / (ceiling - floor)``: 0 at the floor, 1 at the ceiling.

        >>> Scale(floor=0.5, ceiling=1.0).score(0.75)
        0.5
        """
        return score(value, self.floor, self.ceiling)


@dataclass(frozen=True)
class Primary:
    """The metric that ranks, and the points that turn it into a score."""

    metric: str
    direction: Direction
    floor: str | float
    """What scores 0: the name of a baseline, or the metric's value."""
    ceiling: str | float
    """What scores 1: the metric's value, or the name of a baseline that is the proven optimum.

    With an optimum for its ceiling a score is a regret: 1 minus the score is the share of the way from the optimum back
    to the floor, and the mean of no model is expected above 1.
    """
    solved: float
    """The value from which on the task counts as solved."""

    def is_solved(self, value: float) -> bool:
        """Whether the value reaches the solved threshold."""
        return value >= self.solved if self.direction == "maximize" else value <= self.solved

    def scale(self, baselines: Mapping[str, Mapping[str, float]]) -> Scale:
        """Floor and ceiling as numbers.

        Args:
            baselines: The metrics of each baseline, by its name.
        """

        def value(point: str | float) -> float:
            return baselines[point][self.metric] if isinstance(point, str) else point

        return Scale(value(self.floor), value(self.ceiling))


@dataclass(frozen=True)
class Variant:
    """A named, frozen setting of a task."""

    name: str
    summary: str
    data: dict[str, Any]
    """Keyword arguments of the task's constructor."""
    protocol: Protocol
    primary: Primary
    baselines: dict[str, Baseline]
    superseded_by: str | None = None
    """The variant that asks the same and scores it better; None where there is none."""
    data_version: str | None = None
    """Of data that come from elsewhere: tells apart what had one name at different times. None where it is not said."""
    needed_lag: int | None = None
    """Steps that a gradient has to bridge to learn the task; None where it is not known, or none is needed."""
    tuned: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Default hyper-parameters by model name, in place of those that the card has for all variants."""

    @property
    def scale(self) -> Scale:
        """Floor and ceiling of the frozen data."""
        return self.primary.scale({name: baseline.values for name, baseline in self.baselines.items()})


@dataclass(frozen=True)
class Card:
    """A task's declaration, as read from its ``task.yaml``."""

    path: Path
    title: str
    measures: str
    licence: str
    sources: list[str]
    variants: dict[str, Variant]
    family: str = ""
    """What it is listed among: memory, language, series, image sequences, autoencoding, or another."""
    lag_option: str | None = None
    """The task's option, a whole number, that sets how many steps must be bridged; None where no single one does."""
    tuning: str = ""
    """How the hyper-parameters below were found."""
    tuned: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Default hyper-parameters on this task, by model name."""
    broken: dict[str, str] = field(default_factory=dict)
    """Variants that can't be used, with the reason in one line; they are not among the others."""
    bibtex: list[str] = field(default_factory=list)
    """The keys of what to cite, in the ``references.bib`` beside the card or in a folder above it."""
    retired: dict[str, str] = field(default_factory=dict)
    """Metrics that frozen variants and records have and that are not measured any more, each with the reason."""

    @property
    def task(self) -> str:
        """The task's name, as the file or its folder has it."""
        return self.path.name.removesuffix("task.yaml").removesuffix(".") or self.path.parent.name

    def tuned_on(self, variant: str, model: str) -> dict[str, Any]:
        """A model's default hyper-parameters on a variant, nested; those that differ from the model's own."""
        own = self.variants[variant].tuned
        return own[model] if model in own else self.tuned.get(model, {})

    def is_tuned_on(self, variant: str, model: str) -> bool:
        """Whether a model's hyper-parameters were tuned for a variant, be they the model's own defaults then or not."""
        return model in self.variants[variant].tuned or model in self.tuned

    def variant(self, name: str) -> Variant:
        """The variant of that name; `UserError` where there is none, or it is broken."""
        if name in self.broken:
            raise UserError(f"the variant '{name}' of task '{self.task}' is broken: {self.broken[name]}")
        if name not in self.variants:
            raise UserError(f"task '{self.task}' has no variant '{name}'; it has {', '.join(self.variants)}")
        return self.variants[name]


def card_path(module: Path, task: str) -> Path:
    """Where the card of a task lies: ``NAME.task.yaml`` beside its module, for tasks that share a folder, else
    ``task.yaml``.
    """
    own = module.with_name(f"{task}.task.yaml")
    return own if own.is_file() else module.with_name("task.yaml")


@lru_cache(maxsize=64)
def load_card(path: Path) -> Card:
    """Read and check a ``task.yaml``. A variant that is wrong leaves the others usable.

    Raises:
        UserError: the file can't be read, is not YAML, or does not fit the schema, or no variant does; names file, line
            and key.
    """
    return _checked(path, *yaml12.read(path, "the task card"))


def load_draft(path: Path) -> Card:
    """Read and check a ``task.yaml`` whose baselines need have no values yet: what is missing is not a number.

    Raises:
        UserError: as of `load_card`.
    """
    tree, content = yaml12.read(path, "the task card")
    content = copy.deepcopy(content)
    with contextlib.suppress(AttributeError, KeyError, TypeError):  # of another form altogether: told below
        for variant in content["variants"].values():
            for baseline in variant["baselines"].values():
                baseline["values"] = {variant["primary"]["metric"]: math.nan} | (baseline.get("values") or {})
    return _checked(path, tree, content)


def _checked(path: Path, tree: yaml.Node | None, content: Any) -> Card:
    broken: dict[str, str] = {}
    while refusal := _problem(path, tree, content, broken):
        keys, error = refusal
        if keys[:1] != ["variants"] or len(keys) < 2 or len(broken) + 1 == len(content["variants"]):
            raise error
        broken[keys[1]] = str(error)
    return _card(path, content, broken)


def _problem(
    path: Path, tree: yaml.Node | None, content: Any, broken: Mapping[str, str]
) -> tuple[list[Any], UserError] | None:
    """The first thing that is wrong with a card beside its broken variants: the keys to it, and what is to be said."""
    if broken:
        sound = {name: variant for name, variant in content["variants"].items() if name not in broken}
        # Names that a card must have are there, if broken.
        stand_in = {key: value for key, value in next(iter(sound.values())).items() if key != "superseded_by"}
        content = {**content, "variants": {**dict.fromkeys(broken, stand_in), **sound}}
    problem = _SCHEMA.problem(content) or _problem_of_scores(content)
    if problem and problem[0][:1] == ["variants"] and problem[0][1:2] and problem[0][1] in broken:
        problem[0][1] = next(iter(sound))  # what stands in is broken itself
    return problem and (problem[0], _refusal(path, tree, *problem))


def _problem_of_scores(content: dict[str, Any]) -> tuple[list[Any], str] | None:
    """Why a variant's scores can't be formed, with the keys to it."""
    for name, variant in content["variants"].items():
        primary, baselines, where = variant["primary"], variant["baselines"], ["variants", name, "primary"]
        values = {}
        for point in ("floor", "ceiling"):
            values[point] = primary[point]
            if isinstance(primary[point], str):
                if primary[point] not in baselines:
                    return [*where, point], f"'{primary[point]}' is not one of this variant's baselines"
                values[point] = baselines[primary[point]]["values"].get(primary["metric"])
                if values[point] is None:
                    reason = f"the baseline '{primary[point]}' gives no value for '{primary['metric']}'"
                    return [*where, point], reason
        if values["floor"] == values["ceiling"]:
            return [*where, "floor"], "floor and ceiling are equal, so no score can be formed"
        successor = variant.get("superseded_by", "")
        if successor == name or successor not in {"", *content["variants"]}:
            others = ", ".join(one for one in content["variants"] if one != name)
            reason = f"'{successor}' is not another variant of this task; there are {others}"
            return ["variants", name, "superseded_by"], reason
    return None


def _refusal(path: Path, tree: yaml.Node | None, keys: list[Any], message: str) -> UserError:
    node = tree
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            node = next((v for k, v in node.value if k.value == str(key)), node)
        elif isinstance(node, yaml.SequenceNode):
            node = node.value[key]
    line = node.start_mark.line + 1 if node is not None else 1
    return UserError(f"{path}:{line}: {'.'.join(map(str, keys)) or 'the file'}: {message}")


def _card(path: Path, content: dict[str, Any], broken: dict[str, str]) -> Card:
    variants = {
        name: Variant(
            name=name,
            summary=entry["summary"],
            data=entry.get("data", {}),
            protocol=Protocol(**entry["protocol"]),
            primary=Primary(**entry["primary"]),
            baselines={key: Baseline(**value) for key, value in entry["baselines"].items()},
            **{key: entry[key] for key in ("superseded_by", "data_version", "needed_lag", "tuned") if key in entry},
        )
        for name, entry in content["variants"].items()
        if name not in broken
    }
    return Card(**{**content, "path": path, "variants": variants, "broken": broken})
