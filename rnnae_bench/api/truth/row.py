"""A row of the table: what is published, and how it is measured here. Imports no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Training:
    """A row that is measured by training a model, in the way of its source.

    Args:
        task: As for `rnnae_bench.sweep`: ``NAME:VARIANT[OPTION=VALUE,...]``.
        model: The same.
        metric: Of the trained model.
        seeds: How many trials.
        on: The evaluation set.
    """

    task: str
    model: str
    metric: str
    seeds: int = 1
    on: str = "test"


@dataclass(frozen=True)
class Range:
    """The values that agree, both ends included."""

    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"at most {self.high:g}"
        if math.isinf(self.high):
            return f"at least {self.low:g}"
        return f"{(self.low + self.high) / 2:.5g} ± {(self.high - self.low) / 2:.2g}"


def near(value: float, tolerance: float) -> Range:
    """Around a published value.

    >>> str(near(0.5, 0.01))
    '0.5 ± 0.01'
    """
    return Range(value - tolerance, value + tolerance)


def at_most(value: float) -> Range:
    """No larger.

    >>> 0.011 in at_most(0.01)
    False
    """
    return Range(high=value)


def at_least(value: float) -> Range:
    """No smaller.

    >>> str(at_least(0.99))
    'at least 0.99'
    """
    return Range(low=value)


@dataclass(frozen=True)
class Row:
    """One figure that is known, and the range in which ours must lie.

    Args:
        name: What the row is called for.
        claim: What is measured, in a line.
        source: Where the figure stands, or from what it follows.
        published: The figure, as its source prints it.
        measure: ``MODULE:FUNCTION`` in this package, or a training.
        seconds: What it takes on one core, about.
        within: Where values of ours agree.
        needed: How many of the values must lie there; None is all of them.
        tried: Of a row that is missed, what was tried.
    """

    name: str
    claim: str
    source: str
    published: str
    measure: str | Training
    seconds: float
    within: Range
    needed: int | None = None
    tried: str = ""

    @property
    def tolerance(self) -> str:
        """The range in words."""
        if self.needed is None or not isinstance(self.measure, Training):
            return str(self.within)
        return f"{self.within}, {self.needed} of {self.measure.seeds}"

    def agrees(self, values: Sequence[float]) -> bool:
        """Whether enough of the measured values lie in the range; what is no number does not."""
        within = sum(value in self.within for value in values)
        return within >= (len(values) if self.needed is None else self.needed)


@dataclass(frozen=True)
class Finding:
    """A row measured.

    Args:
        row: The row.
        values: What was measured, a value a seed.
        seconds: That it took.
        failure: Why there is no value, in a line.
    """

    row: Row
    values: tuple[float, ...]
    seconds: float
    failure: str = ""

    @property
    def verdict(self) -> str:
        """``agrees``, ``missed``, or ``failed`` where nothing was measured."""
        if self.failure:
            return "failed"
        return "agrees" if self.row.agrees(self.values) else "missed"
