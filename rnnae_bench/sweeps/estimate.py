"""What a planned trial is likely to cost, from what trials like it did."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from rnnae_bench.records.record import Record
from rnnae_bench.sweeps.executors.job import Plan


@dataclass(frozen=True)
class Estimate:
    """The likely cost of one trial."""

    seconds: float | None
    """Of training; None where no record tells."""
    basis: Literal["same setting", "same setting, trained as one", "same task and model", "unknown"]
    """What the records that it rests on have in common with the trial."""


def estimate(plan: Plan, records: Iterable[Record]) -> Estimate:
    """The likely training time of each trial of a plan.

    From records of the same setting under any seed it is their median time; else their share of the time of all that
    were trained as one with them; else, from those of the same model on the same task variant with other options, the
    plan's steps over their median speed. Only trials count that ended ``ok``, on the same device, in the same
    precision, on as many devices and threads, and for the speed not trained as one with others.
    """
    every = [one for one in records if one.status == "ok" and _conditions(one) == _conditions(plan.draft)]
    same = [record for record in every if record.configuration == plan.draft.configuration]
    like = [record for record in every if _alone(record)]
    if any(map(_alone, same)):
        return Estimate(_seconds(record for record in same if _alone(record)), "same setting")
    if same:
        return Estimate(_seconds(same), "same setting, trained as one")
    speeds = [one.measures.steps_per_second for one in like]
    known = [speed for speed in speeds if speed]
    if known:
        return Estimate(plan.steps / statistics.median(known), "same task and model")
    return Estimate(None, "unknown")


def _alone(record: Record) -> bool:
    return record.environment.vectorized is None


def _seconds(records: Iterable[Record]) -> float | None:
    known = [seconds for record in records if (seconds := record.measures.training_seconds) is not None]
    return float(statistics.median(known)) if known else None


def _conditions(record: Record) -> tuple[Any, ...]:
    """What must be the same for the times of two trials to be compared."""
    there = record.environment
    return record.task, record.variant, record.model, there.device, *there.layout, there.threads
