"""The record: what a trial leaves behind, whatever happened to it."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, ValidationError, convert

from rnnae_bench.options.quantities import Quantity
from rnnae_bench.statistics.score import score

SCHEMA_VERSION: Literal[2] = 2
"""The form in which records are written; those of the first are read too."""

Status = Literal["ok", "diverged", "oom", "timeout", "error", "interrupted", "skipped"]
"""How a trial ended. Everything but ``ok`` is a failed row, never a gap."""

Direction = Literal["maximize", "minimize"]

Number = int | float
Measure = Number | str | None
Numbers = dict[str, Number | None]
"""Metrics by name; None for what is no finite number."""

Count = Annotated[int, Meta(ge=0)]
Several = Annotated[int, Meta(ge=1)]
# The lookahead: in Python a $ stands before a last line feed, too.
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}(?!\n)$")]
Time = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-][0-2]\d:[0-5]\d)(?!\n)$",
        extra_json_schema={"format": "date-time"},
    ),
]


class Part(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A record or a part of one: a key that is not there has its default, and the other way round."""


class Failure(Part, frozen=True, kw_only=True):
    """What went wrong."""

    message: str
    step: Annotated[int | None, Meta(description="Optimiser step, from 1")]
    traceback: str | None


class Configuration(Part, frozen=True, kw_only=True):
    """All options of a trial, nested."""

    task: dict[str, Any]
    model: dict[str, Any]
    trainer: dict[str, Any]


class Primary(Part, frozen=True, kw_only=True):
    """The metric that ranks, what it came to, and the points that turn it into a score."""

    metric: str
    direction: Direction
    value: Annotated[Number | None, Meta(description="On the test set; null where it was not reached")]
    floor: Number
    floor_baseline: Annotated[str | None, Meta(description="The baseline that it is of; null for a number")]
    ceiling: Number
    ceiling_baseline: Annotated[
        str | None, Meta(description="The baseline that it is of, a proven optimum; absent for a number")
    ] = None
    score: Annotated[Number | None, Meta(description="(value - floor) / (ceiling - floor)")]
    solved_at: Annotated[Number, Meta(description="The value that counts as solved")]
    solved: bool

    @property
    def rises(self) -> bool:
        """Whether more is better."""
        return self.direction == "maximize"

    def scored(self, value: float) -> float:
        """The score of any value of this metric: 0 at the floor, 1 at the ceiling."""
        return score(value, self.floor, self.ceiling)

    def solves(self, value: float) -> bool:
        """Whether a value reaches the solved threshold."""
        return value >= self.solved_at if self.rises else value <= self.solved_at


class Measures(Part, frozen=True, kw_only=True):
    """What a trial cost, and what its probes measured.

    In the document all of them lie side by side. Those that are read by their names are attributes; all of them, in the
    document's order, are in `by_name`.
    """

    steps: Count
    training_seconds: Number | None
    steps_per_second: Number | None
    peak_memory_bytes: int | None
    parameters: int | None
    state_size: Annotated[
        int | None, Meta(description="Numbers carried from step to step; null where unknown, or growing with the steps")
    ]
    state_size_per_step: Annotated[int | None, Meta(description="Numbers that a growing state gains a step")] = None
    steps_to_solved: Number | None
    seconds_to_solved: Number | None
    clipped_fraction: Number | None
    by_name: dict[str, Measure]


class Host(Part, frozen=True, kw_only=True):
    """The machine."""

    processor: str | None
    cores: int | None
    memory_bytes: int | None
    system: str | None


class Git(Part, frozen=True, kw_only=True):
    """A checkout."""

    commit: str
    dirty: bool


class Vectorized(Part, frozen=True, kw_only=True):
    """Of a trial that was trained as one with others; times among its measures are then its share of the whole, peak
    memory is that of all together.
    """

    members: Annotated[Several, Meta(description="How many trials")]
    place: Annotated[
        Count | None, Meta(description="Of this trial among them, from 0; where it is absent, unknown")
    ] = None
    seconds: Annotated[Number, Meta(description="Training seconds of all together")]


class Environment(Part, frozen=True, kw_only=True):
    """What a trial ran on and with."""

    host: Host
    device: Annotated[str, Meta(description="Name of the CPU or GPU trained on")]
    threads: int
    accelerator: str
    devices: Several
    precision: str
    versions: dict[str, str]
    plugins: Annotated[
        dict[str, str], Meta(description="Distributions that the task and the model come from, with versions")
    ]
    probes: Annotated[
        dict[str, str],
        Meta(
            description="Probes of plugins that measured beside the suite's own, NAME[OPTION=VALUE,...], each with the "
            "distribution that it is of and its version; they have no part in the id"
        ),
    ] = {}
    git: Annotated[
        Git | None, Meta(description="The checkout that rnnae_bench was imported from; null for an installed package")
    ]
    resumed: Annotated[
        list[Count],
        Meta(
            description="Of a trial that was stopped and went on from checkpoints: their optimiser steps, in order; "
            "times among the measures are sums"
        ),
    ] = []
    vectorized: Vectorized | None = None

    @property
    def layout(self) -> tuple[str, int, str]:
        """Accelerator, number of devices, precision."""
        return self.accelerator, self.devices, self.precision


