"""What passes between a sweep and those who work for it; all of it plain data, so that it travels as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import convert, to_builtins
from msgspec.structs import replace

from rnnae_bench.options.nested import flatten, merge
from rnnae_bench.records.record import Configuration, Match, Record


@dataclass(frozen=True)
class Setting:
    """What is run, but for the seeds."""

    task: str
    """``NAME:VARIANT``."""
    model: str
    overrides: dict[str, Any]
    """Options that are not the pair's defaults, nested in ``task``, ``model`` and ``trainer``."""
    match: str | Match | None = None
    """What the model's width is yet to be matched to, as ``parameters=10k``; or what it was matched by before."""
    probes: dict[str, str] = field(default_factory=dict)
    """Probes of plugins that are to measure too, ``NAME[OPTION=VALUE,...]``, each with its distribution and version."""


@dataclass(frozen=True)
class Member:
    """One trial of a job."""

    identity: str
    """Content hash, the record's name."""
    seed: int
    data_seed: int
    overrides: dict[str, Any] = field(default_factory=dict)
    """What this trial has beside its job's setting; nested in the same way."""


@dataclass(frozen=True)
class Job:
    """What a worker does in one go: a trial, or several that differ only in seeds and learning rate, trained as one."""

    setting: Setting
    trials: tuple[Member, ...]
    draft: Record
    """The record of the first trial as it would be if it ended before it began (status ``error``)."""
    command: tuple[str, ...] = ()
    """The command line, for the record."""
    threads: int = 1
    """CPU threads for torch."""
    devices: int = 1
    """Devices of each trial (processes, for a trial on several)."""
    time_limit: float | None = None
    """Seconds of wall time that each trial may take; several trained as one have the sum."""
    checkpoint_every: float | None = None
    """Seconds between two checkpoints of a trial, which then is the job's only one."""
    keep_weights: bool = False
    """Whether each trial's weights are kept beside its record."""
    loggers: tuple[str, ...] = ()
    """Names of loggers; trials trained as one reach them when all are done."""
    pictures: bool = False
    """Whether to draw each trial's picture beside its record; takes about as long as a small trial."""

    @property
    def name(self) -> str:
        """The first trial's id."""
        return self.trials[0].identity

    def overrides_of(self, member: Member) -> dict[str, Any]:
        """All options of a trial that are not the pair's defaults, nested."""
        return merge(self.setting.overrides, member.overrides)

    def draft_of(self, member: Member) -> Record:
        """The draft of any of its trials; the fingerprints are left as the first trial's."""
        return replace(
            self.draft,
            id=member.identity,
            seed=member.seed,
            data_seed=member.data_seed,
            overrides={**self.draft.overrides, **flatten(member.overrides)},
            configuration=convert(merge(to_builtins(self.draft.configuration), member.overrides), Configuration),
            command=list(self.command),
        )

    def as_dict(self) -> dict[str, Any]:
        """The job as plain data, for `job_from`."""
        plain: dict[str, Any] = to_builtins(self)
        return plain


def job_from(data: Mapping[str, Any]) -> Job:
    """The job that `Job.as_dict` gave."""
    return convert(data, Job)


@dataclass(frozen=True)
class Plan:
    """A setting that was checked: it can run, and this is what its trials would be."""

    setting: Setting
    trials: tuple[Member, ...]
    draft: Record
    """As for `Job`."""
    steps: int
    """Optimiser steps of the protocol."""
    devices: int
    """Devices of each trial."""
    accelerator: str
    together: int
    """How many trials of this setting `--vectorize auto` trains as one here; 1 where it does not pay, or can't be."""
    apart: str | None
    """Why its trials can't be trained as one; None where they can."""
    ranges: dict[str, Any] = field(default_factory=dict)
    """What the model declares that a search may try, as `contracts.search_space.plain` writes it."""
    lag: tuple[str, Any] | None = None
    """The task's option that sets the lag, as its card names it, with its value; None where it names none."""


@dataclass(frozen=True)
class Refusal:
    """A setting that can't run."""

    setting: Setting
    reason: str
    """In one line."""
    skipped: Record | None = None
    """Where the hardware lacks something, or the model does not support the task: a record of status ``skipped`` for
    the first of its trials; None for a user's mistake."""
    trials: tuple[Member, ...] = ()
    """With `skipped`."""


def plan_from(data: Mapping[str, Any]) -> Plan | Refusal:
    """What `msgspec.to_builtins` made of a plan or of a refusal."""
    return convert(data, Refusal) if "reason" in data else convert(data, Plan)
