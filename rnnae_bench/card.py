"""Task cards: the ``task.yaml`` that declares what a task measures, its variants and its protocol.

Reading a card checks it against ``task.schema.json``; a bad one is refused with file, line and key.
Importing this module imports no torch, so that ``list`` and ``show`` stay quick.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.schema import Schema

Direction = Literal["maximize", "minimize"]

_SCHEMA = Schema("rnnae_bench", "task.schema.json")


@dataclass(frozen=True)
class Protocol:
    """What every trial of a variant has in common; changing any of it leaves the variant.

    Args:
        max_steps: Optimiser steps; training always runs for exactly this many.
        batch_size: Sequences or images per optimiser step, over all devices together.
        evaluate_every: Optimiser steps between two looks at the validation set.
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
    """Whence the values: a formula with its derivation, or the method that was fitted."""


@dataclass(frozen=True)
class Primary:
    """The metric that ranks, and the points that turn it into a score in [0, 1]."""

    metric: str
    direction: Direction
    floor: str
    """Name of the baseline that scores 0."""
    ceiling: float
    """The metric's value that scores 1."""
    solved: float
    """The value from which on the task counts as solved."""

    def is_solved(self, value: float) -> bool:
        """Whether the value reaches the solved threshold."""
        return value >= self.solved if self.direction == "maximize" else value <= self.solved

    def score(self, value: float, floor: float) -> float:
        """``(value - floor) / (ceiling - floor)``: 0 at the floor, 1 at the ceiling.

        >>> Primary("accuracy", "maximize", "chance", ceiling=1.0, solved=0.99).score(0.75, floor=0.5)
        0.5
        """
        # The floor's own score is 0, not -0.
        return (value - floor) / (self.ceiling - floor) + 0.0


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


@dataclass(frozen=True)
class Card:
    """A task's declaration, as read from its ``task.yaml``."""

    path: Path
    title: str
    measures: str
    licence: str
    sources: list[str]
    variants: dict[str, Variant]
    tuning: str = ""
    """How the hyper-parameters below were found."""
    tuned: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Default hyper-parameters on this task, by model name."""

    def variant(self, name: str) -> Variant:
        """The variant of that name; `UserError` with the known names where there is none."""
        if name not in self.variants:
            raise UserError(
                f"task '{self.path.parent.name}' has no variant '{name}'; it has {', '.join(self.variants)}"
            )
        return self.variants[name]


@lru_cache(maxsize=64)
def load_card(path: Path) -> Card:
    """Read and check a ``task.yaml``.

    Raises:
        UserError: the file can't be read, is not YAML, or does not fit the schema; names file, line and key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read the task card {path}: {error.strerror}") from error
    try:
        tree, content = _compose(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not YAML: {getattr(error, 'problem', None) or error}") from error
    _check(path, content, tree)
    return _card(path, content)


def _compose(text: str) -> tuple[yaml.Node | None, Any]:
    """The document as nodes, which know their lines, and as plain data."""
    # The C parser, where PyYAML was built with it, is many times faster.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        tree = loader.get_single_node()
        return tree, None if tree is None else loader.construct_document(tree)
    finally:
        loader.dispose()


def _check(path: Path, content: Any, tree: yaml.Node | None) -> None:
    problem = _SCHEMA.problem(content)
    if problem:
        raise _refusal(path, tree, *problem)
    for name, variant in content["variants"].items():
        floor, metric = variant["primary"]["floor"], variant["primary"]["metric"]
        where = ["variants", name, "primary", "floor"]
        if floor not in variant["baselines"]:
            raise _refusal(path, tree, where, f"'{floor}' is not one of this variant's baselines")
        if metric not in variant["baselines"][floor]["values"]:
            raise _refusal(path, tree, where, f"the baseline '{floor}' gives no value for '{metric}'")
        if variant["baselines"][floor]["values"][metric] == variant["primary"]["ceiling"]:
            raise _refusal(path, tree, where, "floor and ceiling are equal, so no score can be formed")


def _refusal(path: Path, tree: yaml.Node | None, keys: list[Any], message: str) -> UserError:
    node = tree
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            node = next((v for k, v in node.value if k.value == str(key)), node)
        elif isinstance(node, yaml.SequenceNode):
            node = node.value[key]
    line = node.start_mark.line + 1 if node is not None else 1
    return UserError(f"{path}:{line}: {'.'.join(map(str, keys)) or 'the file'}: {message}")


def _card(path: Path, content: dict[str, Any]) -> Card:
    variants = {
        name: Variant(
            name=name,
            summary=entry["summary"],
            data=entry.get("data", {}),
            protocol=Protocol(**entry["protocol"]),
            primary=Primary(**entry["primary"]),
            baselines={key: Baseline(**value) for key, value in entry["baselines"].items()},
        )
        for name, entry in content["variants"].items()
    }
    return Card(**{**content, "path": path, "variants": variants})