class Match(Part, frozen=True, kw_only=True):
    """What the model's width was chosen by, so that models of one size could be compared."""

    quantity: Quantity
    asked: Several
    got: Count
    option: Annotated[str, Meta(description="The hyper-parameter that the width is of; its value is in configuration")]
    width: Annotated[Several, Meta(description="Of several sizes, the largest")]

    def __str__(self) -> str:
        of_what = {
            "parameters": "parameters",
            "state": "numbers in the state",
            "seconds": "seconds of training, as they were estimated,",
        }[self.quantity]
        return f"{self.got:,} {of_what} of {self.asked:,} asked"


class Attachment(Part, frozen=True, kw_only=True):
    """A file beside the record."""

    file: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\.[a-z0-9.]+(?!\n)$")]
    sha256: Digest


class History(Part, frozen=True, kw_only=True):
    """The file of what was measured while training."""

    file: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\.parquet(?!\n)$")]
    sha256: Digest
    columns: list[str]


class Record(Part, frozen=True, kw_only=True):
    """One trial.

    From its second form on it has a place for metrics of further evaluation sets, and for what `NEW` names.
    """

    schema: Literal[1, 2]
    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}(?!\n)$", description="Hash of what determines the result")]
    status: Status
    failure: Annotated[Failure | None, Meta(description="What went wrong; null for ok")]
    task: str
    variant: str
    model: str
    seed: Count
    data_seed: Count
    overrides: Annotated[
        dict[str, Any], Meta(description="Options that differ from the pair's defaults, flat, with dotted names")
    ]
    configuration: Configuration
    primary: Primary
    metrics: Annotated[
        dict[str, Numbers],
        Meta(
            description="By evaluation set; of validation as evaluated last, all others once, after the training",
            extra_json_schema={"required": ["test", "validation"]},
        ),
    ]
    baselines: dict[str, Numbers]
    measures: Measures
    fingerprints: Annotated[dict[str, str], Meta(extra_json_schema={"required": ["train", "validation", "test"]})]
    environment: Environment
    command: list[str]
    started: Time
    finished: Time
    absent: Annotated[
        dict[str, str],
        Meta(
            description="What could not be measured: names of measures or columns, or what these begin with, and why; "
            "left out where nothing is missing"
        ),
    ] = {}
    needed_lag: Annotated[Count | None, Meta(description="Steps that a gradient has to bridge")] = None
    data_version: Annotated[str | None, Meta(description="Of the task's data, as its card has it")] = None
    tuned: Annotated[
        bool | None,
        Meta(description="Whether the card's hyper-parameters for the model were tuned on this task; absent: unknown"),
    ] = None
    match: Annotated[
        Match | None, Meta(description="By what the width was chosen; the id rests on the width alone")
    ] = None
    samples: Annotated[Attachment | None, Meta(description="What the model made of a few fixed rows")] = None
    weights: Annotated[Attachment | None, Meta(description="The trained model's")] = None
    history: History
    checksum: Annotated[
        Digest | None,
        Meta(
            description="SHA-256 of the rest of the record as canonical JSON; absent from records of before it was "
            "introduced"
        ),
    ] = None

    def lacks(self, probes: Mapping[str, str]) -> list[str]:
        """Those of some probes, by label with distribution and version, with which it was not measured."""
        return [label for label, origin in probes.items() if self.environment.probes.get(label) != origin]

    @property
    def label(self) -> str:
        """The model with what differs from its defaults, as ``gru[hidden_size=64]``."""
        return label(self.model, self.overrides)

    @property
    def setting(self) -> str:
        """Task and variant; with what differs from the frozen variant, which is then another task."""
        return setting(self.task, self.variant, self.overrides)

    @property
    def trial(self) -> str:
        """The trial in a line, as ``gru on copy:standard, seed 0``."""
        return f"{self.model} on {self.task}:{self.variant}, seed {self.seed}"


NEW = ("needed_lag", "data_version", "tuned", "match", "samples", "weights", "environment.probes")
"""Keys that the first form of the record has not."""


def measures_of(by_name: Mapping[str, Measure]) -> Measures:
    """The measures of these names.

    Raises:
        ValueError: one that every record has is missing, or a value is neither number nor text.
    """
    named = {name: by_name[name] for name in Measures.__struct_fields__ if name in by_name}
    try:
        return convert({**named, "by_name": by_name}, Measures)
    except ValidationError as error:
        raise ValueError(f"these are no measures: {error}") from error


def unwritten(identity: str) -> History:
    """What stands for the histories of a trial until they are written."""
    return History(file=f"{identity}.parquet", sha256=hashlib.sha256(b"").hexdigest(), columns=["step"])


def label(model: str, overrides: Mapping[str, Any]) -> str:
    """A model with what differs from its defaults, as ``gru[hidden_size=64]``."""
    return f"{model}{_bracket(overrides, 'model.')}"


def setting(task: str, variant: str, overrides: Mapping[str, Any]) -> str:
    """Task and variant; with what differs from the frozen variant, which is then another task."""
    return f"{task}:{variant}{_bracket(overrides, 'task.')}"


def _bracket(overrides: Mapping[str, Any], part: str) -> str:
    own = [f"{key.rpartition('.')[2]}={value}" for key, value in overrides.items() if key.startswith(part)]
    return f"[{','.join(own)}]" if own else ""
