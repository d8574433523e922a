"""Baselines as rows of a standing: what needs no training by gradient, in its place among the models.

A baseline has one value and no seeds. A model is told apart from it where the 95 % interval of the model's mean leaves
that value out; nothing is corrected for the number of models, and no model's rank changes because of a baseline.
``rnnae-bench compare MODEL BASELINE`` tests one of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rnnae_bench.records.record import Primary
from rnnae_bench.statistics.estimates import Estimate


@dataclass(frozen=True)
class Reference:
    """A baseline of a task setting."""

    name: str
    value: float
    """The primary metric on the test set."""
    score: float
    is_floor: bool
    """Whether its value is the floor of the score."""
    is_ceiling: bool
    """Whether its value is the ceiling: a score below is a regret."""
    solves: bool
    """Whether its value reaches the solved threshold."""
    ranks: tuple[int, int] | None
    """From the best to the worst rank that it may have beside the ranked models; None where there are none."""


def references(baselines: Mapping[str, float], primary: Primary, means: Iterable[Estimate]) -> tuple[Reference, ...]:
    """The baselines of a standing, best first.

    Args:
        baselines: The primary metric by name.
        primary: The metric's direction, floor, ceiling and threshold.
        means: Of the ranked models.
    """
    means, sign = list(means), 1 if primary.rises else -1
    found = [
        Reference(
            name=name,
            value=value,
            score=primary.scored(value),
            is_floor=value == primary.floor,
            is_ceiling=value == primary.ceiling,
            solves=primary.solves(value),
            ranks=_ranks(sign * value, [_turned(mean, sign) for mean in means]),
        )
        for name, value in baselines.items()
    ]
    return tuple(sorted(found, key=lambda one: (-sign * one.value, one.name)))


def _turned(mean: Estimate, sign: int) -> tuple[float, float]:
    """The interval of a mean, more being better; the mean itself where there is none."""
    ends = (sign * (mean.value if end is None else end) for end in (mean.low, mean.high))
    low, high = sorted(ends)
    return low, high


def _ranks(value: float, intervals: list[tuple[float, float]]) -> tuple[int, int] | None:
    if not intervals:
        return None
    better = sum(low > value for low, _ in intervals)
    worse = sum(high < value for _, high in intervals)
    return 1 + better, 1 + len(intervals) - worse
