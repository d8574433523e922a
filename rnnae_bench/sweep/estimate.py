"""What a planned trial is likely to cost, from what trials like it did."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rnnae_bench.executors.job import Plan


@dataclass(frozen=True)
class Estimate:
    """The likely cost of one trial, run alone."""

    seconds: float | None
    """Of training; None where no record tells."""
    basis: Literal["same setting", "same task and model", "unknown"]
    """What the records that it rests on have in common with the trial."""


def estimate(plan: Plan, records: Iterable[Mapping[str, Any]]) -> Estimate:
    """The likely training time of each trial of a plan.

    From records of the same setting under any seed it is their median time; from those of the same model on the same
    task variant with other options, the plan's steps over their median speed. Only trials count that ended ``ok``, on
    the same device, in the same precision, on as many devices and threads, and not trained as one with others.
    """
    like = [record for record in records if record["status"] == "ok" and _conditions(record) == _conditions(plan.draft)]
    configuration = plan.draft["configuration"]
    same = [record for record in like if record["configuration"] == configuration]
    if same:
        return Estimate(float(statistics.median(one["measures"]["training_seconds"] for one in same)), "same setting")
    speeds = [one["measures"]["steps_per_second"] for one in like]
    known = [speed for speed in speeds if speed]
    if known:
        return Estimate(plan.steps / statistics.median(known), "same task and model")
    return Estimate(None, "unknown")


def _conditions(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """What must be the same for the times of two trials to be compared."""
    environment = record["environment"]
    machine = ("device", "accelerator", "devices", "precision", "threads", "vectorized")
    return (*(record[key] for key in ("task", "variant", "model")), *(environment.get(key) for key in machine))
